-- Tells the planner how many rows there are now, after an import or a backfill added many: until it knows a new tenant,
-- it may plan as if there were no other.
CREATE FUNCTION statistics_refresh_v1()
RETURNS VOID
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
-- Somebody else (autovacuum, an index being built) is at the same table: then they are seeing to it.
SET lock_timeout = '2s'
AS $$
BEGIN
    ANALYZE players, wallet_balances, ledger_transactions, withdrawals;
END
$$;

REVOKE ALL ON FUNCTION statistics_refresh_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION statistics_refresh_v1 TO hakem_service;
