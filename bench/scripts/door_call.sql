-- One event per call. A fifth of the calls repeat the client's last one.
-- Everything about a request follows from its number, so that the same number is the same request. `chance` is uniform in
-- [0, 1); the power of it falls on player k with a probability of 1/k.
\set fresh random(1, 100) > :duplicates
\set sent :sent + CASE WHEN :fresh THEN 1 ELSE 0 END
SELECT result.code
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
        FROM (SELECT :client_id::BIGINT * 1000000000 + :sent::BIGINT AS number) AS sent
    ) AS numbered
) AS ask
CROSS JOIN LATERAL ledger_post_v1(
    ARRAY[:tenant::UUID], ARRAY[('01900000-0000-7000-8000-' || lpad(to_hex(ask.player_number), 12, '0'))::UUID],
    ARRAY[:currency::TEXT], ARRAY['withdraw_requested'],
    ARRAY[1 + ask.number % :amount_max::INTEGER], ARRAY[:run::TEXT || '-' || ask.number], ARRAY['\x5a'::BYTEA],
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ARRAY[TRUE], NULL
) AS result
