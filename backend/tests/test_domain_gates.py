"""The gates as a table: what is so, which gate says no, and that both languages have words for it."""

import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.app.domain.beta import upper_bound
from backend.app.domain.errors import FieldError
from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.flags import Flag, FlagScope, SetFlag, UnknownFlag, ensure_settable, parse_flag
from backend.app.domain.rollout.gate_texts import TEXTS, command, explain, gate_document, remedy
from backend.app.domain.rollout.gates import (
    CENSUS_AGE_MAX,
    EVIDENCE_WINDOW,
    REHEARSED_WITHIN,
    SOFT_GATES,
    CensusFacts,
    EvidenceSummary,
    Gate,
    GateFacts,
    Language,
    PlatformFacts,
    TenantFacts,
    evidence_since,
    judge_gates,
)
from backend.app.domain.rollout.rollout_state import (
    AttestedCurrency,
    HoldKind,
    RolloutHold,
    Sides,
    Stage,
    add_sides,
    derive_stage,
)
from backend.app.domain.rollout.waves import Candidate, parse_share, plan_wave
from backend.app.services.rollout.rollout_gates import is_older

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAYER = UUID(int=7)

CENSUS = CensusFacts(
    run_id=UUID(int=1), is_clean=True, started_at=NOW - HOUR, finished_at=NOW, players=500, opened=500, found=0,
    first_class=None, first_player_id=None,
)  # fmt: skip
TENANT = TenantFacts(
    tenant_id=UUID(int=2), slug="acme", name="Acme", number=1, arbiter=Arbiter.LEGACY, epoch=0, is_shadow_on=True,
    enforce_source="default", players=500, unopened=0, unopened_ids=(), differing=0, differing_ids=(), counted_at=NOW,
    census=CENSUS, is_backfill_running=False, critical_findings=0, first_finding=None, changed_at=None,
    rehearsed_at=NOW - HOUR,
)  # fmt: skip
PLATFORM = PlatformFacts("0012", "0012", (), 2, ())
READY = GateFacts(platform=PLATFORM, tenant=TENANT, evidence=EvidenceSummary(decisions=299), worst_verdict="ok")


def hold(
    kind: HoldKind = HoldKind.HOLD, *, ends_at: datetime | None = None, tenant_id: UUID | None = None
) -> RolloutHold:
    return RolloutHold(uuid4(), kind, tenant_id, "look first", "somebody", NOW, ends_at, None)


def with_tenant(**fields: Any) -> GateFacts:
    return replace(READY, tenant=replace(TENANT, **fields))


def with_platform(**fields: Any) -> GateFacts:
    return replace(READY, platform=PLATFORM._replace(**fields))


def with_evidence(**fields: Any) -> GateFacts:
    return replace(READY, evidence=EvidenceSummary(**fields))


