-- The outbox of velro-cache: invalidations that are committed together with what they are about.

-- The last number given out, by name of the cache.
CREATE TABLE IF NOT EXISTS velro_counter (
    name TEXT NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL DEFAULT 0,
    generation TEXT NOT NULL DEFAULT (lower(hex(randomblob(16))))
);

CREATE TABLE IF NOT EXISTS velro_invalidations (
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL,
    -- Seconds since 1970.
    created_at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0),
    PRIMARY KEY (name, seq)
);

-- Which hosts read, and how far they are.
CREATE TABLE IF NOT EXISTS velro_hosts (
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    generation TEXT NOT NULL,
    applied INTEGER NOT NULL,
    max_staleness_ms INTEGER NOT NULL,
    seen_at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0),
    PRIMARY KEY (name, host)
);
