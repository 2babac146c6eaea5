// The journal's tables. Format 2 is format 1 with rows of the type `restored`, format 3 has rows of the type `release`
// as well; a file has a format from its first such row on. Rows of `journal` are only ever added (triggers refuse the
// rest); the views are for people with a sqlite3 shell, the program folds the rows itself (record.cpp).
#pragma once

namespace deployrun::journal {

constexpr int kFormat = 1;        ///< of a new file
constexpr int kNewestFormat = 3;  ///< the highest that is understood
constexpr int kFormatOfRestored = 2;
constexpr int kFormatOfRelease = 3;
constexpr int kApplicationId = 0x64706c79;  // "dply"

constexpr const char* kSchema = R"sql(
CREATE TABLE journal (
  number    INTEGER PRIMARY KEY,   -- 1, 2, 3 … without a gap
  time      INTEGER NOT NULL,      -- wall clock, milliseconds since 1970
  run       TEXT NOT NULL,
  type      TEXT NOT NULL,         -- run, takeover, once, step, task, release, finish, restored
  body      TEXT NOT NULL,         -- JSON
  prev_hash TEXT NOT NULL,
  hash      TEXT NOT NULL          -- SHA-256 over prev_hash and this row
);
CREATE INDEX journal_run ON journal (run, number);
CREATE INDEX journal_begun ON journal (number) WHERE type = 'run';
CREATE TABLE head (                -- the newest row again: a journal cut short shows
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  number INTEGER NOT NULL,
  hash   TEXT NOT NULL
);
CREATE TRIGGER journal_never_changes BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'rows of the journal never change'); END;
CREATE TRIGGER journal_never_shrinks BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'rows of the journal are never removed'); END;
CREATE VIEW run AS
  SELECT run AS id, datetime(time / 1000, 'unixepoch') AS started, body ->> '$.recipe' AS recipe, body ->> '$.command' AS command,
    body -> '$.parameters' AS parameters, body ->> '$.user' AS user, body ->> '$.host' AS host, body ->> '$.actor' AS actor,
    body ->> '$.revision' AS revision, body ->> '$.version' AS version,
    (SELECT coalesce(body ->> '$.state', 'running') FROM journal AS last WHERE last.run = journal.run
      AND last.type IN ('run', 'takeover', 'finish') ORDER BY number DESC LIMIT 1) AS state
  FROM journal WHERE type = 'run';
CREATE VIEW step AS
  SELECT run, body ->> '$.ordinal' AS ordinal, body ->> '$.name' AS name FROM journal WHERE type = 'step';
CREATE VIEW task AS
  SELECT run, body ->> '$.step' AS step, body ->> '$.host' AS host, body ->> '$.state' AS state, body ->> '$.attempt' AS attempt,
    body ->> '$.ms' AS ms, body -> '$.result' AS result, body -> '$.error' AS error, max(number) AS number
  FROM journal WHERE type = 'task' GROUP BY run, body ->> '$.step', body ->> '$.host';
CREATE VIEW once AS
  SELECT run, body ->> '$.name' AS name, body -> '$.value' AS value FROM journal WHERE type = 'once';
)sql";

/// What comes with format 3.
constexpr const char* kSchemaOfReleases = R"sql(
CREATE INDEX IF NOT EXISTS journal_released ON journal (body ->> '$.service', body ->> '$.host', number) WHERE type = 'release';
CREATE VIEW IF NOT EXISTS release AS
  SELECT run, datetime(time / 1000, 'unixepoch') AS released, body ->> '$.service' AS service, body ->> '$.host' AS host,
    body ->> '$.version' AS version, body -> '$.images' AS images
  FROM journal WHERE type = 'release';
)sql";

}  // namespace deployrun::journal
