-- name: find_mapping
-- How a tenant's files of a provider are to be read.
SELECT
    mapping.provider,
    mapping.mapping,
    mapping.updated_at
FROM settlement_mappings AS mapping
WHERE mapping.tenant_id = %(tenant_id)s AND mapping.provider = %(provider)s;

-- name: lock_mapping
-- The same, kept for this transaction.
SELECT
    mapping.provider,
    mapping.mapping,
    mapping.updated_at
FROM settlement_mappings AS mapping
WHERE mapping.tenant_id = %(tenant_id)s AND mapping.provider = %(provider)s
FOR UPDATE;

-- name: list_mappings
-- What a tenant has declared, from after a provider.
SELECT
    mapping.provider,
    mapping.mapping,
    mapping.updated_at
FROM settlement_mappings AS mapping
WHERE mapping.tenant_id = %(tenant_id)s AND mapping.provider > %(after_provider)s
ORDER BY mapping.provider
LIMIT %(limit)s;

-- name: save_mapping
-- Declares it, or declares it anew.
INSERT INTO settlement_mappings (tenant_id, provider, mapping, updated_at)
VALUES (%(tenant_id)s, %(provider)s, %(mapping)s, %(now)s)
ON CONFLICT ON CONSTRAINT settlement_mappings_pkey DO UPDATE
SET
    mapping = excluded.mapping,
    updated_at = excluded.updated_at;

-- name: find_compared_file
-- The last run that compared the same file completely, read in the same way and over the same window.
SELECT run.id
FROM reconciliation_runs AS run
WHERE
    run.tenant_id = %(tenant_id)s
    AND run.provider = %(provider)s
    AND run.file ->> 'sha256' = %(digest)s
    AND run.file IS NOT NULL
    AND run.file ->> 'mapping_sha256' = %(mapping_digest)s
    AND run.window_start = %(window_start)s
    AND run.window_end = %(window_end)s
    AND run.status = 'completed'
    AND NOT run.is_dry_run
ORDER BY run.id DESC
LIMIT 1;
