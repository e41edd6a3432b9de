"""What the service's own role can do to a withdrawal by SQL: the steps of the table, with their approvals, no more."""

from typing import Any
from uuid import UUID

import pytest
from psycopg import errors
from psycopg.rows import dict_row

from backend.app.domain.identity import Role
from backend.tests.factories import both, make_tenant, sides
from backend.tests.finance_desk import AMOUNT_OF_TWO, BALANCE, Desk, reference
from backend.tests.fixtures import Caller
from backend.tests.invariants import assert_sound

MOVE = """
SELECT code, state, version FROM withdrawal_move_v1(
    p_tenant_id => %(tenant_id)s, p_player_id => %(player_id)s, p_withdrawal_id => %(id)s, p_action => %(action)s,
    p_expected_version => %(expected_version)s, p_admin_id => %(admin_id)s, p_reason => NULL,
    p_approvals_needed => %(needed)s, p_attempt_number => %(number)s, p_provider => 'mockpsp',
    p_account_id => 'an-account', p_evidence_ref => %(evidence_ref)s, p_provider_ref => NULL,
    p_provider_event_id => NULL, p_provider_sequence => NULL, p_failure_code => NULL, p_occurred_at => NULL,
    p_check_after => INTERVAL '1 minute'
)
"""


async def move(desk: Desk, tx_id: UUID, action: str, *, by: Caller | None, **values: Any) -> tuple[str, str]:
    """(code, state afterwards) of a call by the service's role."""
    asked = {
        "tenant_id": desk.tenant_id,
        "player_id": desk.player.id,
        "id": tx_id,
        "action": action,
        "expected_version": None,
        "admin_id": None if by is None else by.id,
        "needed": 1,
        "number": None,
        "evidence_ref": None,
        **values,
    }
    async with desk.pools.connection() as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(MOVE, asked)
        row = await cursor.fetchone()
    assert row is not None
    return row["code"], row["state"]


async def test_one_person_cannot_give_both_approvals(desk: Desk) -> None:
    tx_id = await desk.request(AMOUNT_OF_TWO)
    assert await move(desk, tx_id, "approve", by=desk.finance, needed=2) == ("moved", "awaiting_second_approval")
    for needed in (1, 2, None):
        for action in ("approve", "approve_first"):
            code, state = await move(desk, tx_id, action, by=desk.finance, needed=needed)
            assert (code, state) != ("moved", "approved")
            assert state == "awaiting_second_approval"
    for action in ("mark_paid", "mark_paid_manually", "retry"):
        code, _ = await move(desk, tx_id, action, by=desk.finance, evidence_ref="proof")
        assert code == "invalid_transition"
    assert await move(desk, tx_id, "approve", by=desk.approver) == ("moved", "approved")
    await assert_sound(desk.owner, desk.tenant_id)


async def test_approvals_are_given_by_admins_who_may(desk: Desk) -> None:
    tx_id = await desk.request(AMOUNT_OF_TWO)
    outsiders = [
        None,
        desk.people.nobody(),
        await desk.people.admin(Role.VIEWER, desk.tenant_id),
        await desk.people.admin(Role.FINANCE, desk.tenant_id, is_active=False),
        await desk.people.admin(Role.FINANCE, await make_tenant(desk.owner)),
    ]
    for outsider in outsiders:
        for action in ("approve", "reject", "cancel"):
            assert await move(desk, tx_id, action, by=outsider) == ("unknown_admin", "requested")
    assert await sides(desk.owner, desk.player) == both(BALANCE - AMOUNT_OF_TWO, AMOUNT_OF_TWO)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE withdrawals SET state = 'approved' WHERE id = %(id)s",
        "UPDATE withdrawals SET second_approved_by = gen_random_uuid() WHERE id = %(id)s",
        "UPDATE withdrawals SET approvals_needed = 1 WHERE id = %(id)s",
        "DELETE FROM withdrawals WHERE id = %(id)s",
        "UPDATE payout_attempts SET state = 'failed', next_check_at = NULL WHERE withdrawal_id = %(id)s",
        "DELETE FROM payout_attempts WHERE withdrawal_id = %(id)s",
        "INSERT INTO payout_attempts SELECT * FROM payout_attempts WHERE withdrawal_id = %(id)s",
        "UPDATE withdrawal_transitions SET to_state = 'approved'",
        "INSERT INTO withdrawal_transitions (from_state, action, to_state, ledger_types) VALUES ('a', 'b', 'c', '{}')",
        "UPDATE withdrawal_deed_keys SET request_hash = '' WHERE withdrawal_id = %(id)s",
        "DELETE FROM withdrawal_deed_keys WHERE withdrawal_id = %(id)s",
        "SELECT withdrawal_post_v1(w, '{withdraw_rejected}', NULL, NULL, NULL, NULL, NULL, NULL) FROM withdrawals w",
    ],
)
async def test_service_may_not_write_beside_the_functions(desk: Desk, statement: str) -> None:
    tx_id = await desk.into("processing")
    async with desk.pools.connection() as conn:
        with pytest.raises(errors.InsufficientPrivilege):
            await conn.execute(statement, {"id": tx_id})
    assert await desk.state(tx_id) == "processing"


