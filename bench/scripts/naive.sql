-- What a careful service does without the door: lock, look for the key, decide, three writes, each a round trip.
\set fresh random(1, 100) > :duplicates
\set sent :sent + CASE WHEN :fresh THEN 1 ELSE 0 END
\set number :client_id * 1000000000 + :sent
\set player CASE WHEN :is_hot = 1 THEN 1 ELSE 1 + abs(hash(:number, 42)) % :players END
BEGIN;
SELECT balance_real_available AS legacy, balance_real_held AS legacy_held FROM players
WHERE id = ('01900000-0000-7000-8000-' || lpad(to_hex(:player::INTEGER), 12, '0'))::UUID FOR UPDATE \gset
SELECT count(*) AS found FROM ledger_transactions
WHERE tenant_id = :tenant::UUID
    AND player_id = ('01900000-0000-7000-8000-' || lpad(to_hex(:player::INTEGER), 12, '0'))::UUID
    AND type = 'withdraw_requested' AND idempotency_key = :run::TEXT || :number::BIGINT \gset
SELECT balance_real_available AS snapshot_available, balance_real_pending AS snapshot_pending, version FROM wallet_balances
WHERE tenant_id = :tenant::UUID
    AND player_id = ('01900000-0000-7000-8000-' || lpad(to_hex(:player::INTEGER), 12, '0'))::UUID
    AND currency = :currency::TEXT FOR UPDATE \gset
\if :found = 0 and :legacy > 0
INSERT INTO ledger_transactions (
    id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
    legacy_held_after, occurred_at, recorded_at, epoch, currency, type, debit_account, credit_account, arbiter,
    idempotency_key, request_hash
) VALUES (
    uuid_v7(), :tenant::UUID, ('01900000-0000-7000-8000-' || lpad(to_hex(:player::INTEGER), 12, '0'))::UUID,
    :version::BIGINT + 1, 1, :snapshot_available::BIGINT - 1, :snapshot_pending::BIGINT + 1, :legacy::BIGINT - 1,
    :legacy_held::BIGINT + 1, now(), now(), 0, :currency::TEXT, 'withdraw_requested', :debit_account::TEXT,
    :credit_account::TEXT, 'legacy', :run::TEXT || :number::BIGINT, '\x5a'
);
UPDATE wallet_balances SET balance_real_available = :snapshot_available::BIGINT - 1,
    balance_real_pending = :snapshot_pending::BIGINT + 1, version = :version::BIGINT + 1, updated_at = now()
WHERE tenant_id = :tenant::UUID
    AND player_id = ('01900000-0000-7000-8000-' || lpad(to_hex(:player::INTEGER), 12, '0'))::UUID
    AND currency = :currency::TEXT;
UPDATE players SET balance_real_available = :legacy::BIGINT - 1, balance_real_held = :legacy_held::BIGINT + 1
WHERE id = ('01900000-0000-7000-8000-' || lpad(to_hex(:player::INTEGER), 12, '0'))::UUID;
\endif
COMMIT;
