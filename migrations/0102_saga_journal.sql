-- What running sagas write down, so that another process can undo them or bring them to their end.

CREATE TABLE saga_journal (
  saga_id     text PRIMARY KEY,
  saga        text NOT NULL,
  version     integer NOT NULL,
  resources   text[] NOT NULL,
  fence       bigint NOT NULL,
  owner       bigint NOT NULL,
  status      text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'compensating', 'finished')),
  outcome     text CHECK (outcome IN ('succeeded', 'undone', 'parked')),
  problem     text,
  key         text NOT NULL,
  derived     boolean NOT NULL,
  fingerprint text NOT NULL,
  payload     jsonb,
  result      text,
  opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Of all sagas few are unfinished: what recovery sweeps, oldest first.
CREATE INDEX saga_journal_unfinished ON saga_journal (status, opened_at, saga_id) WHERE status <> 'finished';
CREATE INDEX saga_journal_by_age ON saga_journal (opened_at, saga_id);
CREATE INDEX saga_journal_by_saga ON saga_journal (saga, opened_at, saga_id);
CREATE INDEX saga_journal_finished ON saga_journal (updated_at) WHERE status = 'finished';
CREATE INDEX saga_journal_by_resource ON saga_journal USING gin (resources);

-- Its primary key is what admits: a resource is of one unfinished saga, even when the lock has forgotten everything.
CREATE TABLE saga_open_resources (resource text PRIMARY KEY, saga_id text NOT NULL);
CREATE INDEX saga_open_resources_by_saga ON saga_open_resources (saga_id);

-- Only ever added to: a call's intent is one row, with the outcomes that were waiting to be written.
CREATE TABLE saga_journal_records (
  saga_id    text NOT NULL,
  seq        bigint GENERATED ALWAYS AS IDENTITY,
  records    jsonb NOT NULL,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (saga_id, seq)
);

-- Invariant: either all of the saga's resources are its own and its journal is open, or nothing was written and the
-- ids of those in the way come back. Opening again what is there changes nothing.
CREATE FUNCTION saga_journal_open(op jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  id text := op->>'sagaId';
  wanted text[] := ARRAY(SELECT jsonb_array_elements_text(op->'resources') AS resource ORDER BY resource);
  taken integer;
  others jsonb;
BEGIN
  IF EXISTS (SELECT 1 FROM saga_journal WHERE saga_id = id) THEN RETURN '[]'; END IF;
  LOOP
    INSERT INTO saga_open_resources (resource, saga_id)
      SELECT resource, id FROM unnest(wanted) AS resource
      ON CONFLICT (resource) DO NOTHING;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken = cardinality(wanted) THEN
      INSERT INTO saga_journal (saga_id, saga, version, resources, fence, owner, key, derived, fingerprint, payload)
      VALUES (
        id, op->>'saga', (op->>'version')::integer, ARRAY(SELECT jsonb_array_elements_text(op->'resources')),
        (op->>'fence')::bigint, (op->>'fence')::bigint, op->>'key', (op->>'derived')::boolean, op->>'fingerprint',
        op->'payload'
      );
      RETURN '[]';
    END IF;
    DELETE FROM saga_open_resources WHERE saga_id = id;
    SELECT jsonb_agg(DISTINCT saga_id) INTO others FROM saga_open_resources WHERE resource = ANY (wanted);
    -- Whoever was in the way may have ended meanwhile.
    IF others IS NOT NULL THEN RETURN others; END IF;
  END LOOP;
END
$$;

-- Invariant: what is written is the owner's. The row's lock makes the comparison and the writing one step: a claim that
-- comes in between waits, or is seen.
CREATE FUNCTION saga_journal_append(op jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM saga_journal
    WHERE saga_id = op->>'sagaId' AND owner = (op->>'owner')::bigint AND status <> 'finished'
    FOR NO KEY UPDATE;
  IF NOT FOUND THEN RETURN 'false'; END IF;
  IF jsonb_array_length(op->'records') > 0 THEN
    INSERT INTO saga_journal_records (saga_id, records) VALUES (op->>'sagaId', op->'records');
  END IF;
  IF op->'records' @> '[{"_tag": "Undoing"}]' THEN
    UPDATE saga_journal SET status = 'compensating', updated_at = clock_timestamp() WHERE saga_id = op->>'sagaId';
  END IF;
  RETURN 'true';
END
$$;

-- Invariant: a journal ends once, by its owner, and from then on its resources are free. Asking again is answered alike.
CREATE FUNCTION saga_journal_close(op jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  UPDATE saga_journal
    SET status = 'finished', outcome = op->>'outcome', result = op->>'result', problem = NULL,
        updated_at = clock_timestamp()
    WHERE saga_id = op->>'sagaId' AND owner = (op->>'owner')::bigint AND status <> 'finished';
  IF NOT FOUND THEN
    RETURN to_jsonb(EXISTS (
      SELECT 1 FROM saga_journal
      WHERE saga_id = op->>'sagaId' AND owner = (op->>'owner')::bigint AND outcome = op->>'outcome'
    ));
  END IF;
  IF jsonb_array_length(op->'records') > 0 THEN
    INSERT INTO saga_journal_records (saga_id, records) VALUES (op->>'sagaId', op->'records');
  END IF;
  DELETE FROM saga_open_resources WHERE saga_id = op->>'sagaId';
  RETURN 'true';
END
$$;

-- Invariant: of those who claim from one owner, one gets the journal, and owners only rise.
CREATE FUNCTION saga_journal_claim(op jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  UPDATE saga_journal SET owner = (op->>'to')::bigint, updated_at = clock_timestamp()
    WHERE saga_id = op->>'sagaId' AND owner = (op->>'from')::bigint AND status <> 'finished'
      AND (op->>'to')::bigint > (op->>'from')::bigint;
  RETURN to_jsonb(FOUND);
END
$$;

-- Several sagas' operations in one transaction, hence one flush to disk; none depends on another.
CREATE FUNCTION saga_journal_apply(ops jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  op jsonb;
  answers jsonb := '[]';
BEGIN
  FOR op IN SELECT * FROM jsonb_array_elements(ops) LOOP
    answers := answers || jsonb_build_array(
      CASE op->>'op'
        WHEN 'open' THEN saga_journal_open(op)
        WHEN 'append' THEN saga_journal_append(op)
        WHEN 'close' THEN saga_journal_close(op)
        WHEN 'claim' THEN saga_journal_claim(op)
      END
    );
  END LOOP;
  RETURN answers;
END
$$;
