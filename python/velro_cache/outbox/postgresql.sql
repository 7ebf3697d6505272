-- The outbox of velro-cache: invalidations that are committed together with what they are about.
-- Whoever writes permissions needs SELECT, INSERT and UPDATE on velro_counter, and SELECT and INSERT
-- on velro_invalidations; the services with caches need SELECT, INSERT, UPDATE and DELETE on all.

-- The last number given out, by name of the cache. Whoever takes one holds the row until the end
-- of the transaction: so numbers follow the order of commits, and a rollback leaves no gap.
CREATE TABLE IF NOT EXISTS velro_counter (
    name text PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0,
    generation text NOT NULL DEFAULT gen_random_uuid()::text
) WITH (fillfactor = 10);

CREATE TABLE IF NOT EXISTS velro_invalidations (
    name text NOT NULL,
    seq bigint NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, seq)
);

-- Which hosts read, and how far they are.
CREATE TABLE IF NOT EXISTS velro_hosts (
    name text NOT NULL,
    host text NOT NULL,
    generation text NOT NULL,
    applied bigint NOT NULL,
    max_staleness_ms bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, host)
) WITH (fillfactor = 50);

-- Empty after a crash and on a standby that takes over, because it is unlogged: tells the readers
-- that the last commits may be missing.
CREATE UNLOGGED TABLE IF NOT EXISTS velro_incarnation (
    name text PRIMARY KEY,
    id text NOT NULL DEFAULT gen_random_uuid()::text
);