CASES = [
    (with_platform(revision="0011"), Gate.SCHEMA, "behind"),
    (with_platform(revision=None), Gate.SCHEMA, "behind"),
    (with_platform(missing_keys=("a_key",)), Gate.SCHEMA, "keys_missing"),
    (with_platform(old_writers=("process 3 (0.9)",)), Gate.WRITERS, "old"),
    (with_tenant(is_shadow_on=False), Gate.WRITERS, "shadow_off"),
    (with_tenant(unopened=1, unopened_ids=(PLAYER,)), Gate.COVERAGE, "unopened"),
    (with_tenant(players=None, unopened=None), Gate.COVERAGE, "unknown"),
    (with_tenant(is_backfill_running=True), Gate.COVERAGE, "backfilling"),
    (with_tenant(census=None), Gate.CENSUS, "never"),
    (with_tenant(census=CENSUS._replace(started_at=NOW - CENSUS_AGE_MAX - HOUR)), Gate.CENSUS, "old"),
    (
        with_tenant(census=CENSUS._replace(is_clean=False, found=2, first_class="fold_diff", first_player_id=PLAYER)),
        Gate.CENSUS,
        "differences",
    ),
    (with_tenant(differing=1, differing_ids=(PLAYER,)), Gate.CENSUS, "differing"),
    (with_tenant(critical_findings=1, first_finding="missing_in_ledger 1"), Gate.FINDINGS, "open"),
    (with_tenant(enforce_source="environment_false"), Gate.HOLDS, "killed"),
    (replace(READY, holds=[hold()]), Gate.HOLDS, "held"),
    (replace(READY, holds=[hold(HoldKind.FREEZE)]), Gate.HOLDS, "held"),
    (replace(READY, holds=[hold(HoldKind.COOLDOWN, ends_at=NOW + HOUR)]), Gate.HOLDS, "until"),
    (with_evidence(), Gate.EVIDENCE, "too_few"),
    (with_evidence(decisions=298), Gate.EVIDENCE, "too_few"),
    (with_evidence(decisions=400, disputed=3, disputed_players=1), Gate.EVIDENCE, "disputed"),
    (with_evidence(decisions=400_000, overpaid=1), Gate.EVIDENCE, "overpaid"),
    (replace(READY, worst_verdict=None), Gate.QUIET, "unseen"),
    (replace(READY, worst_verdict="light"), Gate.QUIET, "loud"),
    (replace(READY, worst_verdict="critical"), Gate.QUIET, "loud"),
    (with_tenant(rehearsed_at=None), Gate.REHEARSAL, "never"),
    (with_tenant(rehearsed_at=NOW - REHEARSED_WITHIN - HOUR), Gate.REHEARSAL, "old"),
]


def test_ready_tenant_meets_every_gate() -> None:
    results = judge_gates(READY, now=NOW)
    assert [each.gate for each in results] == list(Gate)
    assert [each for each in results if not each.is_met] == []


@pytest.mark.parametrize(("facts", "gate", "case"), CASES, ids=[f"{gate}-{case}" for _, gate, case in CASES])
@pytest.mark.parametrize("is_waived", [False, True])
def test_one_gate_says_no_and_says_why(facts: GateFacts, gate: Gate, case: str, is_waived: bool) -> None:
    results = judge_gates(facts, now=NOW, waived=set(Gate) if is_waived else ())
    (unmet,) = [each for each in results if not each.is_met]
    assert (unmet.gate, unmet.case) == (gate, case)
    assert unmet.stands_against is not (is_waived and gate in SOFT_GATES)
    for language in Language:
        assert explain(unmet, language=language)
        assert remedy(unmet, language=language)
    document = gate_document(unmet, tenant_id=TENANT.tenant_id)
    assert document["is_hard"] is (gate not in SOFT_GATES)
    assert "None" not in document["text"]["en"]
    if "player_ids" in unmet.numbers:
        assert str(PLAYER) in explain(unmet, language=Language.TURKISH)


def test_every_case_has_words_and_every_word_a_case() -> None:
    judged = {(gate.value, case) for _, gate, case in CASES} | {(gate.value, "met") for gate in Gate}
    assert judged | {("evidence", "tiny")} == set(TEXTS)


def told(facts: GateFacts, gate: Gate) -> tuple[str, str]:
    """The gate's sentence in English and in Turkish."""
    (result,) = [each for each in judge_gates(facts, now=NOW) if each.gate is gate]
    return explain(result, language=Language.ENGLISH), explain(result, language=Language.TURKISH)


