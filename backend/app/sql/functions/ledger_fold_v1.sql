-- What a wallet's transactions add up to, and how many there are: the fold that its snapshot must equal.
-- STABLE and without settings of its own, so that the planner puts its text in the place of the call.
CREATE FUNCTION ledger_fold_v1(p_tenant_id UUID, p_player_id UUID, p_currency TEXT)
RETURNS TABLE (available BIGINT, pending BIGINT, version BIGINT)
LANGUAGE sql STABLE
AS $$
    SELECT
        coalesce(sum(entry.amount * type.available_sign), 0)::BIGINT,
        coalesce(sum(entry.amount * type.pending_sign), 0)::BIGINT,
        coalesce(max(entry.wallet_version), 0)
    FROM ledger_transactions AS entry
    INNER JOIN ledger_transaction_types AS type
        ON type.type = entry.type
        AND replace(type.debit_account, '{provider}', coalesce(entry.provider, '')) = entry.debit_account
        AND replace(type.credit_account, '{provider}', coalesce(entry.provider, '')) = entry.credit_account
    WHERE
        entry.tenant_id = p_tenant_id
        AND entry.player_id = p_player_id
        AND entry.currency = p_currency
$$;

GRANT EXECUTE ON FUNCTION ledger_fold_v1 TO hakem_service;
