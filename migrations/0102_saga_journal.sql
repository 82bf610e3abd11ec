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

-- Invariant: either all of the saga's resources are its own, its journal is open and its first records are in it, or
-- nothing was written and the ids of those in the way come back. Opening again what is there changes nothing. The journal's row comes first: of two
-- who open the same saga at once, one adds resources for it.
CREATE FUNCTION saga_journal_open(op jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  id text := op->>'sagaId';
  wanted text[] := ARRAY(SELECT DISTINCT jsonb_array_elements_text(op->'resources') AS resource ORDER BY resource);
  taken integer;
  others jsonb;
BEGIN
  LOOP
    IF EXISTS (SELECT 1 FROM saga_journal WHERE saga_id = id) THEN RETURN '[]'; END IF;
    -- Mostly who is in the way has been so for long: then nothing is written at all.
    SELECT jsonb_agg(DISTINCT saga_id) INTO others FROM saga_open_resources WHERE resource = ANY (wanted);
    IF others IS NOT NULL THEN RETURN others; END IF;
    INSERT INTO saga_journal (saga_id, saga, version, resources, fence, owner, key, derived, fingerprint, payload)
      VALUES (
        id, op->>'saga', (op->>'version')::integer, ARRAY(SELECT jsonb_array_elements_text(op->'resources')),
        (op->>'fence')::bigint, (op->>'fence')::bigint, op->>'key', (op->>'derived')::boolean, op->>'fingerprint',
        op->'payload'
      )
      ON CONFLICT (saga_id) DO NOTHING;
    IF NOT FOUND THEN RETURN '[]'; END IF;
    INSERT INTO saga_open_resources (resource, saga_id)
      SELECT resource, id FROM unnest(wanted) AS resource
      ON CONFLICT (resource) DO NOTHING;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken = cardinality(wanted) THEN
      IF jsonb_array_length(op->'records') > 0 THEN
        INSERT INTO saga_journal_records (saga_id, records) VALUES (id, op->'records');
      END IF;
      RETURN '[]';
    END IF;
    -- Somebody was faster, and may have ended since: seen when it is tried again.
    DELETE FROM saga_open_resources WHERE saga_id = id;
    DELETE FROM saga_journal WHERE saga_id = id;
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

-- Several sagas' operations in one transaction, hence one flush to disk; none depends on another. Those of one saga stay
-- in order. Journals first by id, then what is opened by resource: who locks in one order does not lock each other out.
CREATE FUNCTION saga_journal_apply(ops jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  op jsonb;
  place integer;
  answers jsonb[] := array_fill(NULL::jsonb, ARRAY[jsonb_array_length(ops)]);
BEGIN
  FOR op, place IN
    SELECT one, n FROM jsonb_array_elements(ops) WITH ORDINALITY AS each (one, n)
    ORDER BY one->>'op' = 'open', CASE one->>'op' WHEN 'open' THEN one->'resources'->>0 ELSE one->>'sagaId' END, n
  LOOP
    answers[place] := CASE op->>'op'
      WHEN 'open' THEN saga_journal_open(op)
      WHEN 'append' THEN saga_journal_append(op)
      WHEN 'close' THEN saga_journal_close(op)
      WHEN 'claim' THEN saga_journal_claim(op)
    END;
  END LOOP;
  RETURN to_jsonb(answers);
END
$$;
