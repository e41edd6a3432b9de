-- Moves a withdrawal one step along withdrawal_transitions: its row, its attempt and the ledger together, or nothing.
-- Why no hold can be released and paid, nor be paid twice:
--   1. The withdrawal's row is locked first, by every writer; the door then locks the player. Nobody locks the other way.
--   2. The step is looked up for the state that the locked row has; the caller's wish is no more than a wish.
--   3. The ledger's keys name the withdrawal (a hold is released once) or the attempt (paid, failed and returned once).
--   4. A step of an attempt is taken only by the attempt that is in the state for it: see `attempt` below.
--   5. What the door refuses has moved nothing, and the rest is then not written either.
-- Two approvals are checked here and by the row's own constraints; that an admin exists and may approve, here.
-- Codes: moved · unknown_withdrawal · stale_version · invalid_transition · invalid_attempt · unknown_admin ·
-- four_eyes_required · not_held (the arbiter's held balance does not cover the amount) · ledger_refused (`posted` is the door's answer to the event that it refused).
CREATE FUNCTION withdrawal_move_v1(
    p_tenant_id UUID,
    p_player_id UUID,
    p_withdrawal_id UUID,
    p_action TEXT,
    -- The version that was seen; null: whatever it is.
    p_expected_version INTEGER,
    p_admin_id UUID,
    p_reason TEXT,
    p_approvals_needed INTEGER,
    -- Of an observation: which attempt. A payment makes the next one.
    p_attempt_number INTEGER,
    p_provider TEXT,
    p_account_id TEXT,
    p_evidence_ref TEXT,
    p_provider_ref TEXT,
    p_provider_event_id TEXT,
    p_provider_sequence BIGINT,
    p_failure_code TEXT,
    p_occurred_at TIMESTAMPTZ,
    p_check_after INTERVAL
)
RETURNS TABLE (code TEXT, state TEXT, version INTEGER, attempt_number INTEGER, posted LEDGER_RESULT_V1)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now TIMESTAMPTZ;
    v_withdrawal withdrawals;
    v_attempt payout_attempts;
    v_action TEXT := p_action;
    v_step withdrawal_transitions;
    v_needed INTEGER;
    v_number INTEGER;
    v_attempt_state TEXT;
    v_is_manual CONSTANT BOOLEAN := p_action = 'mark_paid_manually';
    v_provider TEXT;
    v_posted LEDGER_RESULT_V1[];
