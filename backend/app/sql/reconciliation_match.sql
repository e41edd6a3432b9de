-- name: make_tables
-- The run's own tables, gone with its transaction: what the provider lists, what we booked, which is which, what differs.
CREATE TEMPORARY TABLE their_items (
    account_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    provider_ref TEXT NOT NULL,
    reference TEXT,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    status_class TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    copies INTEGER NOT NULL,
    -- Not stored yet; and: matched before, and looked at again.
    is_new BOOLEAN NOT NULL,
    is_again BOOLEAN NOT NULL
) ON COMMIT DROP;
CREATE TEMPORARY TABLE our_items (
    transaction_id UUID NOT NULL,
    player_id UUID NOT NULL,
    kind TEXT NOT NULL,
    tx_id UUID,
    reference TEXT,
    provider_ref TEXT,
    provider_event_id TEXT,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    is_new BOOLEAN NOT NULL,
    is_again BOOLEAN NOT NULL
) ON COMMIT DROP;
-- What was matched with items that are not listed any more.
CREATE TEMPORARY TABLE released_transactions (transaction_id UUID NOT NULL) ON COMMIT DROP;
CREATE TEMPORARY TABLE item_pairs (
    account_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    transaction_id UUID NOT NULL,
    rule TEXT NOT NULL
) ON COMMIT DROP;
CREATE TEMPORARY TABLE found_findings (
    finding_type TEXT NOT NULL,
    subject TEXT NOT NULL,
    facts TEXT NOT NULL,
    evidence JSONB NOT NULL,
    player_id UUID,
    tx_id UUID,
    provider_event_id TEXT,
    provider_ref TEXT,
    account_id TEXT,
    item_id TEXT,
    transaction_id UUID
) ON COMMIT DROP;

-- name: be_patient
-- A first run compares years: it may take its time, and memory for its joins; one that waits for a lock gives up sooner.
SELECT
    set_config('statement_timeout', '1800000', TRUE),
    set_config('lock_timeout', '30000', TRUE),
    set_config('work_mem', '96MB', TRUE),
    set_config('enable_nestloop', 'on', TRUE);

-- name: count_lines
-- How many lines of a run are there.
SELECT count(*) FROM psp_statement_lines WHERE run_id = %(run_id)s;

-- name: change_items
-- Brings items up to date that are listed otherwise than before. What they are matched with stays.
WITH line AS (
    SELECT DISTINCT ON (arrived.account_id, arrived.item_id)
        arrived.account_id,
        arrived.item_id,
        arrived.provider_ref,
        arrived.reference,
        arrived.kind,
        arrived.status,
        arrived.status_class,
        arrived.amount,
        arrived.currency,
        arrived.occurred_at,
        count(*) OVER (PARTITION BY arrived.account_id, arrived.item_id)::INTEGER AS copies
    FROM psp_statement_lines AS arrived
    INNER JOIN psp_statement_items AS known
        ON known.provider = %(provider)s
        AND known.account_id = arrived.account_id
        AND known.item_id = arrived.item_id
    WHERE arrived.run_id = %(run_id)s
    ORDER BY arrived.account_id, arrived.item_id, arrived.occurred_at DESC
)

UPDATE psp_statement_items AS item
SET
    provider_ref = line.provider_ref,
    reference = line.reference,
    kind = line.kind,
    status = line.status,
    status_class = line.status_class,
    amount = line.amount,
    currency = line.currency,
    occurred_at = line.occurred_at,
    copies = line.copies,
    gone_at = NULL,
    changed_at = %(now)s
FROM line
WHERE
    item.provider = %(provider)s
    AND item.tenant_id = %(tenant_id)s
    AND item.account_id = line.account_id
    AND item.item_id = line.item_id
    AND (
        item.provider_ref, item.reference, item.kind, item.status, item.status_class, item.amount, item.currency,
        item.occurred_at, item.copies, item.gone_at
    ) IS DISTINCT FROM (
        line.provider_ref, line.reference, line.kind, line.status, line.status_class, line.amount, line.currency,
        line.occurred_at, line.copies, NULL
    );

-- name: let_items_go
-- Items of a window that a complete feed does not list any more. What they were matched with is unmatched again.
WITH missed AS MATERIALIZED (
    SELECT
        item.account_id,
        item.item_id,
        item.transaction_id
    FROM psp_statement_items AS item
    WHERE
        item.tenant_id = %(tenant_id)s
        AND item.provider = %(provider)s
        AND item.account_id = ANY(%(account_ids)s)
        AND item.occurred_at >= %(window_start)s
        AND item.occurred_at < %(complete_until)s
        AND item.gone_at IS NULL
        AND NOT EXISTS (
            SELECT
            FROM psp_statement_lines AS line
            WHERE line.run_id = %(run_id)s AND line.account_id = item.account_id AND line.item_id = item.item_id
        )
),

