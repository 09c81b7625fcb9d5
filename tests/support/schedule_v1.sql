-- The state as the first version of the scheduler made it. Never changed: it has to open for ever.
CREATE TABLE job_state(
    job TEXT PRIMARY KEY, cursor INTEGER NOT NULL, schedule TEXT NOT NULL, paused_until INTEGER, skips INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE run(
    id TEXT PRIMARY KEY, job TEXT NOT NULL, kind TEXT NOT NULL,
    trigger TEXT NOT NULL CHECK(trigger IN ('schedule', 'catch_up', 'manual')), slot INTEGER,
    status TEXT NOT NULL CHECK(status IN ('QUEUED', 'IN_PROGRESS', 'COMPLETED', 'FAILED')),
    queued INTEGER NOT NULL, not_before INTEGER NOT NULL, attempt INTEGER NOT NULL, started INTEGER, ended INTEGER,
    parts TEXT NOT NULL, reason TEXT, exit INTEGER, noted INTEGER, log TEXT
) STRICT;
CREATE UNIQUE INDEX one_running ON run(job) WHERE status = 'IN_PROGRESS';
CREATE UNIQUE INDEX one_queued ON run(job) WHERE status = 'QUEUED';
CREATE INDEX run_of_job ON run(job, id);
CREATE TABLE slot(
    job TEXT NOT NULL, at INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK(decision IN ('run', 'catch_up', 'skipped', 'missed', 'paused')),
    covers INTEGER NOT NULL, run TEXT REFERENCES run(id) ON DELETE SET NULL, decided INTEGER NOT NULL, PRIMARY KEY(job, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE attempt(
    run TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE, number INTEGER NOT NULL, started INTEGER NOT NULL,
    ended INTEGER, exit INTEGER, reason TEXT, PRIMARY KEY(run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE invocation(
    id TEXT PRIMARY KEY, command TEXT NOT NULL, words TEXT NOT NULL, run TEXT, attempt INTEGER,
    started INTEGER NOT NULL, ended INTEGER, exit INTEGER, error TEXT, hint TEXT,
    repository TEXT, boot TEXT NOT NULL, pid INTEGER NOT NULL, pid_start INTEGER NOT NULL, log TEXT
) STRICT;
CREATE INDEX invocation_of_run ON invocation(run) WHERE run IS NOT NULL;
CREATE TABLE record(
    invocation TEXT NOT NULL REFERENCES invocation(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    source TEXT NOT NULL, series TEXT NOT NULL, host TEXT NOT NULL, status TEXT NOT NULL, snapshot TEXT, time INTEGER,
    bytes INTEGER, stored INTEGER, new INTEGER, rows INTEGER, tables INTEGER, calendar TEXT NOT NULL,
    digest TEXT, sha256 TEXT, suspect TEXT, error TEXT, duration INTEGER, PRIMARY KEY(invocation, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit(
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, kind TEXT NOT NULL, object TEXT NOT NULL,
    detail TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
PRAGMA user_version = 1;
