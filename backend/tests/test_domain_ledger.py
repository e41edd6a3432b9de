"""Pure tables: which refusal a code of the door stands for, whose balance is told, and when two sides differ."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from backend.app.domain.errors import AppError
from backend.app.domain.ledger import (
    Arbiter,
    PostCode,
    PostResult,
    balance_after,
    ensure_posted,
)
from backend.app.domain.mismatch import MismatchClass, compare
from backend.app.domain.money import Money

ASKED = Money(amount_minor=80_00, currency="USD")


def result(**values: Any) -> PostResult:
    """An accepted event that both sides agree on; `values` differ."""
    agreed: dict[str, Any] = {
        "event_no": 1,
        "code": PostCode.APPLIED,
        "is_replay": False,
        "transaction_id": UUID(int=1),
        "reference": UUID(int=2),
        "recorded_at": datetime(2025, 1, 1, tzinfo=UTC),
        "arbiter": Arbiter.LEGACY,
        "epoch": 0,
        "legacy_ok": True,
        "ledger_ok": True,
        "wallet_opened": True,
        "wallet_version": 2,
        "legacy_available_before": 100_00,
        "legacy_held_before": 0,
        "ledger_available_before": 100_00,
        "ledger_pending_before": 0,
        "legacy_available_after": 20_00,
        "legacy_held_after": 80_00,
        "ledger_available_after": 20_00,
        "ledger_pending_after": 80_00,
    }
    return PostResult(**agreed | values)


@pytest.mark.parametrize("code", [PostCode.APPLIED, PostCode.EXISTS])
def test_event_that_is_in_the_ledger_is_no_refusal(code: PostCode) -> None:
    ensure_posted(result(code=code), money=ASKED)


@pytest.mark.parametrize(
    ("code", "status", "error_code"),
    [
        (PostCode.INSUFFICIENT_FUNDS, 400, "INSUFFICIENT_FUNDS"),
        (PostCode.INSUFFICIENT_HELD, 400, "INSUFFICIENT_FUNDS"),
        (PostCode.EXISTS_DIFFERENT, 409, "IDEMPOTENCY_KEY_REUSE_CONFLICT"),
        (PostCode.KYC_REQUIRED, 403, "KYC_REQUIRED_FOR_WITHDRAWAL"),
        (PostCode.PLAYER_DISABLED, 401, "UNAUTHORIZED"),
        (PostCode.CURRENCY_MISMATCH, 400, "CURRENCY_MISMATCH"),
        (PostCode.BALANCE_OUT_OF_RANGE, 409, "BALANCE_OUT_OF_RANGE"),
        (PostCode.MODE_REFUSED, 503, "LEDGER_MODE_REFUSED"),
    ],
)
def test_every_refusal_of_the_door_has_its_error(code: PostCode, status: int, error_code: str) -> None:
    with pytest.raises(AppError) as caught:
        ensure_posted(result(code=code), money=ASKED)
    assert (caught.value.status, caught.value.error_code) == (status, error_code)


@pytest.mark.parametrize("code", [PostCode.INVALID_EVENT, PostCode.JOURNAL_REFUSED])
def test_refusal_that_only_a_bug_can_cause_is_a_crash(code: PostCode) -> None:
    with pytest.raises(AssertionError, match="the door refused an event"):
        ensure_posted(result(code=code), money=ASKED)


@pytest.mark.parametrize(("arbiter", "available"), [(Arbiter.LEGACY, "5.00"), (Arbiter.LEDGER, "7.00")])
@pytest.mark.parametrize("is_replay", [False, True])
def test_shortage_tells_the_balance_of_the_side_that_decided(arbiter: Arbiter, available: str, is_replay: bool) -> None:
    refused = result(
        code=PostCode.INSUFFICIENT_FUNDS,
        arbiter=arbiter,
        is_replay=is_replay,
        legacy_available_after=5_00,
        ledger_available_after=7_00,
    )
    with pytest.raises(AppError, match=f"80.00 USD asked for, {available} available") as caught:
        ensure_posted(refused, money=ASKED)
    assert caught.value.extras["available_real"] == available
    assert caught.value.is_replay is is_replay


def test_balance_is_told_by_the_side_that_decided() -> None:
    differing = {
        "legacy_available_after": 1,
        "legacy_held_after": 2,
        "ledger_available_after": 3,
        "ledger_pending_after": 4,
    }
    by_legacy = balance_after(result(**differing), currency="USD")
    by_ledger = balance_after(result(arbiter=Arbiter.LEDGER, **differing), currency="USD")
    assert (by_legacy.available_minor, by_legacy.held_minor, by_legacy.total_minor) == (1, 2, 3)
    assert (by_ledger.available_minor, by_ledger.held_minor, by_ledger.total_minor) == (3, 4, 7)


@pytest.mark.parametrize(
    ("mismatch_class", "values"),
    [
        (None, {}),
        (MismatchClass.AVAILABLE_DIFF, {"ledger_available_before": 99_99}),
        (MismatchClass.AVAILABLE_DIFF, {"ledger_available_before": 99_99, "ledger_pending_before": 1}),
        (MismatchClass.PENDING_DIFF, {"legacy_held_before": 1}),
        (MismatchClass.MISSING_WALLET, {"wallet_opened": False, "ledger_available_before": 0}),
        (MismatchClass.MISSING_WALLET, {"wallet_opened": False}),
        pytest.param(None, {"is_replay": True, "ledger_available_before": 1}, id="a replay saw nothing new"),
        pytest.param(None, {"ledger_ok": None, "wallet_opened": False}, id="the ledger has no say"),
        pytest.param(None, {"arbiter": None, "ledger_available_before": 1}, id="nobody decided"),
        pytest.param(None, {"legacy_ok": None, "ledger_available_before": 1}, id="refused before any verdict"),
    ],
)
def test_sides_are_compared_where_both_were_asked(mismatch_class: MismatchClass | None, values: dict[str, Any]) -> None:
    found = compare(result(**values), tenant_id=UUID(int=1), player_id=UUID(int=2), currency="USD")
    assert (found.mismatch_class if found else None) == mismatch_class
