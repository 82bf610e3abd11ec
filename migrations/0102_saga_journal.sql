-- What running sagas write down, so that another process can undo them or bring them to their end.

-- A saga's row is written when it opens and once more when it ends. No index has a column that changes, so the second
-- write stays within its page, for which the page has room, and touches no index. Values are text: nothing looks into
-- them here, and JSON has what jsonb has not. `status` is running, compensating or finished; `outcome` succeeded, undone
-- or parked. No CHECK says so, since one is parsed anew for each statement; only the functions below write.
CREATE TABLE saga_journal (
  saga_id     text COLLATE "C" PRIMARY KEY,
  journal     bigint GENERATED ALWAYS AS IDENTITY,
  saga        text COLLATE "C" NOT NULL,
  version     integer NOT NULL,
  resources   text[] COLLATE "C" NOT NULL,
  fence       bigint NOT NULL,
  owner       bigint NOT NULL,
  status      text NOT NULL DEFAULT 'running',
  outcome     text,
  problem     text,
  key         text NOT NULL,
  derived     boolean NOT NULL,
  fingerprint text NOT NULL,
  result      text,
  -- Written with the end.
  last        text,
  opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 40);

CREATE INDEX saga_journal_by_age ON saga_journal (opened_at, journal);
CREATE INDEX saga_journal_by_saga ON saga_journal (saga, opened_at, journal);
CREATE INDEX saga_journal_by_resource ON saga_journal USING gin (resources);

-- Its primary key is what admits: a resource is of one unfinished saga, even when the lock has forgotten everything. And
-- it is the list of the unfinished: of all sagas few. A saga without a resource holds its own id.
CREATE TABLE saga_open_resources (resource text COLLATE "C" PRIMARY KEY, saga_id text COLLATE "C" NOT NULL);

-- Only ever added to: a call's intent is one row, with the outcomes that were waiting to be written. The first has the
-- payload too. What fits a page stays in it, and nothing is compressed: that costs more than all else that is done here.
CREATE TABLE saga_journal_records (
  journal    bigint NOT NULL,
  seq        bigint GENERATED ALWAYS AS IDENTITY,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  payload    text,
  records    text NOT NULL,
  PRIMARY KEY (journal, seq)
) WITH (toast_tuple_target = 8160);
ALTER TABLE saga_journal_records ALTER payload SET STORAGE EXTERNAL, ALTER records SET STORAGE EXTERNAL;

-- Every table is looked up by key only, by what is at hand and not by a join: a plan made while a table was small must not
-- read all of it, or all of an index, when it has grown. A lone write goes through one function, those of several sagas
-- through another that costs more once and less for each.

CREATE FUNCTION saga_journal_holds(resources text[], saga_id text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE cardinality(resources) WHEN 0 THEN ARRAY[saga_id] ELSE resources END
$$;

-- Invariant: either all of the saga's resources are its own, its journal is open and its first records are in it, or
-- nothing was written and the ids of those in the way come back. Opening again what is there changes nothing. The
-- journal's row comes first: of two who open the same saga at once, one adds resources for it.
CREATE FUNCTION saga_journal_open(
  id text, name text, ver integer, res text[], fen bigint, k text, der boolean, print text, payload text, first text
) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
  wanted text[] := res;
  taken integer;
  others text[];
  row_id bigint;
BEGIN
  IF cardinality(wanted) <> 1 THEN
    wanted := ARRAY(SELECT DISTINCT unnest(saga_journal_holds(res, id)) AS resource ORDER BY resource);
  END IF;
  LOOP
    -- Mostly who is in the way has been so for long: then nothing is written at all.
    IF cardinality(wanted) = 1 THEN
      SELECT ARRAY[saga_id] INTO others FROM saga_open_resources WHERE resource = wanted[1];
    ELSE
      SELECT array_agg(DISTINCT saga_id) INTO others FROM saga_open_resources WHERE resource = ANY (wanted);
    END IF;
    IF others IS NOT NULL THEN
      IF EXISTS (SELECT 1 FROM saga_journal WHERE saga_id = id) THEN RETURN '{}'; END IF;
      RETURN others;
    END IF;
    INSERT INTO saga_journal (saga_id, saga, version, resources, fence, owner, key, derived, fingerprint)
      VALUES (id, name, ver, res, fen, fen, k, der, print)
      ON CONFLICT (saga_id) DO NOTHING RETURNING journal INTO row_id;
    IF NOT FOUND THEN RETURN '{}'; END IF;
    INSERT INTO saga_open_resources (resource, saga_id)
      SELECT resource, id FROM unnest(wanted) AS resource
      ON CONFLICT (resource) DO NOTHING;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken = cardinality(wanted) THEN
      INSERT INTO saga_journal_records (journal, payload, records) VALUES (row_id, payload, first);
      RETURN '{}';
    END IF;
    -- Somebody was faster, and may have ended since: seen when it is tried again.
    DELETE FROM saga_open_resources WHERE resource = ANY (wanted) AND saga_id = id;
    DELETE FROM saga_journal WHERE saga_id = id;
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
      WHERE (
        SELECT o.saga_id FROM saga_open_resources o
        WHERE o.resource = ANY (saga_journal_holds(asked.resources, asked.saga_id)) LIMIT 1
      ) IS NULL
      ON CONFLICT (saga_id) DO NOTHING
      RETURNING journal, saga_id, saga_journal_holds(resources, saga_id) AS holds
  ), held AS (
    INSERT INTO saga_open_resources (resource, saga_id)
      SELECT resource, saga_id FROM journals, unnest(holds) AS resource ORDER BY resource
      ON CONFLICT (resource) DO NOTHING
      RETURNING 1
  ), written AS (
    INSERT INTO saga_journal_records (journal, payload, records)
      SELECT journal, payload, first FROM journals JOIN asked USING (saga_id)
  )
  SELECT array_agg(saga_id), sum(cardinality(holds)), (SELECT count(*) FROM held) INTO opened, wanted, taken
    FROM journals;
  IF taken < wanted THEN
    DELETE FROM saga_open_resources
      WHERE saga_id = ANY (opened) AND resource = ANY (ARRAY(
        SELECT unnest(saga_journal_holds(resources, saga_id)) FROM saga_journal WHERE saga_id = ANY (opened)
      ));
    DELETE FROM saga_journal_records
      WHERE journal = ANY (ARRAY(SELECT journal FROM saga_journal WHERE saga_id = ANY (opened)));
    DELETE FROM saga_journal WHERE saga_id = ANY (opened);
    opened := NULL;
  END IF;
  IF coalesce(cardinality(opened), 0) < json_array_length(opens) THEN
    FOR place IN 1 .. json_array_length(opens) LOOP
      IF opens->(place - 1)->>'saga_id' = ANY (opened) THEN CONTINUE; END IF;
      SELECT saga_journal_open(
          saga_id, saga, version, resources, fence, key, derived, fingerprint, payloads[place], firsts[place]
        ) INTO others
        FROM json_to_record(opens->(place - 1)) AS a (
          saga_id text, saga text, version integer, resources text[], fence bigint, key text, derived boolean,
          fingerprint text
        );
      IF others <> '{}' THEN answers := answers || jsonb_build_object(place, others); END IF;
    END LOOP;
  END IF;
  RETURN answers;