let_go AS (
    UPDATE psp_statement_items AS item
    SET
        gone_at = %(now)s,
        changed_at = %(now)s,
        transaction_id = NULL,
        rule = NULL
    FROM missed
    WHERE
        item.tenant_id = %(tenant_id)s
        AND item.provider = %(provider)s
        AND item.account_id = missed.account_id
        AND item.item_id = missed.item_id
)

INSERT INTO released_transactions
SELECT missed.transaction_id
FROM missed
WHERE missed.transaction_id IS NOT NULL;

-- name: unmatch_untrue
-- Of a full run: items that are matched with what is not in our books give it up.
UPDATE psp_statement_items AS item
SET
    transaction_id = NULL,
    rule = NULL,
    changed_at = %(now)s
WHERE
    item.tenant_id = %(tenant_id)s
    AND item.provider = %(provider)s
    AND item.transaction_id IS NOT NULL
    AND NOT EXISTS (
        SELECT
        FROM provider_movements AS movement
        WHERE
            movement.tenant_id = %(tenant_id)s
            AND movement.provider = %(provider)s
            AND movement.transaction_id = item.transaction_id
    );

-- name: take_new_items
-- What the provider lists for the first time. A line that comes twice is one item that moved twice.
WITH repeated AS (
    SELECT
        line.account_id,
        line.item_id,
        count(*)::INTEGER AS copies,
        max(line.ctid) AS kept
    FROM psp_statement_lines AS line
    WHERE line.run_id = %(run_id)s
    GROUP BY line.account_id, line.item_id
    HAVING count(*) > 1
)

INSERT INTO their_items
SELECT
    line.account_id,
    line.item_id,
    line.provider_ref,
    line.reference,
    line.kind,
    line.status,
    line.status_class,
    line.amount,
    line.currency,
    line.occurred_at,
    coalesce(repeated.copies, 1),
    TRUE,
    FALSE
FROM psp_statement_lines AS line
LEFT JOIN repeated ON line.account_id = repeated.account_id AND line.item_id = repeated.item_id
LEFT JOIN psp_statement_items AS known
    ON known.provider = %(provider)s
    AND line.account_id = known.account_id
    AND line.item_id = known.item_id
WHERE
    line.run_id = %(run_id)s
    AND known.item_id IS NULL
    AND (repeated.kept IS NULL OR line.ctid = repeated.kept);

-- name: take_old_items
-- What was listed before: all that is unmatched; and of what is matched what changed, or has an open finding.
INSERT INTO their_items
SELECT
    item.account_id,
    item.item_id,
    item.provider_ref,
    item.reference,
    item.kind,
    item.status,
    item.status_class,
    item.amount,
    item.currency,
    item.occurred_at,
    item.copies,
    FALSE,
    item.transaction_id IS NOT NULL
FROM (
    SELECT unmatched.*
    FROM psp_statement_items AS unmatched
    WHERE
        unmatched.tenant_id = %(tenant_id)s
        AND unmatched.provider = %(provider)s
        AND unmatched.transaction_id IS NULL
        AND unmatched.gone_at IS NULL
    UNION
    SELECT reopened.*
    FROM reconciliation_findings AS finding
    INNER JOIN psp_statement_items AS reopened
        ON finding.provider = reopened.provider
        AND finding.account_id = reopened.account_id
        AND finding.item_id = reopened.item_id
    WHERE
        finding.tenant_id = %(tenant_id)s
        AND finding.provider = %(provider)s
        AND finding.status = 'OPEN'
        AND reopened.gone_at IS NULL
    UNION
    SELECT changed.*
    FROM psp_statement_lines AS line
    INNER JOIN psp_statement_items AS changed
        ON changed.provider = %(provider)s
        AND line.account_id = changed.account_id
        AND line.item_id = changed.item_id
    WHERE line.run_id = %(run_id)s AND changed.changed_at = %(now)s AND changed.tenant_id = %(tenant_id)s
    UNION
    SELECT differing.*
    FROM psp_statement_items AS differing
    INNER JOIN provider_movements AS movement
        ON movement.tenant_id = %(tenant_id)s
        AND movement.provider = %(provider)s
        AND differing.transaction_id = movement.transaction_id
    WHERE
        %(is_full)s
        AND differing.tenant_id = %(tenant_id)s
        AND differing.provider = %(provider)s
        AND (
            differing.copies > 1
            OR movement.kind = 'refund'
            OR (differing.kind, differing.amount, differing.currency)
            IS DISTINCT FROM (movement.kind, movement.amount, movement.currency)
            OR differing.status_class <> CASE WHEN movement.kind IN ('deposit', 'payout') THEN 'success' ELSE 'reversed' END
        )
) AS item;

