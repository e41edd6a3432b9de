-- What was answered to events that were answered before: called by the door, under its locks, for events whose key (or
-- provider event) is known to be stored. Same key and same request: the stored result. Same key, another request:
-- exists_different. A provider event under another key is the same event when it moves the same money of the same player.
-- An event without a key is looked up by its provider event alone.
CREATE FUNCTION ledger_replay_v1(
    p_tenant_ids UUID[],
    p_player_ids UUID[],
    p_types TEXT[],
    p_amounts BIGINT[],
    p_idempotency_keys TEXT[],
    p_request_hashes BYTEA[],
    p_providers TEXT[],
    p_provider_event_ids TEXT[],
    p_wanted BOOLEAN[]
)
RETURNS SETOF LEDGER_RESULT_V1
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT
        event.no::INTEGER,
        stored.code,
        TRUE,
        stored.transaction_id,
        stored.reference,
        stored.recorded_at,
        stored.arbiter,
        stored.epoch,
        stored.legacy_ok,
        stored.ledger_ok,
        stored.wallet_opened,
        stored.wallet_version,
        NULL::BIGINT,
        NULL::BIGINT,
        NULL::BIGINT,
        NULL::BIGINT,
        stored.legacy_available_after,
        stored.legacy_held_after,
        stored.ledger_available_after,
        stored.ledger_pending_after
    FROM
        unnest(
            p_tenant_ids, p_player_ids, p_types, p_amounts, p_idempotency_keys, p_request_hashes, p_providers,
            p_provider_event_ids, p_wanted
        ) WITH ORDINALITY AS event (
            tenant_id, player_id, type, amount, idempotency_key, request_hash, provider, provider_event_id, wanted, no
        )
    CROSS JOIN LATERAL (
        SELECT
            1 AS strength, entry.code, entry.transaction_id, entry.reference, entry.recorded_at, entry.arbiter, entry.epoch,
            NULL::BOOLEAN AS legacy_ok, NULL::BOOLEAN AS ledger_ok, TRUE AS wallet_opened, entry.wallet_version,
            entry.legacy_available_after, entry.legacy_held_after,
            entry.ledger_available_after, entry.ledger_pending_after
        FROM ledger_stored_entry_v1(
            event.tenant_id, event.player_id, event.type, event.idempotency_key, event.request_hash
        ) AS entry
        UNION ALL
        SELECT
            1, CASE WHEN refusal.request_hash = event.request_hash THEN refusal.code ELSE 'exists_different' END,
            NULL, refusal.reference, refusal.recorded_at, refusal.arbiter, refusal.epoch,
            refusal.legacy_ok, refusal.ledger_ok, refusal.wallet_opened, NULL,
            refusal.legacy_available, refusal.legacy_held, refusal.ledger_available, refusal.ledger_pending
        FROM ledger_refusals AS refusal
        WHERE
            refusal.tenant_id = event.tenant_id
            AND refusal.player_id = event.player_id
            AND refusal.type = event.type
            AND refusal.idempotency_key = event.idempotency_key
        UNION ALL
        SELECT
            1, CASE WHEN movement.request_hash = event.request_hash THEN 'exists' ELSE 'exists_different' END,
            movement.id, movement.reference, movement.recorded_at, 'legacy', movement.epoch,
            NULL, NULL, FALSE, NULL,
            movement.legacy_available_after, movement.legacy_held_after, NULL, NULL
        FROM legacy_movements AS movement
        WHERE
            movement.tenant_id = event.tenant_id
            AND movement.player_id = event.player_id
            AND movement.type = event.type
            AND movement.idempotency_key = event.idempotency_key
        UNION ALL
        SELECT
            2,
            CASE
                WHEN
                    entry.tenant_id = event.tenant_id AND entry.player_id = event.player_id
                    AND entry.type = event.type AND entry.amount = event.amount
                    THEN 'exists'
                ELSE 'exists_different'
            END,
            entry.id, entry.reference, entry.recorded_at, entry.arbiter, entry.epoch,
            NULL, NULL, TRUE, entry.wallet_version,
            entry.legacy_available_after, entry.legacy_held_after, entry.available_after, entry.pending_after
        FROM ledger_transactions AS entry
        WHERE
            event.provider_event_id IS NOT NULL
            AND entry.provider = event.provider
            AND entry.provider_event_id = event.provider_event_id
        UNION ALL
        SELECT
            2,
            CASE
                WHEN
                    movement.tenant_id = event.tenant_id AND movement.player_id = event.player_id
                    AND movement.type = event.type AND movement.amount = event.amount
                    THEN 'exists'
                ELSE 'exists_different'
            END,
            movement.id, movement.reference, movement.recorded_at, 'legacy', movement.epoch,
            NULL, NULL, FALSE, NULL,
            movement.legacy_available_after, movement.legacy_held_after, NULL, NULL
        FROM legacy_movements AS movement
        WHERE
            event.provider_event_id IS NOT NULL
            AND movement.provider = event.provider
            AND movement.provider_event_id = event.provider_event_id
        ORDER BY strength
        LIMIT 1
    ) AS stored
    WHERE event.wanted
    ORDER BY event.no;
END
$$;
