-- Tells the planner how much there is to compare: a statement that has just been staged is unknown to it, and a plan for a
-- handful of lines takes for ever on a million. Whoever analyses them already does it as well.
-- p_of_items: of what is kept, after a run that added much; else of what was staged.
CREATE FUNCTION statement_statistics_v1(p_of_items BOOLEAN)
RETURNS VOID
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '2s'
AS $$
BEGIN
    IF p_of_items THEN
        ANALYZE psp_statement_items, reconciliation_unmatched;
    ELSE
        ANALYZE psp_statement_lines;
    END IF;
EXCEPTION
    WHEN lock_not_available THEN
        RETURN;
END
$$;

REVOKE ALL ON FUNCTION statement_statistics_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION statement_statistics_v1 TO hakem_service;