-- name: take_new_transactions
-- What we booked since the last run, as far as nothing is matched with it. The first leg stands for a refund.
INSERT INTO our_items
SELECT
    movement.transaction_id,
    movement.player_id,
    movement.kind,
    movement.tx_id,
    movement.name,
    movement.provider_ref,
    coalesce(refund.provider_event_id, movement.provider_event_id),
    coalesce(refund.amount, movement.amount),
    movement.currency,
    movement.occurred_at,
    movement.recorded_at,
    TRUE,
    FALSE
FROM provider_movements AS movement
LEFT JOIN LATERAL (
    SELECT
        sum(leg.amount)::BIGINT AS amount,
        max(leg.provider_event_id) AS provider_event_id,
        bool_or(leg.id < movement.transaction_id) AS is_later
    FROM ledger_transactions AS leg
    WHERE
        movement.kind = 'refund'
        AND leg.reference = movement.tx_id
        AND leg.type = 'deposit_refunded'
        AND leg.journal_id IS NOT DISTINCT FROM movement.journal_id
) AS refund ON movement.kind = 'refund'
LEFT JOIN psp_statement_items AS item ON movement.transaction_id = item.transaction_id
LEFT JOIN reconciliation_unmatched AS unmatched
    ON unmatched.tenant_id = %(tenant_id)s
    AND unmatched.provider = %(provider)s
    AND movement.transaction_id = unmatched.transaction_id
WHERE
    movement.tenant_id = %(tenant_id)s
    AND movement.provider = %(provider)s
    AND movement.transaction_id > %(ledger_from)s
    AND item.transaction_id IS NULL
    AND unmatched.transaction_id IS NULL
    AND refund.is_later IS NOT TRUE;

-- name: take_released_transactions
-- What we booked before the last run, and had been matched with what is not listed any more. It is as unmatched as if it
-- were new. There are few, and each is looked up by itself.
INSERT INTO our_items
SELECT
    movement.transaction_id,
    movement.player_id,
    movement.kind,
    movement.tx_id,
    movement.name,
    movement.provider_ref,
    coalesce(refund.provider_event_id, movement.provider_event_id),
    coalesce(refund.amount, movement.amount),
    movement.currency,
    movement.occurred_at,
    movement.recorded_at,
    TRUE,
    FALSE
FROM released_transactions AS released
INNER JOIN LATERAL (
    SELECT known.*
    FROM provider_movements AS known
    WHERE
        known.tenant_id = %(tenant_id)s
        AND known.provider = %(provider)s
        AND known.transaction_id = released.transaction_id
    LIMIT 1
) AS movement ON TRUE
LEFT JOIN LATERAL (
    SELECT
        sum(leg.amount)::BIGINT AS amount,
        max(leg.provider_event_id) AS provider_event_id
    FROM ledger_transactions AS leg
    WHERE
        movement.kind = 'refund'
        AND leg.reference = movement.tx_id
        AND leg.type = 'deposit_refunded'
        AND leg.journal_id IS NOT DISTINCT FROM movement.journal_id
) AS refund ON movement.kind = 'refund'
-- Later ones were just taken.
WHERE movement.transaction_id <= %(ledger_from)s;

-- name: take_old_transactions
-- What we booked and nothing was found for; and, of what is matched, the other side of items that are looked at again.
INSERT INTO our_items
SELECT
    unmatched.transaction_id,
    unmatched.player_id,
    unmatched.kind,
    unmatched.tx_id,
    unmatched.reference,
    unmatched.provider_ref,
    unmatched.provider_event_id,
    unmatched.amount,
    unmatched.currency,
    unmatched.occurred_at,
    unmatched.recorded_at,
    FALSE,
    FALSE
