-- Tells the planner how much there is to compare: a statement that has just been staged is unknown to it, and a plan for a
-- handful of lines takes for ever on a million. Whoever analyses them already does it as well.
CREATE FUNCTION statement_statistics_v1()
RETURNS VOID
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '2s'
AS $$
BEGIN
    ANALYZE psp_statement_lines, psp_statement_items;
EXCEPTION
    WHEN lock_not_available THEN
        RETURN;
END
$$;

REVOKE ALL ON FUNCTION statement_statistics_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION statement_statistics_v1 TO hakem_service;
