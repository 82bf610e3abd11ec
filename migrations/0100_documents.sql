-- The rows of the document saga. A row without a document is a tombstone: it keeps the floor of what was removed.

CREATE TABLE documents (
  uuid       uuid PRIMARY KEY,
  -- Invariant: the floor never falls; who writes below it, or at it under another saga, is refused.
  floor      bigint NOT NULL,
  floor_saga text NOT NULL,
  -- The document; null when it was removed, or was never there.
  document   jsonb,
  -- Who wrote it: the same call that comes again writes nothing new.
  stamp_saga text,
  stamp_call integer,
  updated_at timestamptz NOT NULL DEFAULT now()
);