SENTENCES = [
    (
        with_tenant(critical_findings=1, first_finding="drift 9"), Gate.FINDINGS,
        "1 critical finding is open, the first is drift 9.", "1 kritik bulgu açık, ilki drift 9.",
    ),
    (
        with_tenant(critical_findings=1_234, first_finding="drift 9"), Gate.FINDINGS,
        "1,234 critical findings are open, the first is drift 9.", "1.234 kritik bulgu açık, ilki drift 9.",
    ),
    (
        with_tenant(census=CENSUS._replace(started_at=NOW - timedelta(minutes=78))), Gate.CENSUS,
        "The census is clean: 500 players, 1.3 h ago.", "Sayım temiz: 500 oyuncu, 1,3 saat önce.",
    ),
    (
        with_tenant(census=CENSUS._replace(started_at=NOW - CENSUS_AGE_MAX - HOUR)), Gate.CENSUS,
        "The last clean census is 25 h old; at most 24 h count.",
        "Son temiz sayım 25 saat önce; en fazla 24 saat olabilir.",
    ),
    (
        READY, Gate.REHEARSAL,
        "The way back was rehearsed: 1 Jul 2026 11:00 UTC.", "Geri dönüş denendi: 1 Tem 2026 11:00 UTC.",
    ),
    (
        replace(READY, holds=[hold(HoldKind.COOLDOWN, ends_at=NOW + HOUR)]), Gate.HOLDS,
        "Held until 1 Jul 2026 13:00 UTC (cooldown): look first",
        "1 Tem 2026 13:00 UTC anına kadar durdurulmuş (soğuma): look first",
    ),
    (
        replace(READY, worst_verdict="critical"), Gate.QUIET,
        "The worst verdict of the last 6 h is critical.", "Son 6 saatte en kötü hüküm: kritik.",
    ),
    (
        with_evidence(decisions=1), Gate.EVIDENCE,
        "1 decision is too few: up to 95 % could be disputed, 1 % may be.",
        "1 karar yetmiyor: üst sınır %95, en fazla %1 olmalı.",
    ),
    (
        with_platform(old_writers=("process 3 (0.9)",)), Gate.WRITERS,
        "1 process runs another release, the first is process 3 (0.9).",
        "1 süreç başka bir sürümle çalışıyor, ilki process 3 (0.9).",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "gate", "english", "turkish"), SENTENCES)
def test_figures_are_written_as_the_language_writes_them(
    facts: GateFacts, gate: Gate, english: str, turkish: str
) -> None:
    assert told(facts, gate) == (english, turkish)


def test_time_of_another_zone_is_told_in_utc() -> None:
    zone = timezone(timedelta(hours=3))
    facts = with_tenant(rehearsed_at=(NOW - HOUR).astimezone(zone))
    assert told(facts, Gate.REHEARSAL)[0] == "The way back was rehearsed: 1 Jul 2026 11:00 UTC."


@pytest.mark.parametrize(
    ("key", "text"), TEXTS.items(), ids=lambda value: "-".join(value[:2]) if len(value) == 2 else ""
)
def test_both_languages_name_the_same_numbers(key: tuple[str, str], text: Any) -> None:
    def names(template: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name}

    assert names(text.turkish) == names(text.english)
    assert bool(text.turkish_remedy) == bool(text.english_remedy) == (key[1] not in ("met", "tiny"))


def test_tiny_tenant_is_judged_by_its_census_alone_unless_somebody_was_refused() -> None:
    tiny = replace(with_tenant(players=100), evidence=EvidenceSummary())
    assert [each.case for each in judge_gates(tiny, now=NOW) if each.gate is Gate.EVIDENCE] == ["tiny"]
    disputed = replace(tiny, evidence=EvidenceSummary(decisions=3, disputed=1, disputed_players=1))
    assert [each.gate for each in judge_gates(disputed, now=NOW) if not each.is_met] == [Gate.EVIDENCE]


def test_command_of_a_fleet_hold_names_the_fleet() -> None:
    def typed(held: RolloutHold) -> str:
        (unmet,) = [each for each in judge_gates(replace(READY, holds=[held]), now=NOW) if not each.is_met]
        return command(unmet, tenant_id="acme")

    assert typed(hold(HoldKind.FREEZE)) == "hakem rollout lift --fleet --reason …"
    assert typed(hold(tenant_id=TENANT.tenant_id)) == "hakem rollout lift acme --reason …"


