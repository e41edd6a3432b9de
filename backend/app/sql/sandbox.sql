-- name: try_lock
-- Takes the sandbox for the life of this session, unless somebody has it.
SELECT pg_try_advisory_lock(4711006, 2);

-- name: unlock
-- Gives it back.
SELECT pg_advisory_unlock(4711006, 2);

-- name: ensure_sandbox
-- The sandbox and its players, made where they are missing.
SELECT
    sandbox.tenant_id,
    sandbox.player_ids
FROM sandbox_ensure_v1(%(players)s) AS sandbox;

-- name: plant
-- Writes the legacy column of the sandbox's players as another system would.
SELECT sandbox_plant_v1(%(player_ids)s, %(available)s);

-- name: enforce
-- Makes the ledger the sandbox's arbiter, or not any more; who decides then, in which epoch, and whether both are written.
SELECT
    mode.arbiter,
    mode.epoch,
    mode.shadow_write
FROM sandbox_enforce_v1(%(is_enforced)s) AS mode;

-- name: forget_deliveries
-- Removes what was counted of the sandbox's provider.
WITH subjects AS (
    DELETE FROM delivery_subjects WHERE provider = %(provider)s
)

DELETE FROM delivery_buckets WHERE provider = %(provider)s;
