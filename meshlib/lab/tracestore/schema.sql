-- The trace store's tables. Times are Unix µs. A span's row number grows with its arrival.
CREATE TABLE IF NOT EXISTS process (
  id INTEGER PRIMARY KEY, service TEXT NOT NULL, tags TEXT NOT NULL, UNIQUE (service, tags)
);
CREATE TABLE IF NOT EXISTS service (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS operation (
  id INTEGER PRIMARY KEY, service INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
  UNIQUE (service, name, kind)
);
-- Tags that many spans share are kept once, as a set.
CREATE TABLE IF NOT EXISTS tagset (id INTEGER PRIMARY KEY, tags TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tagset_tag (hash INTEGER NOT NULL, tagset INTEGER NOT NULL, PRIMARY KEY (hash, tagset))
  WITHOUT ROWID;
-- Keys whose values differ from span to span; their tags are kept and indexed with the span.
CREATE TABLE IF NOT EXISTS own_key (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS span (
  id INTEGER PRIMARY KEY, trace BLOB NOT NULL, span BLOB NOT NULL, service INTEGER NOT NULL,
  operation INTEGER NOT NULL, process INTEGER NOT NULL, tagset INTEGER NOT NULL,
  parent BLOB NOT NULL,  -- the span id of the first CHILD_OF reference, or empty
  start_us INTEGER NOT NULL, duration_us INTEGER NOT NULL,
  own TEXT NOT NULL,   -- own tags, a JSON list without its brackets
  rest TEXT NOT NULL   -- flags, references and logs, JSON members without their braces
);
CREATE INDEX IF NOT EXISTS span_trace ON span (trace);
-- One index for searches with and without an operation: a second one cost every span a fifth of its insertion.
CREATE INDEX IF NOT EXISTS span_service ON span (service, start_us, duration_us, tagset, operation);
-- Hashes land in buckets of neighbouring spans, so that a commit touches few pages.
CREATE TABLE IF NOT EXISTS span_tag (
  bucket INTEGER NOT NULL, hash INTEGER NOT NULL, span INTEGER NOT NULL, PRIMARY KEY (bucket, hash, span)
) WITHOUT ROWID;