FROM reconciliation_unmatched AS unmatched
WHERE unmatched.tenant_id = %(tenant_id)s AND unmatched.provider = %(provider)s
UNION ALL
SELECT
    movement.transaction_id,
    movement.player_id,
    movement.kind,
    movement.tx_id,
    movement.name,
    movement.provider_ref,
    movement.provider_event_id,
    coalesce(
        (
            SELECT sum(leg.amount)::BIGINT
            FROM ledger_transactions AS leg
            WHERE
                movement.kind = 'refund'
                AND leg.reference = movement.tx_id
                AND leg.type = 'deposit_refunded'
                AND leg.journal_id IS NOT DISTINCT FROM movement.journal_id
        ),
        movement.amount
    ),
    movement.currency,
    movement.occurred_at,
    movement.recorded_at,
    FALSE,
    TRUE
FROM their_items AS their
INNER JOIN psp_statement_items AS item
    ON item.provider = %(provider)s
    AND their.account_id = item.account_id
    AND their.item_id = item.item_id
INNER JOIN LATERAL (
    SELECT known.*
    FROM provider_movements AS known
    WHERE
        known.tenant_id = %(tenant_id)s
        AND known.provider = %(provider)s
        AND known.transaction_id = item.transaction_id
    -- Looked up one by one: there are few, and the planner might read all of the tenant's instead.
    LIMIT 1
) AS movement ON TRUE
WHERE their.is_again;

-- name: pair_again
-- Pairs that were made before and are looked at again.
INSERT INTO item_pairs
SELECT
    their.account_id,
    their.item_id,
    item.transaction_id,
    item.rule
FROM their_items AS their
INNER JOIN psp_statement_items AS item
    ON item.provider = %(provider)s
    AND their.account_id = item.account_id
    AND their.item_id = item.item_id
WHERE their.is_again AND item.transaction_id IS NOT NULL;

-- name: pair_by_event
-- First the provider's own name of the movement.
INSERT INTO item_pairs
SELECT DISTINCT ON (our.transaction_id)
    their.account_id,
    their.item_id,
    our.transaction_id,
    'event'
FROM their_items AS their
INNER JOIN our_items AS our ON their.item_id = our.provider_event_id
WHERE NOT their.is_again AND NOT our.is_again
ORDER BY our.transaction_id, their.occurred_at, their.account_id;

-- name: pair_by_provider_ref
-- Then its name of the payment; where there are several on either side, the first with the first.
WITH their AS (
    SELECT
        candidate.account_id,
        candidate.item_id,
        candidate.provider_ref,
        candidate.kind,
        row_number() OVER (
            PARTITION BY candidate.provider_ref, candidate.kind
            ORDER BY candidate.occurred_at, candidate.account_id, candidate.item_id
        ) AS place
    FROM their_items AS candidate
    WHERE
        NOT candidate.is_again
        AND candidate.status_class IN ('success', 'reversed')
        AND NOT EXISTS (
            SELECT
            FROM item_pairs AS pair
            WHERE pair.account_id = candidate.account_id AND pair.item_id = candidate.item_id
        )
),

our AS (
    SELECT
        candidate.transaction_id,
        candidate.provider_ref,
        candidate.kind,
        row_number() OVER (
            PARTITION BY candidate.provider_ref, candidate.kind
            ORDER BY candidate.recorded_at, candidate.transaction_id
        ) AS place
    FROM our_items AS candidate
    WHERE
        NOT candidate.is_again
        AND candidate.provider_ref IS NOT NULL
        AND NOT EXISTS (SELECT FROM item_pairs AS pair WHERE pair.transaction_id = candidate.transaction_id)
)

INSERT INTO item_pairs
SELECT
    their.account_id,
    their.item_id,
    our.transaction_id,
    'provider_ref'
FROM their
INNER JOIN our ON their.provider_ref = our.provider_ref AND their.kind = our.kind AND their.place = our.place;

-- name: pair_by_reference
-- Then our name of the payment, where we never learnt the provider's.
WITH their AS (
    SELECT
        candidate.account_id,
        candidate.item_id,
        candidate.reference,
        candidate.provider_ref,
        candidate.kind,
        row_number() OVER (
            PARTITION BY candidate.reference, candidate.kind
            ORDER BY candidate.occurred_at, candidate.account_id, candidate.item_id
        ) AS place
    FROM their_items AS candidate
    WHERE
        NOT candidate.is_again
        AND candidate.reference IS NOT NULL
        AND candidate.status_class IN ('success', 'reversed')
        AND NOT EXISTS (
            SELECT
            FROM item_pairs AS pair
            WHERE pair.account_id = candidate.account_id AND pair.item_id = candidate.item_id
        )
),

