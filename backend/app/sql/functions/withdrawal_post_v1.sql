-- Posts the ledger's part of a withdrawal's step as one journal; the door's answers, in order. Called by
-- withdrawal_move_v1 under the withdrawal's lock.
--
-- Keys: wd_<withdrawal> for what ends the hold, wd_<withdrawal>_<attempt> for what an attempt moves. A refusal is stored
-- under its key and replays for ever, which is right for a client's request and wrong for money that a provider has paid:
-- when what was refused is tried again, it is under a key of its own (…~2, …~3). That cannot post twice: under the lock
-- the state still asks for the step, and a key with a stored refusal has moved nothing and never will.
CREATE FUNCTION withdrawal_post_v1(
    p_withdrawal WITHDRAWALS,
    p_types TEXT[],
    p_attempt_number INTEGER,
    p_provider TEXT,
    p_provider_ref TEXT,
    p_provider_event_id TEXT,
    p_evidence_ref TEXT,
    p_occurred_at TIMESTAMPTZ
)
RETURNS LEDGER_RESULT_V1[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    v_count CONSTANT INTEGER := cardinality(p_types);
    v_return_no CONSTANT INTEGER := array_position(p_types, 'withdraw_returned');
    v_base CONSTANT TEXT := 'wd_' || p_withdrawal.id || coalesce('_' || p_attempt_number, '');
    v_variant INTEGER := 1;
    v_keys TEXT[];
    v_hashes BYTEA[];
    v_debits TEXT[] := array_fill(NULL::TEXT, ARRAY[v_count]);
    v_credits TEXT[] := array_fill(NULL::TEXT, ARRAY[v_count]);
    v_event_ids TEXT[] := array_fill(NULL::TEXT, ARRAY[v_count]);
    v_results LEDGER_RESULT_V1[];
BEGIN
    LOOP
        v_keys := array_fill(v_base || CASE WHEN v_variant > 1 THEN '~' || v_variant ELSE '' END, ARRAY[v_count]);
        EXIT WHEN NOT EXISTS (
            SELECT
            FROM ledger_refusals AS refusal
            WHERE
                refusal.tenant_id = p_withdrawal.tenant_id
                AND refusal.player_id = p_withdrawal.player_id
                AND refusal.type = ANY(p_types)
                AND refusal.idempotency_key = v_keys[1]
        );
        v_variant := v_variant + 1;
    END LOOP;

    -- A return is two transactions of one type: told apart by their accounts, and the second one's key is its own.
    IF v_return_no IS NOT NULL THEN
        v_debits[v_return_no] := 'psp:' || p_provider || ':clearing';
        v_credits[v_return_no] := 'house:returns';
        v_debits[v_return_no + 1] := 'house:returns';
        v_credits[v_return_no + 1] := 'player:available';
        v_keys[v_return_no + 1] := v_keys[v_return_no + 1] || '_credit';
    END IF;
    -- One provider event is one transaction's: the one at the provider's clearing account.
    v_event_ids[coalesce(v_return_no, v_count)] := p_provider_event_id;

    SELECT array_agg(
        sha256(convert_to(concat_ws(':', line.type, line.key, p_withdrawal.amount, p_withdrawal.currency), 'UTF8'))
        ORDER BY line.no
    )
    INTO v_hashes
    FROM unnest(p_types, v_keys) WITH ORDINALITY AS line (type, key, no);

    SELECT array_agg(posted ORDER BY posted.event_no) INTO v_results
    FROM ledger_post_v1(
        p_tenant_ids => array_fill(p_withdrawal.tenant_id, ARRAY[v_count]),
        p_player_ids => array_fill(p_withdrawal.player_id, ARRAY[v_count]),
        p_currencies => array_fill(p_withdrawal.currency, ARRAY[v_count]),
        p_types => p_types,
        p_amounts => array_fill(p_withdrawal.amount, ARRAY[v_count]),
        p_idempotency_keys => v_keys,
        p_request_hashes => v_hashes,
        p_references => array_fill(p_withdrawal.id, ARRAY[v_count]),
        p_providers => array_fill(p_provider, ARRAY[v_count]),
        p_provider_refs => array_fill(coalesce(p_evidence_ref, p_provider_ref), ARRAY[v_count]),
        p_provider_event_ids => v_event_ids,
        p_debit_accounts => v_debits,
        p_credit_accounts => v_credits,
        p_journal_ids => CASE WHEN v_count > 1 THEN array_fill(uuid_v7(), ARRAY[v_count]) END,
        p_occurred_ats => array_fill(p_occurred_at, ARRAY[v_count]),
        p_by_player => NULL,
        p_metadata => NULL
    ) AS posted;
    RETURN v_results;
END
$$;

REVOKE ALL ON FUNCTION withdrawal_post_v1 FROM PUBLIC;
