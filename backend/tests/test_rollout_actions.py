"""The decision matrix: what each verdict leads to, that its commands exist, and what people are told."""

import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
import typer.main

from backend.app.domain.monitor.detection import (
    Assessment,
    Baseline,
    Flag,
    Latched,
    Stream,
    SubjectCount,
    Trigger,
    Verdict,
)
from backend.app.domain.monitor.rollout_actions import Action, Recommendation, recommend
from backend.app.domain.monitor.rollout_sentences import Language, explain
from backend.scripts.cli import app

NOW = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
TENANT = "0190aaaa-0000-7000-8000-000000000001"

PAIRED = Stream.T1_DISPUTED
GROSS = Stream.T1_REFUSED


def assessment(
    stream: Stream, verdict: Verdict, *, observed: Verdict | None = None, flags: frozenset[Flag] = frozenset()
) -> Assessment:
    """A verdict with some evidence."""
    return Assessment(
        stream=stream,
        verdict=verdict,
        observed=verdict if observed is None else observed,
        since=NOW - timedelta(minutes=4),
        assessed_at=NOW,
        acknowledged_at=None,
        scores={"rho_50": 21.5},
        n_60=320,
        x_60=7,
        x_60_raw=31,
        n_day=4000,
        x_day=44,
        distinct_players_60=6,
        distinct_players_day=9,
        top=(SubjectCount("anna", 3), SubjectCount("o'brien", 2)),
        flags=flags,
        is_enforced=True,
        baseline=Baseline(p0=0.05),
        usual_rate=0.05,
        silent_minutes=0,
        h_light=9.0,
        h_high=19.282,
        version="1-test",
        latched=Latched(verdict=verdict, since=NOW, assessed_at=NOW, judged_until=NOW, version="1-test"),
    )


def advice(found: Assessment, *, is_enforced: bool = True, auto_rollback: bool = True) -> Recommendation:
    subject = "stripe" if found.trigger is Trigger.T2 else TENANT
    return recommend(found.trigger, found, subject=subject, is_enforced=is_enforced, auto_rollback=auto_rollback)


def names(recommendation: Recommendation) -> tuple[list[str], list[str]]:
    """Automatic and recommended actions by name."""
    return (
        [step.action.value for step in recommendation.automatic],
        [step.action.value for step in recommendation.recommended],
    )


LOOK = ["show", "backfill_dry_run"]
WITH_PROOF = ["show", "backfill_dry_run", "census", "review_rules"]
OVERPAID = ["show", "census", "open_incident"]
FORCED = ["census", "forced_backfill_dry_run", "forced_backfill", "open_incident"]
BROKEN = ["census", "list_wallets", "open_incident"]

# stream, verdict, is_enforced, auto_rollback → automatic, recommended
MATRIX: list[tuple[Stream, Verdict, bool, bool, list[str], list[str]]] = [
    (PAIRED, Verdict.LIGHT, True, True, [], LOOK),
    (PAIRED, Verdict.LIGHT, False, True, [], LOOK),
    (PAIRED, Verdict.HIGH, True, True, ["rollback", "hold"], WITH_PROOF),
    (PAIRED, Verdict.HIGH, True, False, ["hold"], ["rollback", *WITH_PROOF]),
    # While the legacy column decides there is nothing to roll back.
    (PAIRED, Verdict.HIGH, False, True, ["hold"], WITH_PROOF),
    (PAIRED, Verdict.SUSTAINED, True, True, ["rollback", "hold"], WITH_PROOF),
    (PAIRED, Verdict.SUSTAINED, False, False, ["hold"], WITH_PROOF),
    (Stream.T1_OVERPAID, Verdict.LIGHT, False, True, [], LOOK),
    (Stream.T1_OVERPAID, Verdict.CRITICAL, True, True, ["rollback", "freeze_fleet"], OVERPAID),
    (Stream.T1_OVERPAID, Verdict.CRITICAL, True, False, ["freeze_fleet"], ["rollback", *OVERPAID]),
    # A rate alone proves nothing: a promotion, a limit, or players who really have no money look the same.
    (GROSS, Verdict.LIGHT, True, True, [], LOOK),
    (GROSS, Verdict.HIGH, True, True, ["hold"], ["show", "rollback", "backfill_dry_run", "review_rules"]),
    (GROSS, Verdict.SUSTAINED, True, False, ["hold"], ["show", "rollback", "backfill_dry_run", "review_rules"]),
    (GROSS, Verdict.SUSTAINED, False, True, ["hold"], ["show", "backfill_dry_run", "review_rules"]),
    (Stream.T2_REJECTED, Verdict.LIGHT, True, True, [], ["check_secret"]),
    (Stream.T2_REJECTED, Verdict.HIGH, True, True, [], ["check_secret", "relax_signatures", "rotate_secret"]),
    (Stream.T2_REJECTED, Verdict.SUSTAINED, True, True, [], ["check_secret", "relax_signatures", "rotate_secret"]),
    (Stream.T3_MISMATCH, Verdict.LIGHT, True, True, [], ["backfill_dry_run", "census", "list_wallets"]),
    (Stream.T3_MISMATCH, Verdict.HIGH, True, True, ["freeze_fleet"], FORCED),
    (Stream.T3_MISMATCH, Verdict.SUSTAINED, False, False, ["freeze_fleet"], FORCED),
    (Stream.T3_MISMATCH, Verdict.CRITICAL, True, True, ["rollback", "freeze_fleet"], BROKEN),
    (Stream.T3_MISMATCH, Verdict.CRITICAL, True, False, ["freeze_fleet"], ["rollback", *BROKEN]),
]