END
$$;

-- Invariant: what is written is the owner's. The row's lock makes the comparison and the writing one step: a claim that
-- comes in between waits, or is seen.
CREATE FUNCTION saga_journal_append(id text, own bigint, appended text, undoing boolean) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
  row_id bigint;
BEGIN
  SELECT journal INTO row_id FROM saga_journal
    WHERE saga_id = id AND owner = own AND status <> 'finished' FOR NO KEY UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  INSERT INTO saga_journal_records (journal, records) VALUES (row_id, appended);
  IF undoing THEN
    UPDATE saga_journal SET status = 'compensating', updated_at = clock_timestamp() WHERE saga_id = id;
  END IF;
  RETURN true;
END
$$;

-- Invariant: as for one. Rows are locked by the order of their sagas' ids: who locks in one order does not lock each
-- other out. Yields the places of those that were written.
CREATE FUNCTION saga_journal_append_all(ids text[], owners text[], appended text[], undoing boolean[])
RETURNS integer[] LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  places integer[];
BEGIN
  WITH mine AS MATERIALIZED (
    SELECT j.journal, a.records, a.place FROM (
      SELECT * FROM unnest(ids, owners, appended) WITH ORDINALITY AS a (saga_id, owner, records, place)
      ORDER BY saga_id, place
    ) AS a CROSS JOIN LATERAL (
      SELECT journal FROM saga_journal
      WHERE saga_id = a.saga_id AND owner = a.owner::bigint AND status <> 'finished'
      FOR NO KEY UPDATE
    ) AS j
  ), written AS (
    INSERT INTO saga_journal_records (journal, records) SELECT journal, records FROM mine ORDER BY place
  )
  SELECT array_agg(place) INTO places FROM mine;
  IF true = ANY (undoing) THEN
    UPDATE saga_journal SET status = 'compensating', updated_at = clock_timestamp()
      WHERE saga_id = ANY (ARRAY(SELECT ids[place] FROM unnest(places) AS place WHERE undoing[place]));
  END IF;
  RETURN places;
END
$$;

-- Invariant: a journal ends once, by its owner, and from then on its resources are free. Asking again is answered alike.
CREATE FUNCTION saga_journal_close(id text, own bigint, ending text, how text, res text) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
  held text[];
BEGIN
  UPDATE saga_journal
    SET status = 'finished', outcome = how, result = nullif(res, ''), last = ending, problem = NULL,
        updated_at = clock_timestamp()
    WHERE saga_id = id AND owner = own AND status <> 'finished'
    RETURNING resources INTO held;
  IF NOT FOUND THEN
    RETURN EXISTS (SELECT 1 FROM saga_journal WHERE saga_id = id AND owner = own AND outcome = how);
  END IF;
  IF cardinality(held) = 1 THEN
    DELETE FROM saga_open_resources WHERE resource = held[1] AND saga_id = id;
  ELSE
    DELETE FROM saga_open_resources WHERE resource = ANY (saga_journal_holds(held, id)) AND saga_id = id;
  END IF;
  RETURN true;
END
$$;

-- Invariant: as for one; journals first by id, then resources. Yields the places of those that have ended so.
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
      WHERE j.saga_id = ANY (ids) AND j.saga_id = a.saga_id AND j.owner = a.owner::bigint AND j.status <> 'finished'
      RETURNING a.place, j.saga_id, j.resources
  ), freed AS (
    DELETE FROM saga_open_resources
      WHERE saga_id = ANY (ids)
        AND resource = ANY (ARRAY(SELECT unnest(saga_journal_holds(resources, saga_id)) FROM closed))
  )
  SELECT array_agg(place) INTO places FROM closed;
  IF coalesce(cardinality(places), 0) < cardinality(ids) THEN
    places := places || ARRAY(
      SELECT a.place::integer FROM unnest(ids, owners, outcomes) WITH ORDINALITY AS a (saga_id, owner, outcome, place)
        JOIN saga_journal j USING (saga_id)
        WHERE j.saga_id = ANY (ids) AND j.owner = a.owner::bigint AND j.outcome = a.outcome
    );
  END IF;
  RETURN places;
END
$$;
