-- One transfer between two accounts.
\set from_number random(1, :accounts)
\set to_number 1 + (:from_number + random(0, :accounts - 2)) % :accounts
SELECT transfer.id
FROM bench_accounts AS source
CROSS JOIN bench_accounts AS target
CROSS JOIN LATERAL pgledger_create_transfer(source.id, target.id, 1) AS transfer
WHERE source.number = :from_number::INTEGER AND target.number = :to_number::INTEGER
