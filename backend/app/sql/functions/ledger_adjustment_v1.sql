-- Adjustments: one person proposes, another one approves, and only then does money move. The trigger makes sure that there is
-- no way around it: a transaction of these types has to be of an adjustment that was approved, whoever calls the door.

CREATE FUNCTION ensure_adjustment_approved()
RETURNS TRIGGER
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM ledger_adjustments AS adjustment
        WHERE
            adjustment.id = NEW.reference
            AND adjustment.tenant_id = NEW.tenant_id
            AND adjustment.player_id = NEW.player_id
            AND adjustment.currency = NEW.currency
            AND adjustment.status = 'approved'
            AND NEW.amount = abs(
                CASE NEW.type
                    WHEN 'manual_adjustment' THEN adjustment.player_amount
                    ELSE adjustment.clearing_amount
                END
            )
            AND (NEW.debit_account = 'house:adjustment') = (
                CASE NEW.type
                    WHEN 'manual_adjustment' THEN adjustment.player_amount > 0
                    ELSE adjustment.clearing_amount < 0
                END
            )
    )
    THEN
        RAISE EXCEPTION 'a transaction of type % needs an approved adjustment', NEW.type
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_transactions_adjustment_approved';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER ledger_transactions_adjustment_approved AFTER INSERT ON ledger_transactions
FOR EACH ROW WHEN (NEW.type IN ('manual_adjustment', 'clearing_adjustment'))
EXECUTE FUNCTION ensure_adjustment_approved();

-- Whether somebody may propose or decide in a tenant.
CREATE FUNCTION adjustment_admin_v1(p_tenant_id UUID, p_admin_id UUID, p_roles TEXT[])
RETURNS BOOLEAN
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT EXISTS (
        SELECT
        FROM admins AS admin
        WHERE
            admin.id = p_admin_id
            AND admin.is_active
            AND admin.role = ANY(p_roles)
            AND (admin.tenant_id = p_tenant_id OR admin.role = 'owner')
    )
$$;

-- Writes a proposal. Amounts are those of ledger_adjustments. What it closes has to be open still, and the player's.
-- Codes: proposed · unknown_admin · unknown_player · unknown_finding · payment_not_open · already_proposed.
CREATE FUNCTION adjustment_propose_v1(
    p_tenant_id UUID,
    p_player_id UUID,
    p_finding_id UUID,
    p_player_amount BIGINT,
    p_clearing_amount BIGINT,
    p_provider TEXT,
    p_closes_kind TEXT,
    p_closes_id UUID,
    p_closes_attempt INTEGER,
    p_reason TEXT,
    p_admin_id UUID
)
RETURNS TABLE (code TEXT, adjustment_id UUID)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_currency TEXT;
BEGIN
    IF NOT adjustment_admin_v1(p_tenant_id, p_admin_id, ARRAY['owner', 'tenant_admin', 'finance', 'recon']) THEN
        code := 'unknown_admin';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT player.currency INTO v_currency
    FROM players AS player
    WHERE player.id = p_player_id AND player.tenant_id = p_tenant_id;
    IF NOT FOUND THEN
        code := 'unknown_player';
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_finding_id IS NOT NULL AND NOT EXISTS (
        SELECT
        FROM reconciliation_findings AS finding
        WHERE finding.id = p_finding_id AND finding.tenant_id = p_tenant_id
    )
    THEN
        code := 'unknown_finding';
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_closes_kind = 'deposit' AND NOT EXISTS (
        SELECT
        FROM deposits AS deposit
        WHERE
            deposit.tenant_id = p_tenant_id
            AND deposit.player_id = p_player_id
            AND deposit.id = p_closes_id
            AND deposit.state = 'pending_provider'
    )
    OR p_closes_kind = 'payout' AND NOT EXISTS (
        SELECT
        FROM payout_attempts AS attempt
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_closes_id
            AND attempt.number = p_closes_attempt
            AND attempt.next_check_at IS NOT NULL
    )
    THEN
        code := 'payment_not_open';
        RETURN NEXT;
        RETURN;
    END IF;

    INSERT INTO ledger_adjustments (
        tenant_id, player_id, finding_id, currency, player_amount, clearing_amount, provider, closes_kind, closes_id,
        closes_attempt, reason, proposed_by, proposed_at
    )
    VALUES (
        p_tenant_id, p_player_id, p_finding_id, v_currency, p_player_amount, p_clearing_amount, p_provider, p_closes_kind,
        p_closes_id, p_closes_attempt, p_reason, p_admin_id, clock_timestamp()
    )
    ON CONFLICT (closes_kind, closes_id) WHERE closes_id IS NOT NULL AND status <> 'rejected' DO NOTHING
    RETURNING id INTO adjustment_id;
    code := CASE WHEN adjustment_id IS NULL THEN 'already_proposed' ELSE 'proposed' END;
    RETURN NEXT;
END
$$;

