"""What is stored in one language and told in the reader's: reasons of the monitor, what came of webhooks."""

import json
import re
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx
import pytest

from backend.app.console import text, told
from backend.app.console.text import Language
from backend.app.domain.identity import Role
from backend.app.domain.monitor.monitor import HoldPlan
from backend.app.domain.payments.psp_event import StatusClass
from backend.app.domain.rollout.flags import REASON_LENGTH_MAX, cut_reason
from backend.app.repositories.database import Database as Pools
from backend.tests import console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import words
from backend.tests.factories import Owner
from backend.tests.rollout_desk import RolloutDesk, desk_on

REASONS: Final = {"en": "Acme T1 high: 7 of 9 refused.", "tr": "Acme T1 yüksek: 9 karardan 7 tanesi reddedildi."}


@pytest.fixture(scope="module")
def desk(database: Database, pools: Pools, owner: Owner) -> RolloutDesk:
    return desk_on(database, pools, owner)


async def decide_hold(owner: Owner, tenant_id: UUID, *, with_reasons: bool = True) -> UUID:
    """A hold that a decision of the monitor led to, as both are kept; the decision's id."""
    plan = HoldPlan(kind="hold", reasons=REASONS).to_json()
    if not with_reasons:
        del plan["reasons"]
    cursor = await owner.execute(
        "INSERT INTO monitor_decisions (subject_kind, subject, tenant_id, trigger, verdict_before, verdict, actions, "
        "is_automatic, is_rollback, evidence, thresholds, detector_version, lease_token, decided_at) "
        "VALUES ('tenant', %(tenant)s::UUID::TEXT, %(tenant)s::UUID, 'T1', 'ok', 'high', %(actions)s, TRUE, FALSE, "
        "%(evidence)s, '{}', '1', 1, now()) RETURNING id",
        {
            "tenant": str(tenant_id),
            "actions": json.dumps({"holds": [plan]}),
            "evidence": json.dumps({"sentences": REASONS}),
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    decision_id: UUID = row[0]
    await owner.execute(
        "INSERT INTO rollout_holds (kind, tenant_id, reason, placed_by, decision_id) "
        "VALUES ('hold', %s, %s, 'monitor', %s)",
        (tenant_id, plan["reason"], decision_id),
    )
    return decision_id


@pytest.mark.parametrize("language", ["en", "tr"])
async def test_reason_of_the_monitor_is_told_once_and_in_the_readers_language(
    desk: RolloutDesk, http: httpx.AsyncClient, language: str
) -> None:
    tenant_id, _ = await desk.ready_tenant()
    decision_id = await decide_hold(desk.owner, tenant_id)
    reader = await console_browser.sign_in(http, desk.owner, Role.OWNER, language=language)
    page = await reader.get(f"/rollout/{tenant_id}")
    past = await reader.get(f"/rollout/{tenant_id}/past")
    said = words(page) + words(past)
    (other,) = {"en", "tr"} - {language}
    assert (said.count(REASONS[language]), said.count(REASONS[other])) == (1, 0)
    # Elsewhere is said where it stands: at the gate, and in what led there.
    assert 'href="#h-holds"' in page.text
    hold = re.search(r'id="(hold-[0-9a-f-]{36})"', page.text)
    assert hold is not None
    assert f'href="/console/rollout/{tenant_id}#{hold[1]}"' in past.text
    alone = words(await reader.get(f"/rollout/holds/{hold[1].removeprefix('hold-')}"))
    assert (alone.count(REASONS[language]), alone.count(REASONS[other])) == (1, 0)
    assert f'href="#decision-{decision_id}"' in past.text
    assert f'id="decision-{decision_id}"' in past.text
    # When it is over, what led there tells it.
    await desk.execute(
        "UPDATE rollout_holds SET lifted_at = now(), lifted_by = 'somebody', lift_reason = 'mended' "
        "WHERE tenant_id = %s",
        tenant_id,
    )
    assert words(await reader.get(f"/rollout/{tenant_id}/past")).count(REASONS[language]) == 1


async def test_verdict_that_says_the_same_is_pointed_at(desk: RolloutDesk, http: httpx.AsyncClient) -> None:
    tenant_id, _ = await desk.ready_tenant()
    await decide_hold(desk.owner, tenant_id)
    await desk.owner.execute(
        "INSERT INTO monitor_verdicts (subject_kind, subject, trigger, tenant_id, verdict, since, evaluated_at, "
        "latches, assessments, sentences, actions, score) VALUES ('tenant', %(tenant)s::UUID::TEXT, 'T1', "
        "%(tenant)s::UUID, 'high', now(), now(), '{}', '[]', %(sentences)s, '{}', 1)",
        {"tenant": str(tenant_id), "sentences": json.dumps(REASONS)},
    )
    reader = await console_browser.sign_in(http, desk.owner, Role.OWNER, language="tr")
    page = await reader.get(f"/rollout/{tenant_id}")
    assert words(page).count(REASONS["tr"]) == 1
    assert "Nedeni: T1 hükmü" in words(page)


async def test_reason_that_is_known_in_one_language_alone_is_a_quotation(
    desk: RolloutDesk, http: httpx.AsyncClient
) -> None:
    tenant_id, _ = await desk.ready_tenant()
    await decide_hold(desk.owner, tenant_id, with_reasons=False)
    reader = await console_browser.sign_in(http, desk.owner, Role.OWNER, language="tr")
    page = await reader.get(f"/rollout/{tenant_id}")
    assert f'<q class="break" lang="en">{REASONS["en"]}</q>' in page.text


def test_reason_that_fits_stays_as_it_is() -> None:
    assert cut_reason("why") == "why"
    assert cut_reason("x" * REASON_LENGTH_MAX) == "x" * REASON_LENGTH_MAX


def test_long_reason_is_cut_after_a_word() -> None:
    cut = cut_reason("seven words, " * 60)
    assert len(cut) <= REASON_LENGTH_MAX
    assert cut.endswith("seven…")
    assert cut_reason("x" * 600) == "x" * (REASON_LENGTH_MAX - 1) + "…"
    # The last word is whole when it just fits.
    assert cut_reason("a" * 499 + " bcd") == "a" * 499 + "…"


def test_hold_keeps_the_short_reason_and_its_decision_the_whole() -> None:
    plan = HoldPlan(kind="hold", reasons={"en": "word " * 150, "tr": "söz " * 150})
    kept = plan.to_json()
    assert len(kept["reason"]) <= REASON_LENGTH_MAX
    assert kept["reason"].endswith("word…")
    assert kept["reasons"] == {"en": "word " * 150, "tr": "söz " * 150}


def details_in_the_code() -> set[str]:
    """Every fixed detail that a service or a rule writes about an event."""
    app = Path(told.__file__).parent.parent
    sources = [*(app / "services" / "payments").glob("*.py"), *(app / "domain" / "payments").glob("*.py")]
    written = "\n".join(path.read_text("utf-8") for path in sorted(sources))
    patterns = (
        r'\b(?:Applied|Outcome|Plan)\([^)]*?\b(?:detail|last_error)="([^"]+)"',
        r'applied_to\([^"()]*, "([^"]+)"\)',
        r'_found\([^"()]*, "([^"]+)"\)',
    )
    return {found for pattern in patterns for found in re.findall(pattern, written)}


def test_every_detail_of_a_webhook_has_words() -> None:
    found = details_in_the_code()
    assert {"known already", "no such payout", "pending at the provider", "another amount than was asked for"} <= found
    assert {each for each in found if told.key_of(each) not in text.catalogue("en")} == set()


@pytest.mark.parametrize(
    ("detail", "turkish"),
    [
        ("known already", [("Zaten biliniyordu", False)]),
        ("known already; success", [("Zaten biliniyordu", False), ("Başarılı", False)]),
        ("paid", [("Ödendi", False)]),
        ("stale_in_transit", [("Çok uzun süredir yolda", False)]),
        ("failed after success", [("Başarılı iken Başarısız", False)]),
        ("unknown: timeout", [("Sonuç bilinmiyor: timeout", False)]),
        ("ledger refused: INSUFFICIENT_FUNDS", [("Defter reddetti: INSUFFICIENT_FUNDS", False)]),
        ("OSError: <b>away</b>", [("OSError: <b>away</b>", True)]),
        ("morning after night", [("morning after night", True)]),
        # A word that the catalogue has for something else is none.
        ("title", [("title", True)]),
    ],
)
def test_detail_is_told_in_turkish_or_quoted(detail: str, turkish: list[tuple[str, bool]]) -> None:
    assert [tuple(said) for said in told.told(detail, language="tr")] == turkish
    assert not any(said.is_quoted for said in told.told(detail, language="en"))


@pytest.mark.parametrize("status", StatusClass)
@pytest.mark.parametrize("language", ["en", "tr"])
def test_every_status_of_a_payment_has_a_word(status: StatusClass, language: Language) -> None:
    (said,) = told.told(status.value, language=language)
    assert said.words != status.value


async def test_page_of_a_webhook_tells_its_detail_in_turkish(
    http: httpx.AsyncClient, owner: Owner, desk: RolloutDesk
) -> None:
    reader = await console_browser.sign_in(http, owner, Role.OWNER, language="tr")
    for detail, shown in (("known already", "Zaten biliniyordu"), ("odd <i>", '<q lang="en">odd &lt;i&gt;</q>')):
        cursor = await owner.execute(
            "INSERT INTO psp_events (id, provider, account_id, provider_event_id, signature_status, signature_result, "
            "state, event_type, effect, detail, headers, body, body_sha256, body_size, received_at) VALUES (uuid_v7(), "
            "'mockpsp', 'told', gen_random_uuid()::TEXT, 'valid', 'valid', 'applied', 'payout.paid', 'nothing_new', "
            "%s, '{}', '', ''::BYTEA, 0, now()) RETURNING id",
            (detail,),
        )
        row = await cursor.fetchone()
        assert row is not None
        assert shown in (await reader.get(f"/webhooks/{row[0]}")).text
        assert shown in (await reader.get("/webhooks")).text