@pytest.mark.parametrize(
    ("events", "trials", "bound"),
    # Clopper and Pearson's one-sided 95 % bounds, from tables.
    [(0, 0, 1.0), (0, 1, 0.95), (0, 299, 0.00997), (0, 2995, 0.001), (1, 100, 0.0466), (5, 100, 0.1023), (10, 10, 1.0)],
)
def test_bound_is_exact(events: int, trials: int, bound: float) -> None:
    assert upper_bound(events, n=trials) == pytest.approx(bound, abs=5e-5)


def test_evidence_counts_from_the_last_flip_and_no_further_back_than_its_window() -> None:
    assert evidence_since(TENANT, now=NOW) == NOW - EVIDENCE_WINDOW
    assert evidence_since(replace(TENANT, changed_at=NOW - HOUR), now=NOW) == NOW - HOUR
    assert evidence_since(replace(TENANT, changed_at=NOW - 2 * EVIDENCE_WINDOW), now=NOW) == NOW - EVIDENCE_WINDOW


@pytest.mark.parametrize(
    ("fields", "stage"),
    [
        ({}, Stage.READY),
        ({"arbiter": Arbiter.LEDGER, "failing": 3, "holds": {HoldKind.HOLD}}, Stage.ENFORCED),
        ({"is_shadow_on": False}, Stage.OFF),
        ({"unopened": 1}, Stage.SHADOW),
        ({"unopened": None}, Stage.SHADOW),
        ({"is_census_clean": False, "failing": 1}, Stage.BACKFILLED),
        ({"failing": 1}, Stage.OBSERVING),
        ({"holds": {HoldKind.COOLDOWN}}, Stage.COOLDOWN),
        ({"holds": {HoldKind.COOLDOWN, HoldKind.FREEZE}}, Stage.HELD),
        ({"holds": {HoldKind.PIN}, "is_shadow_on": False}, Stage.HELD),
    ],
)
def test_stage_is_derived(fields: dict[str, Any], stage: Stage) -> None:
    usual: dict[str, Any] = {
        "arbiter": Arbiter.LEGACY,
        "is_shadow_on": True,
        "unopened": 0,
        "is_census_clean": True,
        "failing": 0,
        "holds": set(),
    }
    assert derive_stage(**{**usual, **fields}) is stage


@pytest.mark.parametrize(
    ("version", "than", "expected"),
    [("1.2.0", "1.2.0", False), ("1.1.9", "1.2.0", True), ("1.10.0", "1.9.0", False), ("2", "1.9", False),
     ("1.2", "1.2.0", True), ("unknown", "1.2.0", True), ("unknown", "unknown", False)],
)  # fmt: skip
def test_older_release_is_told_by_its_numbers(version: str, than: str, expected: bool) -> None:
    assert is_older(version, than=than) is expected


# ---------------------------------------------------------------------------------------------------------------------
# Sums, flags and waves
# ---------------------------------------------------------------------------------------------------------------------


def test_sides_are_added_and_taken_away_by_currency() -> None:
    one = Sides(
        currencies=(AttestedCurrency("TRY", 1, 0, 0, 5, 0, 5, 0, 5, 0), AttestedCurrency("USD", 2, 1, 1, *[10] * 6)),
        unopened_ids=(UUID(int=1),),
        differing_ids=(UUID(int=2),),
    )
    other = Sides(
        currencies=(AttestedCurrency("USD", 2, 1, 1, *[10] * 6),),
        unopened_ids=(UUID(int=1),),
        differing_ids=(UUID(int=2),),
    )
    left = add_sides(one, other, sign=-1)
    assert left == Sides(currencies=(AttestedCurrency("TRY", 1, 0, 0, 5, 0, 5, 0, 5, 0),))
    assert add_sides(left, other) == one


