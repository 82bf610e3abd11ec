-- Dead letters: what could not be undone or finished, until somebody does it or says it is done.

CREATE TABLE dead_letter_queue (
  id               uuid PRIMARY KEY,
  kind             text NOT NULL CHECK (kind IN ('compensation', 'retriable', 'forward', 'verify', 'abandoned')),
  status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'retrying', 'resolved', 'discarded')),
  priority         text NOT NULL DEFAULT 'high' CHECK (priority IN ('low', 'medium', 'high', 'critical')),
  database         text NOT NULL,
  operation        text NOT NULL,
  saga             text NOT NULL,
  saga_version     integer NOT NULL,
  saga_id          text NOT NULL,
  step             text NOT NULL,
  call             integer NOT NULL,
  resources        text[] NOT NULL,
  fence            bigint NOT NULL,
  payload          jsonb,
  before           jsonb,
  result           jsonb,
  error_type       text NOT NULL,
  error_message    text NOT NULL,
  metadata         jsonb NOT NULL DEFAULT '{}',
  retry_count      integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
  max_retries      integer NOT NULL DEFAULT 10 CHECK (max_retries >= 0),
  due_at           timestamptz NOT NULL DEFAULT now(),
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now(),
  last_retry_at    timestamptz,
  resolved_at      timestamptz,
  resolved_by      text,
  resolution_notes text,
  -- One entry per thing that went wrong, however often and from wherever it is added.
  CONSTRAINT dead_letter_once UNIQUE (saga_id, call, kind)
);

-- What waits is a small part of what was: the index of the claim, of the size and of the gauge.
CREATE INDEX dlq_waiting ON dead_letter_queue (due_at) WHERE status IN ('pending', 'retrying');
-- Pages of a list come oldest first.
CREATE INDEX dlq_by_age ON dead_letter_queue (created_at, id);
CREATE INDEX dlq_by_status ON dead_letter_queue (status, created_at, id);
CREATE INDEX dlq_by_saga ON dead_letter_queue (saga, created_at, id);
CREATE INDEX dlq_by_database ON dead_letter_queue (database, created_at, id);
-- Parked compensations of one resource are redriven newest first.
CREATE INDEX dlq_by_resource ON dead_letter_queue USING gin (resources);

CREATE VIEW dlq_unresolved AS
  SELECT * FROM dead_letter_queue WHERE status IN ('pending', 'retrying') ORDER BY created_at, id;

CREATE VIEW dlq_recent_failures AS
  SELECT database, operation, error_type, count(*) AS failures, max(created_at) AS latest
  FROM dead_letter_queue
  WHERE created_at > now() - interval '24 hours'
  GROUP BY database, operation, error_type
  ORDER BY failures DESC;

CREATE VIEW dlq_critical AS
  SELECT * FROM dead_letter_queue
  WHERE status IN ('pending', 'retrying')
    AND (priority = 'critical' OR retry_count >= max_retries)
  ORDER BY created_at, id;

-- Adds an entry, given as one JSON object. Invariant: adding again changes nothing. True if it is new.
CREATE FUNCTION dlq_add_entry(entry jsonb) RETURNS boolean LANGUAGE sql AS $$
  WITH added AS (
    INSERT INTO dead_letter_queue (
      id, kind, priority, database, operation, saga, saga_version, saga_id, step, call, resources, fence,
      payload, before, result, error_type, error_message, metadata, due_at
    )
    SELECT
      (entry->>'id')::uuid, entry->>'kind', entry->>'priority', entry->>'database', entry->>'operation',
      entry->>'saga', (entry->>'saga_version')::integer, entry->>'saga_id', entry->>'step',
      (entry->>'call')::integer,
      ARRAY(SELECT jsonb_array_elements_text(entry->'resources')), (entry->>'fence')::bigint,
      entry->'payload', entry->'before', entry->'result', entry->>'error_type', entry->>'error_message',
      coalesce(entry->'metadata', '{}'), coalesce((entry->>'due_at')::timestamptz, now())
    ON CONFLICT DO NOTHING
    RETURNING 1
  )
  SELECT EXISTS (SELECT 1 FROM added)
$$;

-- Closes an entry that waits. Invariant: what is closed stays as it was closed. True if it was open.
CREATE FUNCTION dlq_resolve(entry uuid, new_status text, closed_by text, notes text) RETURNS boolean LANGUAGE sql AS $$
  WITH closed AS (
    UPDATE dead_letter_queue
    SET status = new_status, resolved_at = now(), updated_at = now(), resolved_by = closed_by, resolution_notes = notes
    WHERE id = entry AND status IN ('pending', 'retrying') AND new_status IN ('resolved', 'discarded')
    RETURNING 1
  )
  SELECT EXISTS (SELECT 1 FROM closed)
$$;

-- Claims an entry until a deadline. Invariant: of two who claim, one gets it. True for that one.
CREATE FUNCTION dlq_retry(entry uuid, claimed_until timestamptz) RETURNS boolean LANGUAGE sql AS $$
  WITH claimed AS (
    UPDATE dead_letter_queue
    SET status = 'retrying', retry_count = retry_count + 1, last_retry_at = now(), updated_at = now(),
        due_at = claimed_until
    WHERE id = entry AND (status = 'pending' OR (status = 'retrying' AND due_at <= now()))
    RETURNING 1
  )
  SELECT EXISTS (SELECT 1 FROM claimed)
$$;

CREATE FUNCTION dlq_get_stats() RETURNS TABLE (status text, entries bigint, oldest timestamptz) LANGUAGE sql STABLE AS $$
  SELECT status, count(*), min(created_at) FROM dead_letter_queue GROUP BY status ORDER BY status
$$;
