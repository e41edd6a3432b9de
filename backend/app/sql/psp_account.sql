-- name: list_named_accounts
-- Those of the accounts that exist: whose they are, and the names of their secrets.
SELECT
    account.provider,
    account.account_id,
    account.tenant_id,
    account.webhook_secret_name
FROM unnest(%(providers)s::TEXT[], %(account_ids)s::TEXT[]) AS wanted (provider, account_id)
INNER JOIN psp_accounts AS account
    ON account.provider = wanted.provider
    AND account.account_id = wanted.account_id
ORDER BY account.provider, account.account_id
LIMIT %(limit)s;

-- name: insert_account
-- An account of a tenant at a provider, with the name of the secret it is signed with.
INSERT INTO psp_accounts (provider, account_id, tenant_id, webhook_secret_name)
VALUES (%(provider)s, %(account_id)s, %(tenant_id)s, %(webhook_secret_name)s);

-- name: lock_account
-- Keeps an account's row for this transaction; its tenant and the name of its secret as they stand.
SELECT
    account.tenant_id,
    account.webhook_secret_name
FROM psp_accounts AS account
WHERE account.provider = %(provider)s AND account.account_id = %(account_id)s
FOR NO KEY UPDATE;

-- name: set_secret_name
-- Names the secret that an account is signed with.
UPDATE psp_accounts
SET webhook_secret_name = %(webhook_secret_name)s
WHERE provider = %(provider)s AND account_id = %(account_id)s;

-- name: list_accounts
-- Accounts of a tenant, or of all of them when tenant_id is NULL, from after a key.
SELECT
    account.provider,
    account.account_id,
    account.tenant_id,
    account.webhook_secret_name
FROM psp_accounts AS account
WHERE
    (%(tenant_id)s::UUID IS NULL OR account.tenant_id = %(tenant_id)s)
    AND (account.provider, account.account_id) > (%(after_provider)s, %(after_account_id)s)
ORDER BY account.provider, account.account_id
LIMIT %(limit)s;

-- name: list_candidates
-- Whether a provider's deliveries must be signed, and the accounts that one may be for: those it names and, if none of
-- them exists, one for each secret that accounts of this provider have. Always at least one row.
WITH named AS MATERIALIZED (
    SELECT
        account.account_id,
        account.tenant_id,
        account.webhook_secret_name
    FROM psp_accounts AS account
    WHERE account.provider = %(provider)s AND account.account_id = ANY(%(account_ids)s::TEXT[])
    ORDER BY account.account_id
    LIMIT %(limit)s
),

other AS MATERIALIZED (
    SELECT DISTINCT ON (account.webhook_secret_name)
        account.account_id,
        account.tenant_id,
        account.webhook_secret_name
    FROM psp_accounts AS account
    WHERE
        account.provider = %(provider)s
        AND account.webhook_secret_name IS NOT NULL
        AND NOT %(is_named_only)s
        AND NOT EXISTS (SELECT FROM named)
    ORDER BY account.webhook_secret_name, account.account_id
    LIMIT %(limit)s
)

SELECT
    mode.is_enforced,
    candidate.account_id,
    candidate.tenant_id,
    candidate.webhook_secret_name,
    candidate.is_named
FROM webhook_mode_v1(%(provider)s) AS mode
LEFT JOIN (
    SELECT
        named.account_id,
        named.tenant_id,
        named.webhook_secret_name,
        TRUE AS is_named
    FROM named
    UNION ALL
    SELECT
        other.account_id,
        other.tenant_id,
        other.webhook_secret_name,
        FALSE AS is_named
    FROM other
) AS candidate ON TRUE
ORDER BY candidate.account_id
LIMIT %(limit)s;

-- name: list_secret_names
-- The secrets that accounts of providers are signed with (NULL: the shared one), where deliveries must be signed.
SELECT
    used.provider,
    used.webhook_secret_name,
    used.account_id
FROM (
    SELECT
        account.provider,
        account.webhook_secret_name,
        min(account.account_id) AS account_id
    FROM psp_accounts AS account
    GROUP BY account.provider, account.webhook_secret_name
) AS used
CROSS JOIN LATERAL webhook_mode_v1(used.provider) AS mode
WHERE mode.is_enforced
ORDER BY used.provider, used.webhook_secret_name
LIMIT %(limit)s;
