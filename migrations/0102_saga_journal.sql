-- What running sagas write down, so that another process can undo them or bring them to their end.

-- A saga's row is written when it opens and once more when it ends. No index has a column that changes, so the second
-- write stays within its page, for which the page has room, and touches no index. Values are text: nothing looks into
-- them here, and JSON has what jsonb has not.
CREATE TABLE saga_journal (
  saga_id     text COLLATE "C" PRIMARY KEY,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  saga        text COLLATE "C" NOT NULL,
  version     integer NOT NULL,
  resources   text[] COLLATE "C" NOT NULL,
  fence       bigint NOT NULL,
  owner       bigint NOT NULL,
  status      text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'compensating', 'finished')),
  outcome     text CHECK (outcome IN ('succeeded', 'undone', 'parked')),
  problem     text,
  key         text NOT NULL,
  derived     boolean NOT NULL,
  fingerprint text NOT NULL,
  result      text,
  -- Written with the end.
  last        text,
  opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 60);

CREATE INDEX saga_journal_by_age ON saga_journal (opened_at, id);
CREATE INDEX saga_journal_by_saga ON saga_journal (saga, opened_at, id);
CREATE INDEX saga_journal_by_resource ON saga_journal USING gin (resources);

-- Its primary key is what admits: a resource is of one unfinished saga, even when the lock has forgotten everything. And
-- it is the list of the unfinished: of all sagas few. A saga without a resource holds its own id.
CREATE TABLE saga_open_resources (resource text COLLATE "C" PRIMARY KEY, saga_id text COLLATE "C" NOT NULL);

-- Only ever added to: a call's intent is one row, with the outcomes that were waiting to be written. The first has the
-- payload too. Up to a page they stay as they are: compressing a few kilobytes costs more than it saves.
CREATE TABLE saga_journal_records (
  journal    bigint NOT NULL,
  seq        bigint GENERATED ALWAYS AS IDENTITY,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  payload    text,
  records    text NOT NULL,
  PRIMARY KEY (journal, seq)
) WITH (toast_tuple_target = 8160);

