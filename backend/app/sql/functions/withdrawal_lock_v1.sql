-- Locks a withdrawal for the transaction; whether there is one. All writers of a withdrawal and its attempts come through
-- this row, before the door locks the player. A function because locking a row needs rights that only its writers have.
-- p_tenant_id null: of any tenant. Read what the row says in the next statement, which sees what the wait was for.
CREATE FUNCTION withdrawal_lock_v1(p_tenant_id UUID, p_withdrawal_id UUID)
RETURNS BOOLEAN
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM withdrawal.id
    FROM withdrawals AS withdrawal
    WHERE withdrawal.id = p_withdrawal_id AND (p_tenant_id IS NULL OR withdrawal.tenant_id = p_tenant_id)
    FOR NO KEY UPDATE;
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION withdrawal_lock_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION withdrawal_lock_v1 TO hakem_service;