@pytest.mark.parametrize(
    ("assignment", "constraint"),
    [
        ("state = 'approved'", "withdrawals_approved_check"),
        ("state = 'processing'", "withdrawals_approved_check"),
        ("state = 'paid'", "withdrawals_approved_check"),
        ("state = 'failed'", "withdrawals_approved_check"),
        ("state = 'returned'", "withdrawals_approved_check"),
        ("state = 'awaiting_second_approval'", "withdrawals_approved_check"),
        ("state = 'approved', first_approved_by = %(one)s, approvals_needed = 2", "withdrawals_approved_check"),
        (
            "state = 'approved', first_approved_by = %(one)s, second_approved_by = %(one)s, approvals_needed = 2",
            "withdrawals_four_eyes_check",
        ),
        ("second_approved_by = %(one)s", "withdrawals_four_eyes_check"),
        ("approvals_needed = 0", "withdrawals_four_eyes_check"),
        ("state = 'awaiting_second_approval', first_approved_by = %(one)s", "withdrawals_four_eyes_check"),
    ],
)
async def test_database_itself_forbids_what_is_not_approved(desk: Desk, assignment: str, constraint: str) -> None:
    """Also to the owner of the tables, whatever function might be wrong one day."""
    tx_id = await desk.request()
    with pytest.raises(errors.CheckViolation) as violation:
        await desk.owner.execute(
            f"UPDATE withdrawals SET {assignment} WHERE id = %(id)s", {"id": tx_id, "one": desk.finance.id}
        )
    assert violation.value.diag.constraint_name == constraint


async def test_stale_version_and_foreign_keys_move_nothing(desk: Desk) -> None:
    tx_id = await desk.request()
    assert await move(desk, tx_id, "reject", by=desk.finance, expected_version=2) == ("stale_version", "requested")
    assert (await move(desk, tx_id, "reject", by=desk.finance, player_id=desk.tenant_id))[0] == "unknown_withdrawal"
    assert (await move(desk, tx_id, "reject", by=desk.finance, tenant_id=desk.player.id))[0] == "unknown_withdrawal"
    assert await move(desk, tx_id, "reject", by=desk.finance, expected_version=1) == ("moved", "rejected")


async def test_observation_is_taken_by_the_attempt_it_is_of(desk: Desk) -> None:
    tx_id = await desk.into("failed")
    await desk.done(tx_id, "retry")
    desk.provider.fate = "pending"
    await desk.done(tx_id, "mark_paid")
    for number in (None, 1, 3):
        for action in ("payout_paid", "payout_failed", "payout_returned"):
            assert await move(desk, tx_id, action, by=None, number=number) == ("invalid_attempt", "processing")
    assert await move(desk, tx_id, "payout_paid", by=None, number=2) == ("moved", "paid")
    assert (await desk.posted(tx_id))[-1][:2] == ("withdraw_paid", reference(tx_id, 2))
    await assert_sound(desk.owner, desk.tenant_id)
