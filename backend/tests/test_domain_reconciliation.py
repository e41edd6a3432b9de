"""The rules of reconciliation by themselves: windows, floods, totals, what closes a payment, what a finding is."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from backend.app.domain.errors import FieldError
from backend.app.domain.finding import (
    Finding,
    FindingType,
    ResolutionCode,
    Severity,
    money_facts,
    parse_resolution,
)
from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import StatusClass
from backend.app.domain.reconciliation.adjustment import ProposeAdjustment, plan_closing
from backend.app.domain.reconciliation.finding_catalogue import CATALOGUE
from backend.app.domain.reconciliation.reconciliation import ensure_window, flooded_types
from backend.app.domain.reconciliation.statement import ControlTotals, StatementKind, StatementLine

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
T = FindingType


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        (NOW, NOW, "window_end"),
        (NOW, NOW - HOUR, "window_end"),
        (NOW + HOUR, None, "window_start"),
        (NOW - 4000 * DAY, None, "window_start"),
        (None, NOW - 4000 * DAY, "window_end"),
        (None, NOW + 2 * DAY, "window_end"),
    ],
)
def test_bad_window_is_refused_by_its_field(start: datetime | None, end: datetime | None, field: str) -> None:
    with pytest.raises(FieldError, match=field):
        ensure_window(start, end, now=NOW)


@pytest.mark.parametrize(
    ("start", "end"), [(None, None), (NOW - DAY, None), (None, NOW), (NOW - DAY, NOW + HOUR), (NOW, NOW + HOUR)]
)
def test_good_window_passes(start: datetime | None, end: datetime | None) -> None:
    ensure_window(start, end, now=NOW)


@pytest.mark.parametrize(
    ("counts", "compared", "lines", "ours", "flooded"),
    [
        # A thousand of a type are a thousand findings; more are, where they are a small part.
        ({T.MISSING_IN_PSP: 1_000}, 2_000, 500, 1_500, set()),
        ({T.MISSING_IN_PSP: 1_001}, 2_000, 500, 1_500, {T.MISSING_IN_PSP}),
        ({T.MISSING_IN_LEDGER: 1_500}, 100_000, 50_000, 50_000, set()),
        ({T.AMOUNT_MISMATCH: 30_000, T.STATUS_MISMATCH: 5}, 100_000, 50_000, 50_000, {T.AMOUNT_MISMATCH}),
        # An empty statement against many of ours is dead; against a few, those are missing.
        ({T.MISSING_IN_PSP: 10}, 10, 0, 10, {T.MISSING_IN_PSP}),
        ({T.MISSING_IN_PSP: 9}, 9, 0, 9, set()),
        ({T.MISSING_IN_PSP: 10}, 11, 1, 11, set()),
        # What concerns the ledger itself is never the feed's fault.
        ({T.LEDGER_INVARIANT: 5_000}, 10, 1, 1, set()),
    ],
)
def test_flood_is_the_feeds_fault(
    counts: Mapping[FindingType, int], compared: int, lines: int, ours: int, flooded: set[FindingType]
) -> None:
    assert flooded_types(counts, compared=compared, feed_lines=lines, our_items=ours) == flooded


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "player", "clearing"),
    [
        # Paid a cent less: the player is owed it, and the provider has it still.
        ("payout", 10_00, 9_99, 1, 1),
        ("payout", 10_00, 10_01, -1, -1),
        # Collected a cent less than was credited.
        ("deposit", 10_00, 9_99, -1, -1),
        ("deposit", 10_00, 10_01, 1, 1),
        # Another currency: the clearing account is taken back to nothing.
        ("payout", 10_00, None, 0, 10_00),
        ("deposit", 10_00, None, 0, -10_00),
    ],
)
def test_closing_takes_both_sides_to_what_moved(
    kind: str, ours: int, theirs: int | None, player: int, clearing: int
) -> None:
    assert plan_closing(kind, ours_minor=ours, theirs_minor=theirs) == (player, clearing)


@pytest.mark.parametrize("fields", [{"reason": " "}, {"player_amount": 0}])
def test_adjustment_has_a_reason_and_moves_something(fields: dict[str, Any]) -> None:
    values: dict[str, Any] = {"player_id": UUID(int=1), "player_amount": 1, "clearing_amount": 0, "reason": "x"}
    with pytest.raises(FieldError):
        ProposeAdjustment(**(values | fields))


def line(amount: int, currency: str = "USD") -> StatementLine:
    return StatementLine(
        provider_event_id="e",
        provider_ref="p",
        reference=None,
        kind=StatementKind.DEPOSIT,
        status="captured",
        status_class=StatusClass.SUCCESS,
        money=Money(amount_minor=amount, currency=currency),
        occurred_at=NOW,
    )


def test_totals_say_what_does_not_fit() -> None:
    totals = ControlTotals()
    totals.add([line(5), line(7), line(3, "EUR")])
    assert totals.difference(count=3, sums={"USD": 12, "EUR": 3}) is None
    assert totals.difference(count=4, sums={"USD": 12, "EUR": 3}) == "3 lines arrived of 4"
    assert totals.difference(count=3, sums={"USD": 13, "EUR": 3}) == "USD adds up to 12 instead of 13"
    assert totals.difference(count=3, sums={"USD": 12}) == "EUR adds up to 3 instead of 0"
    assert ControlTotals().difference(count=0, sums={}) is None


def finding(**fields: Any) -> Finding:
    values: dict[str, Any] = {
        "provider": "mockpsp",
        "tenant_id": UUID(int=1),
        "finding_type": T.AMOUNT_MISMATCH,
        "severity": Severity.CRITICAL,
        "subject": "deposit:1",
        "message": "",
        "evidence": {"a": 1},
    }
    return Finding(**(values | fields))


def test_finding_is_known_by_what_it_is_about() -> None:
    assert finding().fingerprint == finding(evidence={"a": 2}, message="x").fingerprint
    for other in (
        {"subject": "deposit:2"},
        {"provider": "stripe"},
        {"tenant_id": UUID(int=2)},
        {"finding_type": T.STATUS_MISMATCH},
    ):
        assert finding(**other).fingerprint != finding().fingerprint


def test_evidence_changes_with_its_facts_only() -> None:
    facts = money_facts(Money(amount_minor=5, currency="USD"))
    assert finding(facts=facts).evidence_hash == finding(facts=facts, evidence={"a": 2}).evidence_hash
    assert finding(facts=facts).evidence_hash != finding(facts=(6, "USD")).evidence_hash
    assert finding().evidence_hash != finding(evidence={"a": 2}).evidence_hash


def test_every_type_has_its_advice_in_both_languages() -> None:
    assert set(CATALOGUE) == set(FindingType)
    for entry in CATALOGUE.values():
        assert all((entry.message_en, entry.message_tr, entry.action_en, entry.action_tr))
        command = entry.command.format(id="ID", provider="mockpsp", tenant_id="TENANT")
        assert "{{" not in command
        assert "ID" in command or "TENANT" in command


def test_people_do_not_say_what_only_a_run_knows() -> None:
    assert parse_resolution(None) is ResolutionCode.OTHER
    assert parse_resolution("WRITE_OFF") is ResolutionCode.WRITE_OFF
    for wrong in ("AUTO_CLEARED", "MERGED", "", "write_off"):
        with pytest.raises(FieldError):
            parse_resolution(wrong)