@pytest.mark.parametrize(("stream", "verdict", "is_enforced", "auto_rollback", "automatic", "recommended"), MATRIX)
def test_matrix(
    stream: Stream,
    verdict: Verdict,
    is_enforced: bool,
    auto_rollback: bool,
    automatic: list[str],
    recommended: list[str],
) -> None:
    found = advice(assessment(stream, verdict), is_enforced=is_enforced, auto_rollback=auto_rollback)
    assert names(found) == (automatic, recommended)
    assert found.stops_promotion


@pytest.mark.parametrize(("stream", "verdict"), list(product(Stream, [Verdict.OK, Verdict.NO_DATA])))
def test_nothing_follows_from_nothing(stream: Stream, verdict: Verdict) -> None:
    assert advice(assessment(stream, verdict)) == Recommendation()


@pytest.mark.parametrize("verdict", list(Verdict))
def test_noise_never_leads_to_anything(verdict: Verdict) -> None:
    assert advice(assessment(Stream.T2_NOISE, verdict)) == Recommendation()


@pytest.mark.parametrize("verdict", [Verdict.LIGHT, Verdict.HIGH, Verdict.SUSTAINED])
def test_webhooks_never_lead_to_anything_automatic(verdict: Verdict) -> None:
    for flags in (frozenset[Flag](), frozenset(Flag)):
        assert advice(assessment(Stream.T2_REJECTED, verdict, flags=flags)).automatic == ()


@pytest.mark.parametrize("flag", [Flag.BLIND, Flag.TRAFFIC_DROP, Flag.GLOBAL_CAUSE])
def test_flags_alone_stop_promotion_and_do_nothing(flag: Flag) -> None:
    found = advice(assessment(PAIRED, Verdict.OK, flags=frozenset({flag})))
    assert found == Recommendation(stops_promotion=True)


def test_what_is_only_remembered_does_nothing() -> None:
    found = advice(assessment(PAIRED, Verdict.HIGH, observed=Verdict.OK))
    assert found.automatic == ()
    assert Action.ROLLBACK in {step.action for step in found.recommended}


def test_what_came_late_does_nothing() -> None:
    for verdict in (Verdict.HIGH, Verdict.CRITICAL):
        stream = PAIRED if verdict is Verdict.HIGH else Stream.T1_OVERPAID
        found = advice(assessment(stream, verdict, flags=frozenset({Flag.REVISED})))
        assert found.automatic == ()
        assert found.recommended[0].action is not Action.SHOW, "what would have been automatic comes first"


def test_shared_cause_holds_and_rolls_nobody_back() -> None:
    found = advice(assessment(PAIRED, Verdict.HIGH, flags=frozenset({Flag.GLOBAL_CAUSE})))
    assert names(found)[0] == ["hold"]
    assert names(found)[1][0] == "rollback"
    # Money that is paid wrongly waits for nobody.
    critical = advice(assessment(Stream.T1_OVERPAID, Verdict.CRITICAL, flags=frozenset({Flag.GLOBAL_CAUSE})))
    assert critical.is_rollback


def test_an_assessment_of_another_trigger_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="is not of T3"):
        recommend(Trigger.T3, assessment(PAIRED, Verdict.HIGH), subject=TENANT, is_enforced=True, auto_rollback=True)


# Commands


def commands() -> list[str]:
    """All that the matrix ever tells anybody to type, and what takes it back."""
    found: set[str] = set()
    for stream, verdict, is_enforced, auto_rollback, *_ in MATRIX:
        given = advice(assessment(stream, verdict), is_enforced=is_enforced, auto_rollback=auto_rollback)
        for step in (*given.automatic, *given.recommended):
            found.update(command for command in (step.command, step.undo) if command is not None)
    return sorted(found)


def test_what_can_be_typed_has_a_command() -> None:
    without = {Action.REVIEW_RULES, Action.OPEN_INCIDENT}
    for stream, verdict, is_enforced, auto_rollback, *_ in MATRIX:
        given = advice(assessment(stream, verdict), is_enforced=is_enforced, auto_rollback=auto_rollback)
        for step in (*given.automatic, *given.recommended):
            assert (step.command is None) is (step.action in without), step
        for step in given.automatic:
            assert step.undo is not None, "what is done by itself can be taken back"


@pytest.mark.parametrize("command", commands())
def test_command_exists_and_takes_these_arguments(command: str) -> None:
    program, *words = shlex.split(command)
    assert program == "hakem"
    group: Any = typer.main.get_command(app)
    if words[0] in {"rollout", "flags"} - set(group.commands):
        pytest.skip(f"this build has no `hakem {words[0]}` yet")
    while hasattr(group, "commands"):
        assert words[0] in group.commands, f"hakem has no {words[0]!r}: {command}"
        group = group.commands[words.pop(0)]
    # Parsed as the shell would have it, without running it.
    group.make_context(group.name, list(words))


