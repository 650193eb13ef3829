-- +goose Up
-- One row for each thing the agent knows: its enrolment, the last catalogue …
CREATE TABLE state (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- Pieces of work, kept for ever.
CREATE TABLE runs (
    id      TEXT PRIMARY KEY,
    started INTEGER NOT NULL, -- nanoseconds since 1970
    ended   INTEGER,          -- NULL: goes on, or was interrupted
    release TEXT NOT NULL,
    state   TEXT NOT NULL,
    body    BLOB NOT NULL     -- catalog.Run as JSON
) STRICT;
CREATE INDEX runs_started ON runs (started);

-- What happened, kept for ever.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    release TEXT NOT NULL,
    text    TEXT NOT NULL
) STRICT;
CREATE INDEX events_at ON events (at);

-- Hotpatches that lie in the staging directory.
CREATE TABLE staged (
    bundle  TEXT NOT NULL, -- digest
    release TEXT NOT NULL,
    content TEXT NOT NULL, -- of the release when it was staged
    at      INTEGER NOT NULL,
    PRIMARY KEY (bundle, release)
) STRICT;

-- Patched processes that are being watched.
CREATE TABLE soak (
    pid      INTEGER NOT NULL,
    started  INTEGER NOT NULL, -- clock ticks since boot
    release  TEXT NOT NULL,
    bundle   TEXT NOT NULL,
    name     TEXT NOT NULL,
    unit     TEXT NOT NULL,
    restarts INTEGER NOT NULL, -- of the unit, when it was patched
    until    INTEGER NOT NULL,
    PRIMARY KEY (pid, started, bundle)
) STRICT;

-- Releases that did harm here and are not applied again until somebody says so.
CREATE TABLE barred (
    release TEXT NOT NULL,
    content TEXT NOT NULL,
    at      INTEGER NOT NULL,
    why     TEXT NOT NULL,
    PRIMARY KEY (release, content)
) STRICT;

-- Who put which release on this host.
CREATE TABLE receipts (
    release TEXT NOT NULL,
    at      INTEGER NOT NULL,
    by      TEXT NOT NULL
) STRICT;
