-- Many events per call. A fifth of them repeat one of the client's last call.
-- Everything about a request follows from its number, so that the same number is the same request. `chance` is uniform in
-- [0, 1); the power of it falls on player k with a probability of 1/k.
\set sent :sent + 1
SELECT count(*)
FROM (
    SELECT
        array_agg(:tenant::UUID) AS tenants,
        array_agg(('01900000-0000-7000-8000-' || lpad(to_hex(ask.player_number), 12, '0'))::UUID) AS players,
        array_agg(:currency::TEXT) AS currencies,
        array_agg('withdraw_requested'::TEXT) AS types,
        array_agg(1 + ask.number % :amount_max::INTEGER) AS amounts,
        array_agg(:run::TEXT || '-' || ask.number) AS keys,
        array_agg('\x5a'::BYTEA) AS hashes,
        array_agg(TRUE) AS by_player
    FROM (
        SELECT
            numbered.number,
            CASE :spread::TEXT
                WHEN 'uniform' THEN 1 + floor(numbered.chance * :players::INTEGER)::INTEGER
                WHEN 'zipf' THEN floor(power(:players::INTEGER + 1, numbered.chance))::INTEGER
                ELSE 1
            END AS player_number
        FROM (
            SELECT
                number,
                (hashint8extended(number, 42) & 4294967295)::FLOAT8 / 4294967296 AS chance
            FROM (
                SELECT
                    :client_id::BIGINT * 1000000000
                    + (:sent::BIGINT - (random() * 100 < :duplicates::INTEGER)::INTEGER) * :size::INTEGER
                    + event.no AS number
                FROM generate_series(1, :size::INTEGER) AS event (no)
            ) AS sent
        ) AS numbered
    ) AS ask
) AS asked
CROSS JOIN LATERAL ledger_post_v1(
    asked.tenants, asked.players, asked.currencies, asked.types, asked.amounts, asked.keys, asked.hashes,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, asked.by_player, NULL
)