CREATE FUNCTION saga_journal_holds(resources text[], saga_id text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE cardinality(resources) WHEN 0 THEN ARRAY[saga_id] ELSE resources END
$$;

-- Invariant: either all of the saga's resources are its own, its journal is open and its first records are in it, or
-- nothing was written and the ids of those in the way come back. Opening again what is there changes nothing. The
-- journal's row comes first: of two who open the same saga at once, one adds resources for it.
CREATE FUNCTION saga_journal_open(one json, payload text, first text) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
  new saga_journal := json_populate_record(NULL::saga_journal, one);
  wanted text[] := ARRAY(SELECT DISTINCT unnest(saga_journal_holds(new.resources, new.saga_id)) AS resource ORDER BY resource);
  taken integer;
  others text[];
BEGIN
  LOOP
    IF EXISTS (SELECT 1 FROM saga_journal WHERE saga_id = new.saga_id) THEN RETURN '{}'; END IF;
    -- Mostly who is in the way has been so for long: then nothing is written at all.
    others := ARRAY(SELECT DISTINCT saga_id FROM saga_open_resources WHERE resource = ANY (wanted));
    IF others <> '{}' THEN RETURN others; END IF;
    INSERT INTO saga_journal (saga_id, saga, version, resources, fence, owner, key, derived, fingerprint)
      VALUES (
        new.saga_id, new.saga, new.version, new.resources, new.fence, new.fence, new.key, new.derived, new.fingerprint
      )
      ON CONFLICT (saga_id) DO NOTHING RETURNING id INTO new.id;
    IF NOT FOUND THEN RETURN '{}'; END IF;
    INSERT INTO saga_open_resources (resource, saga_id)
      SELECT resource, new.saga_id FROM unnest(wanted) AS resource
      ON CONFLICT (resource) DO NOTHING;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken = cardinality(wanted) THEN
      INSERT INTO saga_journal_records (journal, payload, records) VALUES (new.id, payload, first);
      RETURN '{}';
    END IF;
    -- Somebody was faster, and may have ended since: seen when it is tried again.
    DELETE FROM saga_open_resources WHERE resource = ANY (wanted) AND saga_id = new.saga_id;
    DELETE FROM saga_journal WHERE saga_id = new.saga_id;
  END LOOP;
END
$$;

-- Invariant: as for one. Those in nobody's way are written at once; whoever else there is, is looked at by itself.
-- Yields who is in the way, by the place of who is kept out.
CREATE FUNCTION saga_journal_open_all(opens json, payloads text[], firsts text[]) RETURNS jsonb LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  opened text[];
  wanted bigint;
  taken bigint;
  place integer;
  others text[];
  answers jsonb := '{}';
BEGIN
  WITH asked AS MATERIALIZED (
    SELECT a.* FROM ROWS FROM (
      json_to_recordset(opens) AS (
        saga_id text, saga text, version integer, resources text[], fence bigint, key text, derived boolean,
        fingerprint text
      ),
      unnest(payloads), unnest(firsts)
    ) AS a (saga_id, saga, version, resources, fence, key, derived, fingerprint, payload, first)
    ORDER BY a.saga_id
  ), journals AS (
    INSERT INTO saga_journal (saga_id, saga, version, resources, fence, owner, key, derived, fingerprint)
      SELECT saga_id, saga, version, resources, fence, fence, key, derived, fingerprint FROM asked
      WHERE NOT EXISTS (
        SELECT 1 FROM saga_open_resources o WHERE o.resource = ANY (saga_journal_holds(asked.resources, asked.saga_id))
      )
      ON CONFLICT (saga_id) DO NOTHING
      RETURNING id, saga_id, saga_journal_holds(resources, saga_id) AS holds
  ), held AS (
    INSERT INTO saga_open_resources (resource, saga_id)
      SELECT resource, saga_id FROM journals, unnest(holds) AS resource ORDER BY resource
      ON CONFLICT (resource) DO NOTHING
      RETURNING 1
  ), written AS (
    INSERT INTO saga_journal_records (journal, payload, records)
      SELECT id, payload, first FROM journals JOIN asked USING (saga_id)
  )
  SELECT array_agg(saga_id), sum(cardinality(holds)), (SELECT count(*) FROM held) INTO opened, wanted, taken
    FROM journals;
  IF taken < wanted THEN
    DELETE FROM saga_open_resources o USING saga_journal j, unnest(saga_journal_holds(j.resources, j.saga_id)) AS held
      WHERE j.saga_id = ANY (opened) AND o.resource = held AND o.saga_id = j.saga_id;
    DELETE FROM saga_journal_records USING saga_journal j WHERE journal = j.id AND j.saga_id = ANY (opened);
    DELETE FROM saga_journal WHERE saga_id = ANY (opened);
    opened := NULL;
  END IF;
  IF coalesce(cardinality(opened), 0) < json_array_length(opens) THEN
    FOR place IN 1 .. json_array_length(opens) LOOP
      IF opens->(place - 1)->>'saga_id' = ANY (opened) THEN CONTINUE; END IF;
      others := saga_journal_open(opens->(place - 1), payloads[place], firsts[place]);
      IF others <> '{}' THEN answers := answers || jsonb_build_object(place, others); END IF;
    END LOOP;
  END IF;
  RETURN answers;
END
$$;

-- Invariant: what is written is the owner's. The row's lock makes the comparison and the writing one step: a claim that
-- comes in between waits, or is seen. Yields the places of those that were written.
CREATE FUNCTION saga_journal_append_all(ids text[], owners text[], appended text[], undoing boolean[])
RETURNS integer[] LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  places integer[];
BEGIN
  WITH mine AS MATERIALIZED (
    SELECT j.id, a.records, a.place FROM (
      SELECT * FROM unnest(ids, owners, appended) WITH ORDINALITY AS a (saga_id, owner, records, place)
      ORDER BY saga_id, place
    ) AS a CROSS JOIN LATERAL (
      SELECT id FROM saga_journal
      WHERE saga_id = a.saga_id AND owner = a.owner::bigint AND status <> 'finished'
      FOR NO KEY UPDATE
    ) AS j
  ), written AS (
    INSERT INTO saga_journal_records (journal, records) SELECT id, records FROM mine ORDER BY place
  )
  SELECT array_agg(place) INTO places FROM mine;
  IF true = ANY (undoing) THEN
    UPDATE saga_journal SET status = 'compensating', updated_at = clock_timestamp()
      WHERE saga_id IN (SELECT ids[place] FROM unnest(places) AS place WHERE undoing[place]);
  END IF;
  RETURN places;
END
$$;

-- Invariant: a journal ends once, by its owner, and from then on its resources are free. Asking again is answered alike.
-- Yields the places of those that have ended so.
CREATE FUNCTION saga_journal_close_all(ids text[], owners text[], lasts text[], outcomes text[], results text[])
RETURNS integer[] LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  places integer[];
BEGIN
  WITH closed AS (
    UPDATE saga_journal j
      SET status = 'finished', outcome = a.outcome, result = nullif(a.result, ''), last = a.last, problem = NULL,
          updated_at = clock_timestamp()
      FROM (
        SELECT * FROM unnest(ids, owners, lasts, outcomes, results)
          WITH ORDINALITY AS a (saga_id, owner, last, outcome, result, place)
        ORDER BY saga_id, place
      ) AS a
      WHERE j.saga_id = a.saga_id AND j.owner = a.owner::bigint AND j.status <> 'finished'
      RETURNING a.place, j.saga_id, j.resources
  ), freed AS (
    DELETE FROM saga_open_resources o
      USING closed, unnest(saga_journal_holds(closed.resources, closed.saga_id)) AS held
      WHERE o.resource = held AND o.saga_id = closed.saga_id
  )
  SELECT array_agg(place) INTO places FROM closed;
  IF coalesce(cardinality(places), 0) < cardinality(ids) THEN
    places := places || ARRAY(
      SELECT a.place::integer FROM unnest(ids, owners, outcomes) WITH ORDINALITY AS a (saga_id, owner, outcome, place)
        JOIN saga_journal j USING (saga_id)
        WHERE j.owner = a.owner::bigint AND j.outcome = a.outcome
    );
  END IF;
  RETURN places;
END
$$;