our AS (
    SELECT
        candidate.transaction_id,
        candidate.reference,
        candidate.provider_ref,
        candidate.kind,
        row_number() OVER (
            PARTITION BY candidate.reference, candidate.kind
            ORDER BY candidate.recorded_at, candidate.transaction_id
        ) AS place
    FROM our_items AS candidate
    WHERE
        NOT candidate.is_again
        AND candidate.reference IS NOT NULL
        AND NOT EXISTS (SELECT FROM item_pairs AS pair WHERE pair.transaction_id = candidate.transaction_id)
)

INSERT INTO item_pairs
SELECT
    their.account_id,
    their.item_id,
    our.transaction_id,
    'reference'
FROM their
INNER JOIN our ON their.reference = our.reference AND their.kind = our.kind AND their.place = our.place
WHERE our.provider_ref IS NULL OR our.provider_ref = their.provider_ref;

-- name: store_new_items
-- Keeps what was listed for the first time, with what it is matched with.
INSERT INTO psp_statement_items (
    provider, account_id, item_id, tenant_id, provider_ref, reference, kind, status, status_class, amount, currency,
    occurred_at, copies, transaction_id, rule, changed_at
)
SELECT
    %(provider)s,
    their.account_id,
    their.item_id,
    %(tenant_id)s,
    their.provider_ref,
    their.reference,
    their.kind,
    their.status,
    their.status_class,
    their.amount,
    their.currency,
    their.occurred_at,
    their.copies,
    pair.transaction_id,
    pair.rule,
    %(now)s
FROM their_items AS their
LEFT JOIN item_pairs AS pair ON their.account_id = pair.account_id AND their.item_id = pair.item_id
WHERE their.is_new;

-- name: count_waiting
-- How many pairs are of items that had been waiting, and of transactions that had.
SELECT
    count(*) FILTER (WHERE NOT their.is_new AND NOT their.is_again) AS items,
    count(*) FILTER (WHERE NOT our.is_new AND NOT our.is_again) AS transactions
FROM item_pairs AS pair
INNER JOIN their_items AS their ON pair.account_id = their.account_id AND pair.item_id = their.item_id
INNER JOIN our_items AS our ON pair.transaction_id = our.transaction_id;

-- name: refresh_statistics
-- Lets the planner know how much there is to compare.
SELECT statement_statistics_v1(%(of_items)s);

-- name: store_new_pairs
-- Matches items that had been waiting.
UPDATE psp_statement_items AS item
SET
    transaction_id = pair.transaction_id,
    rule = pair.rule
FROM item_pairs AS pair
INNER JOIN their_items AS their ON pair.account_id = their.account_id AND pair.item_id = their.item_id
WHERE
    item.tenant_id = %(tenant_id)s
    AND item.provider = %(provider)s
    AND item.account_id = pair.account_id
    AND item.item_id = pair.item_id
    AND NOT their.is_new
    AND NOT their.is_again;

-- name: drop_matched
-- What is matched now is no longer unmatched.
DELETE FROM reconciliation_unmatched AS unmatched
USING item_pairs AS pair
WHERE
    unmatched.tenant_id = %(tenant_id)s
    AND unmatched.provider = %(provider)s
    AND unmatched.transaction_id = pair.transaction_id;

-- name: keep_unmatched
-- What we booked lately and nothing was found for.
INSERT INTO reconciliation_unmatched (
    tenant_id, provider, transaction_id, player_id, kind, tx_id, reference, provider_ref, provider_event_id, amount,
    currency, occurred_at, recorded_at
)
SELECT
    %(tenant_id)s,
    %(provider)s,
    our.transaction_id,
    our.player_id,
    our.kind,
    our.tx_id,
    our.reference,
    our.provider_ref,
    our.provider_event_id,
    our.amount,
    our.currency,
    our.occurred_at,
    our.recorded_at
FROM our_items AS our
WHERE
    our.is_new
    AND NOT EXISTS (SELECT FROM item_pairs AS pair WHERE pair.transaction_id = our.transaction_id);

-- name: count_compared
-- How much of either side the run looked at, and by which rule pairs were made.
SELECT
    (SELECT count(*) FROM their_items AS their WHERE NOT their.is_again) AS their_items,
    (SELECT count(*) FROM our_items AS our WHERE NOT our.is_again) AS our_items,
    (
        SELECT coalesce(jsonb_object_agg(made.rule, made.pairs), '{}')
        FROM (
            SELECT
                pair.rule,
                count(*) AS pairs
            FROM item_pairs AS pair
            INNER JOIN our_items AS our ON pair.transaction_id = our.transaction_id
            WHERE NOT our.is_again
            GROUP BY pair.rule
        ) AS made
    ) AS rules,
    -- On the clock that ids are made by.
    transaction_timestamp() AS as_of;
