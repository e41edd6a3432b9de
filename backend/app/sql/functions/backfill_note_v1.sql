-- Keeps what a chunk of a backfill saw: evidence of each difference, as the money path keeps it, and the first thousand
-- errors and the first thousand differences of the run for people to read.
CREATE FUNCTION backfill_note_v1(
    p_run BACKFILL_RUNS,
    p_noted BACKFILL_JUDGEMENT_V1[],
    p_forced BACKFILL_JUDGEMENT_V1[],
    -- Of the forced: who now holds less than the open withdrawals ask for.
    p_short UUID[],
    p_detail TEXT
)
RETURNS VOID
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    c_kept_max CONSTANT INTEGER := 1000;
    v_now TIMESTAMPTZ := clock_timestamp();
BEGIN
    INSERT INTO ledger_mismatches AS known (
        tenant_id, player_id, currency, class, legacy_available, legacy_held, ledger_available, ledger_pending, arbiter,
        first_seen_at, last_seen_at
    )
    SELECT
        p_run.tenant_id,
        seen.player_id,
        seen.currency,
        CASE WHEN seen.legacy_available <> seen.ledger_available THEN 'available_diff' ELSE 'pending_diff' END,
        seen.legacy_available,
        seen.legacy_held,
        seen.ledger_available,
        seen.ledger_pending,
        p_run.arbiter,
        v_now,
        v_now
    FROM unnest(p_noted || p_forced) AS seen
    WHERE seen.outcome IN ('differs', 'updated_forced', 'snapshot_not_fold')
    -- One order for all who keep evidence: two of them cannot deadlock.
    ORDER BY seen.player_id
    ON CONFLICT ON CONSTRAINT ledger_mismatches_pkey DO UPDATE
    SET
        legacy_available = excluded.legacy_available,
        legacy_held = excluded.legacy_held,
        ledger_available = excluded.ledger_available,
        ledger_pending = excluded.ledger_pending,
        arbiter = excluded.arbiter,
        occurrences = known.occurrences + 1,
        last_seen_at = excluded.last_seen_at;

    INSERT INTO backfill_errors (
        run_id, player_id, code, currency, legacy_available, legacy_held, ledger_available, ledger_pending, detail
    )
    SELECT
        p_run.id,
        kept.player_id,
        kept.code,
        kept.currency,
        kept.legacy_available,
        kept.legacy_held,
        kept.ledger_available,
        kept.ledger_pending,
        p_detail
    FROM (
        SELECT
            seen.*,
            CASE seen.outcome WHEN 'updated_forced' THEN 'held_below_withdrawals' ELSE seen.outcome END AS code,
            row_number() OVER (PARTITION BY seen.outcome = 'differs' ORDER BY seen.player_id) AS position
        FROM unnest(p_noted || p_forced) AS seen
        WHERE seen.outcome <> 'updated_forced' OR seen.player_id = ANY(p_short)
    ) AS kept
    WHERE kept.position + (
        SELECT count(*)
        FROM backfill_errors AS earlier
        WHERE earlier.run_id = p_run.id AND (earlier.code = 'differs') = (kept.outcome = 'differs')
    ) <= c_kept_max
    ON CONFLICT ON CONSTRAINT backfill_errors_pkey DO NOTHING;
END
$$;

REVOKE ALL ON FUNCTION backfill_note_v1 FROM PUBLIC;