def wish(**fields: Any) -> SetFlag:
    usual: dict[str, Any] = {
        "flag": Flag.LEDGER_BALANCE_MISMATCH_LOG,
        "value": False,
        "scope": FlagScope.GLOBAL,
        "tenant_id": None,
        "provider": None,
        "reason": "because",
        "expires_at": None,
    }
    return SetFlag(**{**usual, **fields})


TENANT_LEVEL: dict[str, Any] = {"scope": FlagScope.TENANT, "tenant_id": UUID(int=2)}
ENFORCE, SHADOW, WEBHOOK = Flag.LEDGER_ENFORCE_BALANCE, Flag.LEDGER_SHADOW_WRITE, Flag.WEBHOOK_SIGNATURE_ENFORCED


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"expires_at": NOW + HOUR},
        {**TENANT_LEVEL, "flag": ENFORCE, "value": True, "expires_at": NOW + HOUR},
        {**TENANT_LEVEL, "flag": SHADOW, "expires_at": NOW + HOUR},
        {"flag": WEBHOOK, "provider": "mockpsp", "expires_at": NOW + HOUR},
    ],
)
def test_wish_that_can_be(fields: dict[str, Any]) -> None:
    ensure_settable(wish(**fields), now=NOW)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tenant_id": UUID(int=2)}, "tenant_id"),
        ({"scope": FlagScope.TENANT}, "tenant_id"),
        ({**TENANT_LEVEL, "flag": WEBHOOK}, "scope"),
        ({"flag": ENFORCE, "provider": "mockpsp"}, "provider"),
        ({"expires_at": NOW}, "expires_at"),
        ({"value": None, "expires_at": NOW + HOUR}, "expires_at"),
        # Nobody is enforced, and nobody's shadow is lost, because time passes.
        ({**TENANT_LEVEL, "flag": ENFORCE, "value": False, "expires_at": NOW + HOUR}, "expires_at"),
        ({"flag": ENFORCE, "value": True, "expires_at": NOW + HOUR}, "expires_at"),
        ({"flag": SHADOW, "value": True, "expires_at": NOW + HOUR}, "expires_at"),
    ],
)
def test_wish_that_cannot_be(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as refusal:
        ensure_settable(wish(**fields), now=NOW)
    assert refusal.value.extras["errors"][0]["field"] == field  # type: ignore[index]  # extras are objects


def test_flags_are_named_in_either_case() -> None:
    assert parse_flag("LEDGER_ENFORCE_BALANCE") is ENFORCE
    with pytest.raises(UnknownFlag):
        parse_flag("nothing")


def tenant(number: int, *, is_enforced: bool = False, **balances: int) -> Candidate:
    return Candidate(
        tenant_id=UUID(int=number), slug=f"t{number}", number=number, is_enforced=is_enforced, balances=balances or None
    )


FLEET = [tenant(1, USD=70), tenant(2, USD=5), tenant(3, USD=20, TRY=1), tenant(4, TRY=9), tenant(5), tenant(6, USD=5, is_enforced=True)]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("count_max", "share", "numbers"),
    [
        (1, None, [2]),
        (2, None, [2, 3]),
        (9, None, [2, 3, 1, 4]),
        (None, "5%", [2]),
        (None, "25%", [2, 3]),
        (None, "24%", [2]),
        (None, "100%", [2, 3, 1, 4]),
        (1, "100%", [2]),
        (None, "1%", []),
    ],
)
def test_wave_takes_the_least_money_first(count_max: int | None, share: str | None, numbers: list[int]) -> None:
    wave = plan_wave(FLEET, count_max=count_max, share_max=None if share is None else parse_share(share))
    assert [each.number for each in wave.taken] == numbers
    assert {each.number for each, _ in wave.left} == {1, 2, 3, 4, 5} - set(numbers)


@pytest.mark.parametrize("text", ["", "0", "101%", "-5%", "five", "1.5", "nan"])
def test_share_is_a_share(text: str) -> None:
    with pytest.raises(FieldError):
        parse_share(text)
