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
-- Keys whose values differ from span to span; their tags are kept with the span.
CREATE TABLE IF NOT EXISTS own_key (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS span (
  id INTEGER PRIMARY KEY, trace BLOB NOT NULL, span BLOB NOT NULL, service INTEGER NOT NULL,
  operation INTEGER NOT NULL, process INTEGER NOT NULL, tagset INTEGER NOT NULL,
  parent BLOB NOT NULL,  -- the span id of the first CHILD_OF reference, or empty
  start_us INTEGER NOT NULL, duration_us INTEGER NOT NULL,
  marks BLOB NOT NULL, -- four bytes for each tag in own and in the logs: where they are not, the tag is not
  own TEXT NOT NULL,   -- own tags, a JSON list without its brackets
  rest TEXT NOT NULL   -- flags, references and logs, JSON members without their braces
);
-- One index for all searches but those by trace: each costs every span a part of its insertion.
CREATE INDEX IF NOT EXISTS span_service ON span (service, start_us, duration_us, tagset, operation, marks);
-- The spans of each trace, sorted a chunk of arrivals at a time: ids are random, so with one index over all
-- spans a commit would write a page for each of its traces. Arrivals after the last chunk are not in it yet.
CREATE TABLE IF NOT EXISTS chunk_trace (
  chunk INTEGER NOT NULL, trace BLOB NOT NULL, span INTEGER NOT NULL, PRIMARY KEY (chunk, trace, span)
) WITHOUT ROWID;
