-- Many transfers between pairs of accounts.
SELECT count(*)
FROM (
    SELECT array_agg((source.id, target.id, 1)::TRANSFER_REQUEST) AS requests
    FROM (
        SELECT
            1 + floor(random() * :accounts::INTEGER)::INTEGER AS from_number,
            1 + floor(random() * (:accounts::INTEGER - 1))::INTEGER AS step
        FROM generate_series(1, :size::INTEGER)
    ) AS ask
    INNER JOIN bench_accounts AS source ON source.number = ask.from_number
    INNER JOIN bench_accounts AS target ON target.number = 1 + (ask.from_number - 1 + ask.step) % :accounts::INTEGER
) AS asked
CROSS JOIN LATERAL pgledger_create_transfers(asked.requests, NULL::TIMESTAMPTZ, NULL::JSONB)