-- Settles the payment that an adjustment closes, as it was asked for. Raises what its caller undoes.
CREATE FUNCTION adjustment_close_v1(p_adjustment LEDGER_ADJUSTMENTS)
RETURNS VOID
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    v_finding reconciliation_findings;
    v_deposit deposits;
    v_code TEXT;
BEGIN
    SELECT finding.* INTO v_finding
    FROM reconciliation_findings AS finding
    WHERE finding.id = p_adjustment.finding_id;
    IF p_adjustment.closes_kind = 'payout' THEN
        SELECT moved.code INTO v_code
        FROM withdrawal_move_v1(
            p_tenant_id => p_adjustment.tenant_id,
            p_player_id => p_adjustment.player_id,
            p_withdrawal_id => p_adjustment.closes_id,
            p_action => 'payout_paid',
            p_expected_version => NULL,
            p_admin_id => NULL,
            p_reason => NULL,
            p_approvals_needed => NULL,
            p_attempt_number => p_adjustment.closes_attempt,
            p_provider => NULL,
            p_account_id => NULL,
            p_evidence_ref => NULL,
            p_provider_ref => v_finding.provider_ref,
            p_provider_event_id => v_finding.provider_event_id,
            p_provider_sequence => NULL,
            p_failure_code => NULL,
            p_occurred_at => clock_timestamp(),
            p_check_after => NULL
        ) AS moved;
        IF v_code <> 'moved' THEN
            RAISE EXCEPTION USING ERRCODE = 'HK001', MESSAGE = v_code;
        END IF;
        RETURN;
    END IF;

    SELECT deposit.* INTO v_deposit
    FROM deposits AS deposit
    WHERE deposit.id = p_adjustment.closes_id AND deposit.tenant_id = p_adjustment.tenant_id
    FOR NO KEY UPDATE;
    IF v_deposit.state <> 'pending_provider' THEN
        RAISE EXCEPTION USING ERRCODE = 'HK001', MESSAGE = 'payment_not_open';
    END IF;
    SELECT posted.code INTO v_code
    FROM deposit_capture_v1(
        p_deposit_ids => ARRAY[v_deposit.id],
        p_tenant_ids => ARRAY[v_deposit.tenant_id],
        p_player_ids => ARRAY[v_deposit.player_id],
        p_currencies => ARRAY[v_deposit.currency],
        p_amounts => ARRAY[v_deposit.amount],
        p_idempotency_keys => ARRAY[v_deposit.idempotency_key],
        p_request_hashes => ARRAY[v_deposit.request_hash],
        p_providers => ARRAY[v_deposit.provider],
        p_provider_refs => ARRAY[coalesce(v_finding.provider_ref, v_deposit.provider_ref)],
        p_provider_event_ids => ARRAY[v_finding.provider_event_id],
        p_provider_sequences => ARRAY[NULL::BIGINT],
        p_occurred_ats => ARRAY[clock_timestamp()]
    ) AS posted;
    IF v_code <> 'applied' THEN
        RAISE EXCEPTION USING ERRCODE = 'HK001', MESSAGE = v_code;
    END IF;
END
$$;

