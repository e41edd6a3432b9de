"""The invariants of the ledger, judged by SQL that knows account names and nothing of the writer's tables of types."""

from typing import Final
from uuid import UUID

from backend.tests.factories import Owner

# One row for each thing that is wrong. Numbers are those of the design's list of invariants.
BROKEN: Final = """
WITH entry AS (
    SELECT * FROM ledger_transactions WHERE tenant_id = %(tenant_id)s
),
leg AS (
    SELECT player_id, currency, wallet_version, credit_account AS account, amount FROM entry
    UNION ALL
    SELECT player_id, currency, wallet_version, debit_account, -amount FROM entry
),
movement AS (
    SELECT
        player_id, currency, wallet_version,
        coalesce(sum(amount) FILTER (WHERE account = 'player:available'), 0) AS available,
        coalesce(sum(amount) FILTER (WHERE account IN ('player:held', 'player:in_transit')), 0) AS pending
    FROM leg
    GROUP BY player_id, currency, wallet_version
),
fold AS (
    SELECT
        entry.*,
        sum(movement.available) OVER wallet AS available_folded,
        sum(movement.pending) OVER wallet AS pending_folded,
        movement.available AS available_moved,
        movement.pending AS pending_moved,
        row_number() OVER wallet AS position
    FROM entry
    JOIN movement USING (player_id, currency, wallet_version)
    WINDOW wallet AS (PARTITION BY player_id, currency ORDER BY wallet_version)
),
last AS (
    SELECT DISTINCT ON (player_id, currency) * FROM fold ORDER BY player_id, currency, wallet_version DESC
),
wallet AS (
    SELECT * FROM wallet_balances WHERE tenant_id = %(tenant_id)s
)
SELECT '1 versions have a gap' AS broken, player_id::TEXT AS subject, format('%%s at %%s', wallet_version, position)
FROM fold WHERE wallet_version <> position
UNION ALL
SELECT '1 a row is not the running fold', player_id::TEXT,
    format('version %%s: %%s/%%s, folded %%s/%%s', wallet_version, available_after, pending_after,
        available_folded, pending_folded)
FROM fold WHERE (available_after, pending_after) IS DISTINCT FROM (available_folded, pending_folded)
UNION ALL
SELECT '1 the snapshot is not the fold', coalesce(wallet.player_id, last.player_id)::TEXT,
    format('%%s/%%s v%%s, folded %%s/%%s v%%s', wallet.balance_real_available, wallet.balance_real_pending,
        wallet.version, last.available_folded, last.pending_folded, last.wallet_version)
FROM wallet
FULL JOIN last USING (player_id, currency)
WHERE (wallet.balance_real_available, wallet.balance_real_pending, wallet.version) IS DISTINCT FROM
    (coalesce(last.available_folded, 0), coalesce(last.pending_folded, 0), coalesce(last.wallet_version, 0))
UNION ALL
-- Snapshots and house accounts come from different tables, so this is no tautology of debit and credit.
SELECT '2 the accounts do not sum to zero', currency, sum(amount)::TEXT
FROM (
    SELECT currency, balance_real_available + balance_real_pending AS amount FROM wallet
    UNION ALL
    SELECT currency, amount FROM leg WHERE account NOT LIKE 'player:%%'
) AS account
GROUP BY currency HAVING sum(amount) <> 0
UNION ALL
SELECT '3 pending is not the open withdrawals', wallet.player_id::TEXT,
    format('%%s, withdrawals %%s', wallet.balance_real_pending, open.amount)
FROM wallet
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS amount
    FROM withdrawals
    WHERE player_id = wallet.player_id AND currency = wallet.currency
        AND state IN ('requested', 'awaiting_second_approval', 'approved', 'processing', 'failed')
) AS open
WHERE %(with_withdrawals)s AND wallet.balance_real_pending <> open.amount
UNION ALL
SELECT '3 in transit is not the open attempts', player_id::TEXT, format('%%s, attempts %%s', moved.amount, open.amount)
FROM (
    SELECT player_id, currency, coalesce(sum(amount) FILTER (WHERE account = 'player:in_transit'), 0) AS amount
    FROM leg GROUP BY player_id, currency
) AS moved
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS amount
    FROM payout_attempts
    WHERE tenant_id = %(tenant_id)s AND player_id = moved.player_id AND currency = moved.currency
        AND state IN ('created', 'pending', 'unknown')
) AS open
WHERE %(with_withdrawals)s AND moved.amount <> open.amount
UNION ALL
SELECT '3 a withdrawal and its last attempt disagree', withdrawal.id::TEXT,
    format('%%s, %%s', withdrawal.state, last.state)
FROM withdrawals AS withdrawal
LEFT JOIN LATERAL (
    SELECT state FROM payout_attempts
    WHERE withdrawal_id = withdrawal.id AND tenant_id = withdrawal.tenant_id ORDER BY number DESC LIMIT 1
) AS last ON TRUE
WHERE withdrawal.tenant_id = %(tenant_id)s AND CASE
    WHEN withdrawal.state = 'processing' THEN last.state IS NULL OR last.state NOT IN ('created', 'pending', 'unknown')
    WHEN withdrawal.state IN ('paid', 'failed', 'returned') THEN last.state IS DISTINCT FROM withdrawal.state
    ELSE last.state IS NOT NULL AND last.state <> 'failed'
END
UNION ALL
SELECT '4 legacy column and snapshot differ', player.id::TEXT,
    format('%%s/%%s, snapshot %%s/%%s', player.balance_real_available, player.balance_real_held,
        wallet.balance_real_available, wallet.balance_real_pending)
FROM players AS player
JOIN wallet ON wallet.player_id = player.id AND wallet.currency = player.currency
WHERE %(with_legacy)s AND (player.balance_real_available, player.balance_real_held)
    IS DISTINCT FROM (wallet.balance_real_available, wallet.balance_real_pending)
UNION ALL
-- Money that is taken leaves the arbiter's side at zero or above; opening a negative legacy balance takes nothing.
SELECT '5 the arbiter went below zero', player_id::TEXT, format('version %%s by %%s', wallet_version, arbiter)
FROM fold
WHERE type <> 'opening_balance' AND (
    (available_moved < 0 AND CASE arbiter WHEN 'ledger' THEN available_after ELSE legacy_available_after END < 0)
    OR (pending_moved < 0 AND CASE arbiter WHEN 'ledger' THEN pending_after ELSE legacy_held_after END < 0)
)
UNION ALL
SELECT '6 a wallet was opened twice', player_id::TEXT, account
FROM leg JOIN entry USING (player_id, currency, wallet_version)
WHERE entry.type = 'opening_balance' AND leg.account LIKE 'player:%%'
GROUP BY player_id, currency, account HAVING count(*) > 1
"""


async def assert_sound(
    owner: Owner, tenant_id: UUID, *, with_withdrawals: bool = True, with_legacy: bool = True
) -> None:
    """Every invariant holds for the tenant.

    with_withdrawals: holds were placed by withdrawals, not by bare events. with_legacy: nobody else wrote the legacy
    column, so both sides are equal.
    """
    cursor = await owner.execute(
        BROKEN, {"tenant_id": tenant_id, "with_withdrawals": with_withdrawals, "with_legacy": with_legacy}
    )
    assert await cursor.fetchall() == []
