-- name: find_tenant
-- The tenant's small number and its currency.
SELECT
    tenant.number,
    tenant.base_currency
FROM tenants AS tenant
WHERE tenant.id = %(tenant_id)s;

-- name: create_tables
-- What one run keeps on its connection: the rows of a chunk, what became of those that are not new (both emptied at
-- every commit), and the first row of each player in the whole file.
CREATE TEMPORARY TABLE player_import_chunk (
    line_number BIGINT NOT NULL,
    external_id TEXT,
    email TEXT NOT NULL,
    username TEXT NOT NULL,
    currency TEXT NOT NULL,
    kyc_status TEXT NOT NULL,
    available BIGINT NOT NULL,
    held BIGINT NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE player_import_outcomes (
    line_number BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    first_line BIGINT,
    CONSTRAINT player_import_outcomes_pkey PRIMARY KEY (line_number)
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE player_import_firsts (LIKE player_import_chunk);
CREATE UNIQUE INDEX player_import_firsts_email_key ON player_import_firsts (email);
CREATE UNIQUE INDEX player_import_firsts_external_id_key ON player_import_firsts (external_id)
WHERE external_id IS NOT NULL;

-- name: drop_tables
-- Leaves the connection as it was.
DROP TABLE IF EXISTS
pg_temp.player_import_chunk, pg_temp.player_import_outcomes, pg_temp.player_import_firsts;

-- name: forbid_writes
-- From here on this transaction can write to nothing but temporary tables: the server itself keeps a dry run dry.
SET LOCAL transaction_read_only = TRUE;

-- name: copy_chunk
-- Takes the rows of a chunk in.
COPY player_import_chunk (line_number, external_id, email, username, currency, kyc_status, available, held) FROM STDIN;

-- name: claim_firsts
-- Keeps the rows that are the first of the file with their email and external_id; a later one, in this chunk or any
-- other, finds its place taken.
INSERT INTO player_import_firsts (
    line_number, external_id, email, username, currency, kyc_status, available, held
)
SELECT
    chunk.line_number,
    chunk.external_id,
    chunk.email,
    chunk.username,
    chunk.currency,
    chunk.kyc_status,
    chunk.available,
    chunk.held
FROM player_import_chunk AS chunk
ORDER BY chunk.line_number
ON CONFLICT DO NOTHING;

-- name: lock_imports
-- Imports into one tenant take turns, chunk by chunk: in the same file's order or not, they cannot deadlock.
SELECT pg_advisory_xact_lock(%(namespace)s, %(tenant_number)s);

-- name: keep_to_unique_indexes
-- For this transaction, sorting counts as impossible: see judge_existing.
SELECT
    set_config('enable_sort', 'off', TRUE),
    set_config('enable_incremental_sort', 'off', TRUE);

-- name: judge_existing
-- Notes the rows whose email or external_id a player of the tenant has. Each look-up asks for the first player from the
-- wanted key on, which without sorting only the unique index can answer. Asked by equality, the planner may take the
-- tenant's list index instead (for a tenant that the statistics do not know yet both look alike) and read all of its
-- players for every row: measured 15 s and more a chunk.
INSERT INTO player_import_outcomes (line_number, outcome)
SELECT
    chunk.line_number,
    CASE
        WHEN by_email.id = by_external_id.id THEN 'exists'
        WHEN by_email.id <> by_external_id.id THEN 'two_players'
        WHEN by_email.id IS NULL THEN 'external_id_taken'
        WHEN by_email.external_id <> chunk.external_id THEN 'email_taken'
        -- One of the two external ids is not known, which contradicts nothing.
        ELSE 'exists'
    END
FROM player_import_chunk AS chunk
LEFT JOIN LATERAL (
    SELECT
        player.id,
        player.tenant_id,
        player.email,
        player.external_id
    FROM players AS player
    WHERE (player.tenant_id, player.email) >= (%(tenant_id)s, chunk.email)
    ORDER BY player.tenant_id, player.email
    LIMIT 1
) AS by_email ON by_email.tenant_id = %(tenant_id)s AND by_email.email = chunk.email
LEFT JOIN LATERAL (
    SELECT
        player.id,
        player.tenant_id,
        player.external_id
    FROM players AS player
    WHERE
        (player.tenant_id, player.external_id) >= (%(tenant_id)s, chunk.external_id)
        AND player.external_id IS NOT NULL
    ORDER BY player.tenant_id, player.external_id
    LIMIT 1
) AS by_external_id ON by_external_id.tenant_id = %(tenant_id)s AND by_external_id.external_id = chunk.external_id
WHERE by_email.id IS NOT NULL OR by_external_id.id IS NOT NULL;

-- name: judge_repeats
-- Notes the rows that are not the first of the file with their email and external_id. An identical one shares the fate
-- of the first; one that differs is rejected whatever became of the first, so that the result is the same for every
-- chunk size, in a dry run, and when the file is run again.
INSERT INTO player_import_outcomes AS noted (line_number, outcome, first_line)
SELECT
    chunk.line_number,
    CASE
        WHEN
            coalesce(by_email.external_id, '') = coalesce(chunk.external_id, '')
            AND by_email.username = chunk.username
            AND by_email.currency = chunk.currency
            AND by_email.kyc_status = chunk.kyc_status
            AND by_email.available = chunk.available
            AND by_email.held = chunk.held
            THEN 'repeated'
        ELSE 'repeat_differs'
    END,
    least(by_email.line_number, by_external_id.line_number)
FROM player_import_chunk AS chunk
LEFT JOIN LATERAL (
    SELECT
        first_row.line_number,
        first_row.external_id,
        first_row.username,
        first_row.currency,
        first_row.kyc_status,
        first_row.available,
        first_row.held
    FROM player_import_firsts AS first_row
    WHERE first_row.email = chunk.email
    ORDER BY first_row.line_number
    LIMIT 1
) AS by_email ON TRUE
LEFT JOIN LATERAL (
    SELECT first_row.line_number
    FROM player_import_firsts AS first_row
    WHERE first_row.external_id = chunk.external_id
    ORDER BY first_row.line_number
    LIMIT 1
) AS by_external_id ON TRUE
WHERE by_email.line_number IS DISTINCT FROM chunk.line_number
ON CONFLICT ON CONSTRAINT player_import_outcomes_pkey DO UPDATE
SET
    outcome = excluded.outcome,
    first_line = excluded.first_line
WHERE excluded.outcome = 'repeat_differs';

-- name: total_new
-- The rows of the chunk that are new players, and their money by currency. LIMIT: no more currencies than exist.
SELECT
    chunk.currency,
    count(*) AS players,
    sum(chunk.available) AS available,
    sum(chunk.held) AS held
FROM player_import_chunk AS chunk
WHERE NOT EXISTS (
    SELECT FROM player_import_outcomes AS judged
    WHERE judged.line_number = chunk.line_number
)
GROUP BY chunk.currency
ORDER BY chunk.currency
LIMIT 1000;

-- name: insert_players
-- Writes the new players, their balances into the legacy columns and no wallet: that stays to be opened.
INSERT INTO players (
    tenant_id,
    external_id,
    email,
    username,
    currency,
    kyc_status,
    balance_real_available,
    balance_real_held
)
SELECT
    %(tenant_id)s,
    chunk.external_id,
    chunk.email,
    chunk.username,
    chunk.currency,
    chunk.kyc_status,
    chunk.available,
    chunk.held
FROM player_import_chunk AS chunk
WHERE NOT EXISTS (
    SELECT FROM player_import_outcomes AS judged
    WHERE judged.line_number = chunk.line_number
)
ORDER BY chunk.line_number
ON CONFLICT DO NOTHING;

-- name: list_outcomes
-- What became of the rows that are not new players, in the order of the file.
SELECT
    judged.line_number,
    judged.outcome,
    judged.first_line
FROM player_import_outcomes AS judged
ORDER BY judged.line_number
LIMIT %(limit)s;