-- Approves a proposal and carries it out, or turns it down: all of it or nothing. Who proposed may take it back, and never
-- approve it. Codes: applied · rejected · unknown_adjustment · already_decided · unknown_admin · four_eyes_required ·
-- refused (`detail` is why: the door's code, or that the payment is no longer open; nothing has moved).
CREATE FUNCTION adjustment_decide_v1(
    p_tenant_id UUID, p_adjustment_id UUID, p_admin_id UUID, p_is_approved BOOLEAN, p_note TEXT
)
RETURNS TABLE (code TEXT, detail TEXT, posted LEDGER_RESULT_V1[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_adjustment ledger_adjustments;
    v_types TEXT[] := '{}';
    v_amounts BIGINT[] := '{}';
    v_debits TEXT[] := '{}';
    v_credits TEXT[] := '{}';
    v_keys TEXT[] := '{}';
    v_clearing TEXT;
    v_lines INTEGER;
    v_journal_id CONSTANT UUID := uuid_v7();
    v_refusal TEXT;
BEGIN
    SELECT adjustment.* INTO v_adjustment
    FROM ledger_adjustments AS adjustment
    WHERE adjustment.id = p_adjustment_id AND adjustment.tenant_id = p_tenant_id
    FOR UPDATE;
    IF NOT FOUND THEN
        code := 'unknown_adjustment';
    ELSIF v_adjustment.status <> 'proposed' THEN
        code := 'already_decided';
        detail := v_adjustment.status;
    ELSIF p_is_approved AND p_admin_id = v_adjustment.proposed_by THEN
        code := 'four_eyes_required';
    ELSIF NOT adjustment_admin_v1(
        p_tenant_id, p_admin_id,
        CASE
            WHEN NOT p_is_approved AND p_admin_id = v_adjustment.proposed_by
                THEN ARRAY['owner', 'tenant_admin', 'finance', 'approver', 'recon']
            ELSE ARRAY['owner', 'tenant_admin', 'finance', 'approver']
        END
    )
    THEN
        code := 'unknown_admin';
    END IF;
    IF code IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    IF NOT p_is_approved THEN
        UPDATE ledger_adjustments
        SET status = 'rejected', decided_by = p_admin_id, decided_at = clock_timestamp(), decision_note = p_note
        WHERE id = p_adjustment_id;
        code := 'rejected';
        RETURN NEXT;
        RETURN;
    END IF;

    v_clearing := 'psp:' || v_adjustment.provider || ':clearing';
    IF v_adjustment.clearing_amount <> 0 THEN
        v_types := v_types || 'clearing_adjustment'::TEXT;
        v_amounts := v_amounts || abs(v_adjustment.clearing_amount);
        v_keys := v_keys || ('adj_' || p_adjustment_id);
        v_debits := v_debits || CASE WHEN v_adjustment.clearing_amount > 0 THEN v_clearing ELSE 'house:adjustment' END;
        v_credits := v_credits || CASE WHEN v_adjustment.clearing_amount > 0 THEN 'house:adjustment' ELSE v_clearing END;
    END IF;
    IF v_adjustment.player_amount <> 0 THEN
        v_types := v_types || 'manual_adjustment'::TEXT;
        v_amounts := v_amounts || abs(v_adjustment.player_amount);
        v_keys := v_keys || ('adj_' || p_adjustment_id);
        v_debits := v_debits
            || CASE WHEN v_adjustment.player_amount > 0 THEN 'house:adjustment'::TEXT ELSE 'player:available' END;
        v_credits := v_credits
            || CASE WHEN v_adjustment.player_amount > 0 THEN 'player:available'::TEXT ELSE 'house:adjustment' END;
    END IF;
    v_lines := cardinality(v_types);

    -- What the door refuses it keeps under its key for good; a proposal that is approved later has to be judged anew.
    -- So all of this is undone together when one part does not go through.
    BEGIN
        UPDATE ledger_adjustments
        SET status = 'approved', decided_by = p_admin_id, decided_at = clock_timestamp(), decision_note = p_note
        WHERE id = p_adjustment_id;
        IF v_adjustment.closes_id IS NOT NULL THEN
            PERFORM adjustment_close_v1(v_adjustment);
        END IF;
        SELECT array_agg(result ORDER BY result.event_no) INTO posted
        FROM ledger_post_v1(
            p_tenant_ids => array_fill(p_tenant_id, ARRAY[v_lines]),
            p_player_ids => array_fill(v_adjustment.player_id, ARRAY[v_lines]),
            p_currencies => array_fill(v_adjustment.currency, ARRAY[v_lines]),
            p_types => v_types,
            p_amounts => v_amounts,
            p_idempotency_keys => v_keys,
            p_request_hashes => array_fill(sha256(convert_to('adj_' || p_adjustment_id, 'UTF8')), ARRAY[v_lines]),
            p_references => array_fill(p_adjustment_id, ARRAY[v_lines]),
            p_providers => array_fill(v_adjustment.provider, ARRAY[v_lines]),
            p_provider_refs => array_fill(NULL::TEXT, ARRAY[v_lines]),
            p_provider_event_ids => array_fill(NULL::TEXT, ARRAY[v_lines]),
            p_debit_accounts => v_debits,
            p_credit_accounts => v_credits,
            p_journal_ids => CASE WHEN v_lines > 1 THEN array_fill(v_journal_id, ARRAY[v_lines]) END,
            p_occurred_ats => NULL,
            p_by_player => NULL,
            p_metadata => NULL
        ) AS result;
        FOR v_line IN 1 .. v_lines LOOP
            IF (posted[v_line]).code <> 'applied' THEN
                v_refusal := coalesce(v_refusal, nullif((posted[v_line]).code, 'journal_refused'));
            END IF;
        END LOOP;
        IF v_refusal IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'HK001', MESSAGE = v_refusal;
        END IF;
        UPDATE ledger_adjustments
        SET status = 'applied', journal_id = CASE WHEN v_lines > 1 THEN v_journal_id END
        WHERE id = p_adjustment_id;
    EXCEPTION
        WHEN SQLSTATE 'HK001' THEN
            code := 'refused';
            detail := SQLERRM;
            posted := NULL;
            RETURN NEXT;
            RETURN;
    END;
    code := 'applied';
    RETURN NEXT;
END
$$;

REVOKE ALL ON FUNCTION ensure_adjustment_approved, adjustment_admin_v1, adjustment_close_v1 FROM PUBLIC;
REVOKE ALL ON FUNCTION adjustment_propose_v1, adjustment_decide_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION adjustment_propose_v1, adjustment_decide_v1 TO hakem_service;
