"""The console's words: the same in both languages and none outside the catalogues; and figures as each has them."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from backend.app.console import figures, render, text
from backend.app.console.access import ACCESS, Page
from backend.app.console.home import KINDS
from backend.app.console.list_filter import AGES
from backend.app.console.navigation import ITEMS
from backend.app.console.text import LANGUAGES, Language
from backend.app.domain.audit import ActorKind
from backend.app.domain.backfill import backfill
from backend.app.domain.desk.webhook_desk import WAITING_STATES
from backend.app.domain.finding import (
    FindingChanged,
    FindingStatus,
    FindingType,
    NotReplayable,
    ResolutionCode,
    Severity,
)
from backend.app.domain.identity import Role
from backend.app.domain.ledger import Arbiter, TransactionType
from backend.app.domain.monitor import rollout_actions
from backend.app.domain.monitor.assessment import Verdict
from backend.app.domain.payments.finance import Sort
from backend.app.domain.payments.payout import AttemptState
from backend.app.domain.payments.psp_delivery import EventState, PullRefused
from backend.app.domain.payments.psp_event import Effect
from backend.app.domain.payments.withdrawal_lifecycle import ADMIN_ACTIONS
from backend.app.domain.player import KycStatus
from backend.app.domain.reconciliation.adjustment import (
    AdjustmentDecided,
    AdjustmentRefused,
    AdjustmentStatus,
    PaymentNotOpen,
)
from backend.app.domain.reconciliation.reconciliation import RunInProgress, RunStatus, UnsupportedProvider
from backend.app.domain.rollout.flags import Flag, FlagSource
from backend.app.domain.rollout.gates import Gate
from backend.app.domain.rollout.rollout_state import HoldKind, Stage
from backend.app.domain.withdrawal import WithdrawalState
from backend.app.psp.webhook import SignatureStatus
from backend.app.services.payments.finance import _AUDIT_ACTIONS

TEMPLATES: Final = sorted(render.TEMPLATES.rglob("*.html"))
# What is no word of any language: our name, keys on a keyboard.
NAMES: Final = re.compile(r"\bHakem\b|<kbd>[a-z]</kbd>")
GAP: Final = re.compile(r"\{(\w+)\}")


def test_catalogues_have_the_same_keys_in_order() -> None:
    keys = {language: list(text.catalogue(language)) for language in LANGUAGES}
    assert keys["en"] == keys["tr"]
    assert keys["en"] == sorted(keys["en"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_key_is_written_twice(language: Language) -> None:
    pairs = json.loads((text.FOLDER / f"{language}.json").read_text("utf-8"), object_pairs_hook=list)
    assert len(pairs) == len({key for key, _ in pairs})


def test_texts_have_the_same_gaps_and_are_not_empty() -> None:
    for key, english in text.catalogue("en").items():
        turkish = text.catalogue("tr")[key]
        assert set(GAP.findall(english)) == set(GAP.findall(turkish)), key
        assert english.strip(), key
        assert turkish.strip(), key


def test_texts_are_translated() -> None:
    same = {key for key, english in text.catalogue("en").items() if english == text.catalogue("tr")[key]}
    assert same == {"keys.enter", "language.en", "language.tr", "layout.api", "withdrawals.csv"}


def keys_in_templates() -> Iterator[tuple[Path, str]]:
    for path in TEMPLATES:
        source = path.read_text("utf-8")
        for key in re.findall(r"""\bt\(["']([\w.-]+)["']\s*[,)]""", source):
            yield path, key
        for key in re.findall(r"""\bv\.count\(["']([\w.-]+)["']""", source):
            yield path, f"{key}.one"
            yield path, f"{key}.other"


@pytest.mark.parametrize(("path", "key"), sorted(set(keys_in_templates())))
def test_text_that_a_template_names_exists(path: Path, key: str) -> None:
    assert key in text.catalogue("en"), path


def sources_that_audit() -> Iterator[str]:
    """The text of everything that may write the audit."""
    app = Path(render.__file__).parent.parent
    for path in sorted([*(app / "services").rglob("*.py"), *(app / "sql").rglob("*.sql")]):
        if path.name != "schema.sql":
            yield path.read_text("utf-8")


def audited_actions() -> set[str]:
    """Every deed that the code names, whole: `<object>.<past tense>`."""
    found: set[str] = set()
    for source in sources_that_audit():
        found.update(re.findall(r"""\baction=["']([a-z_]+\.[a-z_]+)["']""", source))
        found.update(re.findall(r"""_entry\(hold, ["']([a-z_]+\.[a-z_]+)["']""", source))
        for insert in re.findall(r"INSERT INTO audit_events.*?;", source, flags=re.DOTALL):
            found.update(re.findall(r"'([a-z_]+\.[a-z_]+)'", insert))
    return found | {"player.registered", "arbiter.changed", "arbiter.rehearsed"}


def audited_objects() -> set[str]:
    """Every kind of object that the code names in a deed."""
    found: set[str] = set()
    for source in sources_that_audit():
        found.update(re.findall(r"""\bobject_kind=["']([a-z_]+)["']""", source))
    return found


def test_deeds_are_found_in_the_code() -> None:
    assert {"admin.changed", "withdrawals.exported", "flag.changed", "finding.resolved", "rollout_hold.lifted"} <= (
        audited_actions()
    )
    assert {"admin", "rollout_hold", "monitor_decision"} <= audited_objects()


def families() -> Iterator[str]:
    """Every key that is made of a code."""
    yield from (f"state.{each}" for each in WithdrawalState)
    yield from (f"state.{each}" for each in ("pending_provider", "completed", "failed", "refunded"))
    yield from (f"flash.withdrawal.{each}" for each in WithdrawalState if each != WithdrawalState.REQUESTED)
    yield from (f"{family}.{each}" for each in KycStatus for family in ("kyc", "flash.kyc"))
    yield from (f"attempt.{each}" for each in AttemptState)
    yield from (f"event.attempt.{each}" for each in AttemptState)
    yield from (f"event.deed.{each}" for each in _AUDIT_ACTIONS.values())
    # What a provider's report did is audited by the state it led to (services/payments/payout_reports.py).
    yield from (f"event.deed.withdrawal.{each}" for each in ("paid", "failed", "returned"))
    yield from (f"effect.{each}" for each in Effect)
    yield from (f"type.{each}" for each in TransactionType)
    yield from (f"player.arbiter.{each}" for each in Arbiter)
    yield from (f"sort.{each.value}" for each in Sort)
    yield from (f"role.{each}" for each in Role)
    yield from (f"open.{each}" for each in KINDS)
    yield from (f"navigation.{item.page}" for item in ITEMS)
    yield from (f"finding.{each}" for each in FindingType)
    yield from (f"severity.{each}" for each in Severity)
    yield from (f"{family}.{each}" for each in FindingStatus for family in ("finding_status", "finding_status.list"))
    yield from (f"resolution.{each}" for each in ResolutionCode)
    yield from (f"run.{each}" for each in RunStatus)
    yield from (f"adjustment.{each}" for each in AdjustmentStatus)
    yield from (f"webhook.{each}" for each in EventState)
    yield from (f"webhook.queue.{each}" for each in WAITING_STATES)
    yield from (f"flash.{family}.{each}" for each in Effect for family in ("replay", "pull"))
    yield from (f"signature_result.{each}" for each in SignatureStatus)
    yield from (f"filter.age.{each}" for each in AGES)
    yield from (f"side.{each}" for each in ("amount", "status", "kind", "word", "net", "occurred_at"))
    yield from (f"side.{each}" for each in ("reference", "provider_ref", "account"))
    for deed in ("resolve", "reopen", "assign", "note", "replay", "close", "adjust"):
        yield from (f"finding_deed.{deed}", f"finding_deed.{deed}.means", f"finding_deed.{deed}.confirm")
    for refused in (
        FindingChanged, NotReplayable, PaymentNotOpen, AdjustmentDecided, AdjustmentRefused, RunInProgress,
        UnsupportedProvider, PullRefused,
    ):  # fmt: skip
        yield f"refusal.{refused.error_code}"
    yield from (f"event.deed.finding.{each}" for each in ("assigned", "noted", "resolved", "reopened", "replayed"))
    yield from (f"event.deed.psp_event.{each}" for each in ("reprocessed", "pulled"))
    yield from (f"actor.{each}" for each in ActorKind)
    yield from (f"role.{each}.means" for each in Role)
    yield from (f"source.{each}" for each in FlagSource)
    yield from (f"flag.{each}" for each in Flag)
    yield from (f"event.deed.{each}" for each in audited_actions())
    yield from (f"object.{each.partition('.')[0]}" for each in audited_actions())
    yield from (f"object.{each}" for each in audited_objects())
    for each in ("activated", "created", "deactivated", "password_set", "role_changed", "sessions_ended"):
        yield f"flash.admin.{each}"
    yield from ("switch.on", "switch.off", "admin.active", "admin.inactive")
    for each in ("activate", "deactivate"):
        yield from (f"admin.{each}", f"admin.{each}.means", f"admin.{each}.confirm")
    # What the database answers to a decision about an adjustment (ledger_adjustment_v1).
    yield from (f"event.deed.adjustment.{each}" for each in ("applied", "refused", "rejected"))
    for each in ADMIN_ACTIONS:
        yield from (f"action.{each}", f"action.{each}.means", f"action.{each}.confirm")
    for each in ADMIN_ACTIONS:
        if each != "mark_paid_manually":
            yield f"bulk.confirm.{each}"


def families_of_the_rollout() -> Iterator[str]:
    """The same of what tenants go through on their way."""
    yield from (f"{family}.{each}" for each in Stage for family in ("stage", "stage_means"))
    yield from (f"gate.{each}" for each in Gate)
    yield from (f"verdict.{each}" for each in Verdict)
    yield from (f"hold.{each}" for each in HoldKind)
    yield from (f"flag_source.{each}" for each in FlagSource)
    yield from (f"rollout_action.{each}" for each in rollout_actions.Action)
    yield from (f"outcome.{each}" for each in backfill.Outcome)
    yield from (f"arbiter.{each}" for each in Arbiter)


@pytest.mark.parametrize("key", sorted({*families(), *families_of_the_rollout()}))
def test_code_that_can_be_shown_has_a_text(key: str) -> None:
    assert key in text.catalogue("en")


def test_problems_of_filters_have_texts() -> None:
    folder = Path(render.__file__).parent
    names = ("withdrawal_filter", "reconciliation", "adjustments", "webhooks", "audit", "list_filter")
    problems = {
        node.value
        for name in names
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("filter.problem.")
    }
    assert problems
    assert problems <= set(text.catalogue("en"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(render.TEMPLATES).as_posix())
def test_template_has_no_words_of_its_own(path: Path) -> None:
    source = path.read_text("utf-8")
    source = re.sub(r"\{#.*?#\}|\{%.*?%\}", " ", source, flags=re.DOTALL)
    source = NAMES.sub(" ", re.sub(r"\{\{.*?\}\}", " ", source, flags=re.DOTALL))
    spoken = re.findall(r"""\b(?:title|aria-label|placeholder|alt|value|label)=["']([^"']*)["']""", source)
    shown = re.sub(r"<[^>]*>", " ", source, flags=re.DOTALL)
    spoken_words = [word for word in spoken if re.search(r"[^\W\d_]{2,}", word) and word != "confirmed"]
    assert not re.findall(r"[^\W\d_]{2,}", shown)
    # A value of a hidden field is no word; those that are shown come out of a text.
    assert [word for word in spoken_words if not re.fullmatch(r"[a-z_]+", word)] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(render.TEMPLATES).as_posix())
def test_template_brings_no_script_style_or_unescaped_value(path: Path) -> None:
    source = path.read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style\b|\bstyle=|\son[a-z]+=|javascript:", source)
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", source)
    assert "https://" not in source
    assert "http://" not in source


def test_pages_are_escaped_by_default() -> None:
    assert render.ENVIRONMENT.from_string("{{ x }}").render(x="<b>&\"'") == "&lt;b&gt;&amp;&#34;&#39;"


def test_every_page_says_who_may_see_it() -> None:
    assert set(ACCESS) == set(Page)
    assert all(ACCESS.values())


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minor", "currency", "english", "turkish"),
    [
        (123456, "USD", "1,234.56", "1.234,56"),
        (0, "TRY", "0.00", "0,00"),
        (-5, "EUR", "−0.05", "−0,05"),
        (1234567, "JPY", "1,234,567", "1.234.567"),
        (1234, "KWD", "1.234", "1,234"),
        (10**17 + 1, "USD", "1,000,000,000,000,000.01", "1.000.000.000.000.000,01"),
        (99999, "USD", "999.99", "999,99"),
    ],
)
def test_amounts_look_as_the_language_has_them(minor: int, currency: str, english: str, turkish: str) -> None:
    assert figures.amount(minor, currency=currency, language="en") == english
    assert figures.amount(minor, currency=currency, language="tr") == turkish


def test_changes_say_their_sign() -> None:
    assert figures.signed_amount(100, currency="USD", language="en") == "+1.00"
    assert figures.signed_amount(-100, currency="USD", language="en") == "−1.00"
    assert figures.signed_amount(0, currency="USD", language="en") == "0.00"


NOW: Final = datetime(2026, 11, 22, 5, 25, 7, 891_000, tzinfo=UTC)


def test_times_are_told_in_utc() -> None:
    assert figures.minute(NOW, language="en") == "22 Nov 2026 05:25"
    assert figures.minute(NOW, language="tr") == "22 Kas 2026 05:25"
    assert figures.exact(NOW, language="en") == "22 Nov 2026 05:25:07.891 UTC"


@pytest.mark.parametrize(
    ("ago", "english", "turkish"),
    [
        (timedelta(seconds=59), "just now", "az önce"),
        (timedelta(minutes=59, seconds=59), "59 min ago", "59 dk önce"),
        (timedelta(hours=47), "47 h ago", "47 sa önce"),
        (timedelta(days=1234), "1,234 d ago", "1.234 gün önce"),
        (-timedelta(minutes=2), "in 2 min", "2 dk sonra"),
    ],
)
def test_ages_are_told_in_one_unit(ago: timedelta, english: str, turkish: str) -> None:
    assert figures.age(NOW - ago, now=NOW, language="en") == english
    assert figures.age(NOW - ago, now=NOW, language="tr") == turkish
