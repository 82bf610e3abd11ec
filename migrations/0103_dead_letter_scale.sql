-- A million entries: what is asked often must not cost more for them.

-- How many entries there are of each status, without counting a million: each statement that changes the queue adds what
-- it changed, and the sum is the number. Nobody waits for anybody: a row is only ever added, or folded with others.

CREATE TABLE dead_letter_counts (
  status text NOT NULL,
  delta  bigint NOT NULL
);

INSERT INTO dead_letter_counts SELECT status, count(*) FROM dead_letter_queue GROUP BY status;

-- Folds what nobody else is folding; in one statement, so that whoever reads sees the same sum before and after.
CREATE FUNCTION dlq_fold_counts() RETURNS void LANGUAGE sql AS $$
  WITH folded AS (
    DELETE FROM dead_letter_counts
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM dead_letter_counts FOR UPDATE SKIP LOCKED))
    RETURNING status, delta
  )
  INSERT INTO dead_letter_counts SELECT status, sum(delta) FROM folded GROUP BY status HAVING sum(delta) <> 0
$$;

-- Invariant: the deltas of a status add up to its entries, in every snapshot: they are written with the change itself.
CREATE FUNCTION dlq_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  CASE TG_OP
    WHEN 'INSERT' THEN
      INSERT INTO dead_letter_counts SELECT status, count(*) FROM added GROUP BY status;
    WHEN 'DELETE' THEN
      INSERT INTO dead_letter_counts SELECT status, -count(*) FROM removed GROUP BY status;
    WHEN 'UPDATE' THEN
      INSERT INTO dead_letter_counts
        SELECT status, sum(delta) FROM (
          SELECT status, 1 AS delta FROM added UNION ALL SELECT status, -1 FROM removed
        ) AS changed GROUP BY status HAVING sum(delta) <> 0;
    WHEN 'TRUNCATE' THEN
      DELETE FROM dead_letter_counts;
  END CASE;
  -- One in two hundred folds, so that there are never many to add up. Under a stricter isolation folding could fail the
  -- transaction of whoever changed the queue.
  IF random() < 0.005 AND current_setting('transaction_isolation') = 'read committed' THEN PERFORM dlq_fold_counts(); END IF;
  RETURN NULL;
END
$$;

CREATE TRIGGER dlq_count_added AFTER INSERT ON dead_letter_queue
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION dlq_count();
CREATE TRIGGER dlq_count_changed AFTER UPDATE ON dead_letter_queue
  REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION dlq_count();
CREATE TRIGGER dlq_count_removed AFTER DELETE ON dead_letter_queue
  REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION dlq_count();
CREATE TRIGGER dlq_count_emptied AFTER TRUNCATE ON dead_letter_queue
  FOR EACH STATEMENT EXECUTE FUNCTION dlq_count();

CREATE OR REPLACE FUNCTION dlq_get_stats() RETURNS TABLE (status text, entries bigint, oldest timestamptz)
LANGUAGE sql STABLE AS $$
  SELECT counted.status, counted.entries,
    (SELECT created_at FROM dead_letter_queue entry WHERE entry.status = counted.status ORDER BY created_at, id LIMIT 1)
  FROM (
    SELECT status, sum(delta)::bigint AS entries FROM dead_letter_counts GROUP BY status HAVING sum(delta) > 0
  ) AS counted
  ORDER BY counted.status
$$;

-- Claiming looks for newer ones of the same resources among those that wait, whatever lies there closed. An entry is
-- found there at once, and not after a list of what is still to be put into the index: adding is rare.
CREATE INDEX dlq_waiting_by_resource ON dead_letter_queue USING gin (resources) WITH (fastupdate = off)
  WHERE status IN ('pending', 'retrying');