BEGIN
    SELECT withdrawal.* INTO v_withdrawal
    FROM withdrawals AS withdrawal
    WHERE
        withdrawal.tenant_id = p_tenant_id
        AND withdrawal.player_id = p_player_id
        AND withdrawal.id = p_withdrawal_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        code := 'unknown_withdrawal';
        RETURN NEXT;
        RETURN;
    END IF;
    state := v_withdrawal.state;
    version := v_withdrawal.version;

    IF p_expected_version <> v_withdrawal.version THEN
        code := 'stale_version';
        RETURN NEXT;
        RETURN;
    END IF;

    -- How many have to approve is decided when the first one does, and can only rise.
    v_needed := greatest(v_withdrawal.approvals_needed, coalesce(p_approvals_needed, 1));
    IF v_action IN ('approve', 'approve_first') AND v_withdrawal.state = 'requested' THEN
        v_action := CASE WHEN v_needed > 1 THEN 'approve_first' ELSE 'approve' END;
    END IF;
    SELECT step.* INTO v_step
    FROM withdrawal_transitions AS step
    WHERE step.from_state = v_withdrawal.state AND step.action = v_action;
    IF NOT FOUND OR (v_action = 'mark_paid' AND v_withdrawal.method = 'legacy_hold') THEN
        code := 'invalid_transition';
        RETURN NEXT;
        RETURN;
    END IF;

    IF v_step.is_by_admin AND NOT EXISTS (
        SELECT
        FROM admins AS admin
        WHERE
            admin.id = p_admin_id
            AND admin.is_active
            AND admin.role IN ('owner', 'tenant_admin', 'finance', 'approver')
            AND (admin.tenant_id = p_tenant_id OR admin.role = 'owner')
    )
    THEN
        code := 'unknown_admin';
        RETURN NEXT;
        RETURN;
    END IF;
    IF v_action = 'approve' AND v_withdrawal.first_approved_by = p_admin_id THEN
        code := 'four_eyes_required';
        RETURN NEXT;
        RETURN;
    END IF;

    -- The attempt that the step is about, and what becomes of it.
    IF v_action IN ('mark_paid', 'mark_paid_manually') THEN
        SELECT coalesce(max(attempt.number), 0) + 1 INTO v_number
        FROM payout_attempts AS attempt
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_withdrawal_id;
        v_provider := CASE WHEN v_is_manual THEN 'manual' ELSE p_provider END;
        v_attempt_state := CASE WHEN v_is_manual THEN 'paid' ELSE 'created' END;
    ELSIF NOT v_step.is_by_admin THEN
        SELECT attempt.* INTO v_attempt
        FROM payout_attempts AS attempt
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_withdrawal_id
            AND attempt.number = p_attempt_number
        FOR NO KEY UPDATE;
        IF NOT FOUND OR (
            CASE
                WHEN v_withdrawal.state = 'processing' THEN v_attempt.state NOT IN ('created', 'pending', 'unknown')
                ELSE v_attempt.state <> v_withdrawal.state
            END
        )
        THEN
            code := 'invalid_attempt';
            RETURN NEXT;
            RETURN;
        END IF;
        v_number := v_attempt.number;
        v_provider := v_attempt.provider;
        v_attempt_state := substr(v_action, length('payout_') + 1);
    END IF;
    attempt_number := v_number;

    -- Dispatching moves money between two accounts that the door counts together, so it cannot see that nothing is held
    -- any more. The provider must not be asked to pay what the arbiter does not have.
    IF v_action = 'mark_paid' AND v_withdrawal.amount > (
        SELECT
            CASE mode.arbiter
                WHEN 'ledger' THEN coalesce(wallet.balance_real_pending, 0) ELSE player.balance_real_held
            END
        FROM players AS player
        INNER JOIN tenant_modes AS mode ON mode.tenant_id = player.tenant_id
        LEFT JOIN wallet_balances AS wallet
            ON wallet.tenant_id = player.tenant_id
            AND wallet.player_id = player.id
            AND wallet.currency = player.currency
        WHERE player.id = p_player_id AND player.tenant_id = p_tenant_id
    )
    THEN
        code := 'not_held';
        RETURN NEXT;
        RETURN;
    END IF;

    IF cardinality(v_step.ledger_types) > 0 THEN
        v_posted := withdrawal_post_v1(
            v_withdrawal, v_step.ledger_types, v_number, v_provider, coalesce(p_provider_ref, v_attempt.provider_ref),
            p_provider_event_id, p_evidence_ref, p_occurred_at
        );
        posted := v_posted[1];
        FOR v_line IN 1 .. cardinality(v_posted) LOOP
            IF (v_posted[v_line]).code <> 'applied' THEN
                code := 'ledger_refused';
                IF posted.code IN ('applied', 'journal_refused') THEN
                    posted := v_posted[v_line];
                END IF;
            END IF;
        END LOOP;
        IF code IS NOT NULL THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;

    -- From here on the step is taken.
    v_now := clock_timestamp();
    IF v_action IN ('mark_paid', 'mark_paid_manually') THEN
        INSERT INTO payout_attempts (
            tenant_id, player_id, withdrawal_id, number, provider, account_id, amount, currency, state, provider_ref,
            evidence_ref, created_at, state_at, next_check_at
        )
        VALUES (
            p_tenant_id, p_player_id, p_withdrawal_id, v_number, v_provider,
            CASE WHEN NOT v_is_manual THEN p_account_id END, v_withdrawal.amount, v_withdrawal.currency,
            v_attempt_state, CASE WHEN v_is_manual THEN p_evidence_ref END,
            CASE WHEN v_is_manual THEN p_evidence_ref END, v_now, v_now,
            CASE WHEN NOT v_is_manual THEN v_now + p_check_after END
        )
        RETURNING * INTO v_attempt;
    ELSIF v_attempt_state IS NOT NULL THEN
        UPDATE payout_attempts AS attempt
        SET
            state = v_attempt_state,
            state_at = v_now,
            provider_ref = coalesce(p_provider_ref, attempt.provider_ref),
            provider_event_id = coalesce(p_provider_event_id, attempt.provider_event_id),
            provider_sequence = p_provider_sequence,
            failure_code = p_failure_code,
            next_check_at = NULL
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_withdrawal_id
            AND attempt.number = v_number
        RETURNING attempt.* INTO v_attempt;
    END IF;

    UPDATE withdrawals AS withdrawal
    SET
        state = v_step.to_state,
        version = withdrawal.version + 1,
        updated_at = v_now,
        approvals_needed = CASE
            WHEN v_action IN ('approve', 'approve_first') THEN v_needed ELSE withdrawal.approvals_needed
        END,
        first_approved_by = coalesce(
            withdrawal.first_approved_by, CASE WHEN v_action IN ('approve', 'approve_first') THEN p_admin_id END
        ),
        first_approved_at = coalesce(
            withdrawal.first_approved_at, CASE WHEN v_action IN ('approve', 'approve_first') THEN v_now END
        ),
        second_approved_by = CASE
            WHEN withdrawal.state = 'awaiting_second_approval' AND v_action = 'approve' THEN p_admin_id
            ELSE withdrawal.second_approved_by
        END,
        second_approved_at = CASE
            WHEN withdrawal.state = 'awaiting_second_approval' AND v_action = 'approve' THEN v_now
            ELSE withdrawal.second_approved_at
        END,
        reviewed_by = CASE
            WHEN v_action IN ('approve', 'approve_first', 'reject', 'cancel') THEN p_admin_id
            ELSE withdrawal.reviewed_by
        END,
        reviewed_at = CASE
            WHEN v_action IN ('approve', 'approve_first', 'reject', 'cancel') THEN v_now ELSE withdrawal.reviewed_at
        END,
        review_reason = CASE
            WHEN v_action IN ('approve', 'approve_first', 'reject', 'cancel') THEN p_reason
            ELSE withdrawal.review_reason
        END,
        -- Of the attempt in hand; a step without one leaves them.
        provider = CASE WHEN v_attempt_state IS NULL THEN withdrawal.provider ELSE v_attempt.provider END,
        provider_ref = CASE WHEN v_attempt_state IS NULL THEN withdrawal.provider_ref ELSE v_attempt.provider_ref END,
        provider_event_id = CASE
            WHEN v_attempt_state IS NULL THEN withdrawal.provider_event_id ELSE v_attempt.provider_event_id
        END,
        failure_code = CASE WHEN v_attempt_state IS NULL THEN withdrawal.failure_code ELSE v_attempt.failure_code END
    WHERE
        withdrawal.tenant_id = p_tenant_id
        AND withdrawal.player_id = p_player_id
        AND withdrawal.id = p_withdrawal_id
    RETURNING withdrawal.state, withdrawal.version INTO state, version;
    code := 'moved';
    RETURN NEXT;
END
$$;

REVOKE ALL ON FUNCTION withdrawal_move_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION withdrawal_move_v1 TO hakem_service;
