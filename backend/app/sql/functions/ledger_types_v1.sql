-- What the door knows, decides on and answers: rows without a table.

-- One row of the door's answer.
-- Codes: applied · exists (same key, same request: the stored result) · exists_different (same key, another request) ·
-- insufficient_funds · insufficient_held (the arbiter's side would go below zero; stored, and replayed as such) ·
-- player_disabled · kyc_required (only where by_player: the player asks, and money leaves) · unknown_player ·
-- currency_mismatch · invalid_event · balance_out_of_range · mode_refused (these are not stored: the same key may succeed
-- later) · journal_refused (another line of the journal was refused).
CREATE TYPE ledger_result_v1 AS (
    event_no INTEGER,
    code TEXT,
    is_replay BOOLEAN,
    transaction_id UUID,
    reference UUID,
    recorded_at TIMESTAMPTZ,
    arbiter TEXT,
    epoch INTEGER,
    legacy_ok BOOLEAN,
    ledger_ok BOOLEAN,
    wallet_opened BOOLEAN,
    wallet_version BIGINT,
    legacy_available_before BIGINT,
    legacy_held_before BIGINT,
    ledger_available_before BIGINT,
    ledger_pending_before BIGINT,
    legacy_available_after BIGINT,
    legacy_held_after BIGINT,
    ledger_available_after BIGINT,
    ledger_pending_after BIGINT
);

-- What an event means. refusal: why it is refused whatever the balances are; null when only they decide. key_no and
-- provider_event_no: the first event of the same call with the same key, and with the same provider event (null without
-- one). The changes are those of the snapshot's two columns.
CREATE TYPE ledger_event_facts_v1 AS (
    wallet_no INTEGER,
    key_no INTEGER,
    provider_event_no INTEGER,
    is_replay BOOLEAN,
    refusal TEXT,
    debit_account TEXT,
    credit_account TEXT,
    available_change BIGINT,
    pending_change BIGINT
);

-- A player, its tenant's mode and its legacy balances, as they are under the locks.
CREATE TYPE ledger_wallet_facts_v1 AS (
    tenant_id UUID,
    player_id UUID,
    currency TEXT,
    kyc_status TEXT,
    is_active BOOLEAN,
    legacy_available BIGINT,
    legacy_held BIGINT,
    arbiter TEXT,
    epoch INTEGER,
    shadow_write BOOLEAN,
    mode_is_refused BOOLEAN
);

-- A wallet on both sides, running with the decisions of a call. moves: how many of its events were accepted.
CREATE TYPE ledger_balances_v1 AS (
    is_opened BOOLEAN,
    available BIGINT,
    pending BIGINT,
    version BIGINT,
    legacy_available BIGINT,
    legacy_held BIGINT,
    moves INTEGER
);