def test_flag_is_set_for_one_provider_and_expires_by_itself() -> None:
    found = advice(assessment(Stream.T2_REJECTED, Verdict.HIGH))
    relax = next(step for step in found.recommended if step.action is Action.RELAX_SIGNATURES)
    assert relax.command == (
        "hakem flags set webhook_signature_enforced false --provider stripe --hours 1 "
        "--reason 'T2 high: 7 of 320 in the last hour'"
    )


def test_names_are_quoted_for_a_shell() -> None:
    found = recommend(
        Trigger.T2,
        assessment(Stream.T2_REJECTED, Verdict.HIGH),
        subject="a; rm -rf /",
        is_enforced=False,
        auto_rollback=False,
        account_id="x y",
    )
    rotate = next(step for step in found.recommended if step.action is Action.ROTATE_SECRET)
    assert rotate.command is not None
    assert shlex.split(rotate.command)[4:6] == ["a; rm -rf /", "x y"]


# Sentences


@pytest.mark.parametrize("language", ["tr", "en"])
@pytest.mark.parametrize(
    ("stream", "verdict"),
    # A rate is never critical.
    [(stream, verdict) for stream, verdict in product(Stream, Verdict) if stream.is_paired or verdict.severity < 3],
)
def test_every_verdict_has_a_sentence(stream: Stream, verdict: Verdict, language: Language) -> None:
    for flags, is_enforced in product((frozenset[Flag](), frozenset(Flag)), (True, False)):
        found = replace(assessment(stream, verdict, flags=flags), is_enforced=is_enforced)
        given = advice(found, is_enforced=is_enforced)
        sentence = explain(found, language, subject="acme", recommendation=given, is_broken=verdict is Verdict.CRITICAL)
        assert sentence.startswith(f"acme {stream.trigger} ")
        assert sentence.endswith(".")
        assert "{" not in sentence
        assert "anna" in sentence
        assert "320" in sentence


def test_sentence_in_both_languages() -> None:
    found = assessment(PAIRED, Verdict.HIGH)
    given = advice(found, auto_rollback=False)
    assert explain(found, "en", subject="acme", recommendation=given) == (
        "acme T1 high since 2026-03-02 14:26 UTC: in the last hour 7 of 320 decisions on withdrawals (2.2 %) were "
        "refused although the legacy balance would have allowed them; 9 different players in a day, above all anna, "
        "o'brien; it is held; to do: roll the tenant back, look at these players, run the backfill dry, run the "
        "census, review the business rules."
    )
    assert explain(found, "tr", subject="acme", recommendation=given) == (
        "acme T1 yüksek 2026-03-02 14:26 UTC'den beri: son bir saatte 320 çekim kararından 7 tanesi (%2,2), eski "
        "bakiye yettiği hâlde reddedildi; bir günde 9 farklı oyuncu, en çok anna, o'brien; kiracı bekletilir; "
        "yapılacak: kiracıyı eski bakiyeye döndürün, bu oyunculara bakın, backfill'i dry-run ile koşun, "
        "sayımı (verify) koşun, iş kurallarını gözden geçirin."
    )


def test_sentence_about_nothing_and_about_what_is_over() -> None:
    nothing = replace(assessment(PAIRED, Verdict.NO_DATA), n_60=0, x_60=0, top=())
    assert "neither good nor bad" in explain(nothing, "en", subject="acme")
    assert "ne iyi ne kötü" in explain(nothing, "tr", subject="acme")
    # A verdict that is remembered, of which nothing is left in the day.
    silent = replace(assessment(PAIRED, Verdict.HIGH), n_60=0, x_60=0, n_day=0, x_day=0, top=())
    assert explain(silent, "en", subject="acme").endswith("UTC: nothing was counted in the last hour.")
    assert explain(silent, "tr", subject="acme").endswith("beri: son bir saatte hiçbir şey sayılmadı.")
    over = replace(assessment(Stream.T1_OVERPAID, Verdict.CRITICAL, observed=Verdict.OK), x_60=0)
    assert "in the last day 44 of 4000 decisions" in explain(over, "en", subject="acme")
    assert "son bir günde 4000 çekim kararından 44 tanesi" in explain(over, "tr", subject="acme")


@pytest.mark.parametrize(
    ("x", "n", "english", "turkish"),
    [(1, 3000, "0.033 %", "%0,033"), (0, 10, "0 %", "%0"), (7, 10, "70 %", "%70"), (1, 45, "2.2 %", "%2,2")],
)
def test_rates_have_two_digits_that_count(x: int, n: int, english: str, turkish: str) -> None:
    found = replace(assessment(PAIRED, Verdict.LIGHT), x_60=x, n_60=n, x_day=0)
    assert f"({english})" in explain(found, "en", subject="acme")
    assert f"({turkish})" in explain(found, "tr", subject="acme")
