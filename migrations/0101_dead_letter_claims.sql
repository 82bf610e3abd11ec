-- Redriving: who runs an entry, which goes first, and why one cannot be run.

ALTER TABLE dead_letter_queue ADD COLUMN problem text;

-- A view keeps the columns of its day: both are made again to show the new one.
CREATE OR REPLACE VIEW dlq_unresolved AS
  SELECT * FROM dead_letter_queue WHERE status IN ('pending', 'retrying') ORDER BY created_at, id;

CREATE OR REPLACE VIEW dlq_critical AS
  SELECT * FROM dead_letter_queue
  WHERE status IN ('pending', 'retrying')
    AND (priority = 'critical' OR retry_count >= max_retries)
  ORDER BY created_at, id;

-- Whether an entry that was written later, to the same database and one of the same resources, still waits: undone out
-- of order, the older one's before-image would cover the newer one's.
CREATE FUNCTION dlq_newer(entry uuid) RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT newer.id
  FROM dead_letter_queue this
  JOIN dead_letter_queue newer
    ON newer.resources && this.resources AND newer.database = this.database
    AND newer.status IN ('pending', 'retrying') AND (newer.fence, newer.call) > (this.fence, this.call)
  WHERE this.id = entry
  -- The order keeps the planner from scanning the table in the hope of an early match: mostly there is none.
  ORDER BY newer.fence DESC, newer.call DESC
  LIMIT 1
$$;

-- Claims due entries until a deadline. Invariants: of all who claim at once, one gets an entry; an entry with a newer
-- one before it, or without tries left, is nobody's.
CREATE FUNCTION dlq_claim_due(sagas text[], at_most integer, claimed_until timestamptz) RETURNS SETOF uuid
LANGUAGE sql AS $$
  WITH due AS (
    SELECT id FROM dead_letter_queue
    WHERE status IN ('pending', 'retrying') AND due_at <= now() AND retry_count < max_retries AND saga = ANY (sagas)
      AND dlq_newer(id) IS NULL
    ORDER BY due_at
    LIMIT at_most
    FOR UPDATE SKIP LOCKED
  )
  UPDATE dead_letter_queue this
  SET status = 'retrying', retry_count = retry_count + 1, last_retry_at = now(), updated_at = now(),
      due_at = claimed_until
  FROM due
  WHERE this.id = due.id
  RETURNING this.id
$$;

-- Gives a claimed entry back. Invariant: only the claim it was claimed with gives it back; the first error stays.
CREATE FUNCTION dlq_release(
  entry uuid, claim integer, next_due timestamptz, counts boolean, failed_type text, failed_message text, why text
) RETURNS boolean LANGUAGE sql AS $$
  WITH released AS (
    UPDATE dead_letter_queue
    SET status = 'pending', due_at = next_due, updated_at = now(), problem = why,
        retry_count = retry_count - CASE WHEN counts THEN 0 ELSE 1 END,
        error_type = coalesce(failed_type, error_type),
        error_message = coalesce(failed_message, error_message),
        metadata = CASE
          WHEN failed_type IS NULL OR metadata ? 'firstError' THEN metadata
          ELSE metadata || jsonb_build_object(
            'firstError', jsonb_build_object('type', error_type, 'message', error_message))
        END
    WHERE id = entry AND status = 'retrying' AND retry_count = claim
    RETURNING 1
  )
  SELECT EXISTS (SELECT 1 FROM released)
$$;
