"""docs/metrics.md names every metric and alert, and says what to do about each."""

import re
from typing import Final

import httpx

from backend.config import CHECKOUT
from backend.scripts import write_metrics

RULES: Final = CHECKOUT / "deploy" / "prometheus"
ALERTS: Final = CHECKOUT / "docs" / "alerts.md"
ALERT: Final = re.compile(r"^\s*-?\s*alert:\s*(\w+)", re.MULTILINE)
WITHDRAW: Final = "/api/v1/player/wallet/withdraw"


def page() -> str:
    return write_metrics.DOCUMENT.read_text("utf-8")


def test_table_is_what_the_code_declares() -> None:
    table = write_metrics.TABLE.search(page())
    assert table is not None
    assert table[0] == write_metrics.table(write_metrics.advice_in(page())), "run `make docs`"


def test_each_metric_says_what_to_do() -> None:
    advice = write_metrics.advice_in(page())
    without = [metric.name for metric in write_metrics.declared_metrics() if not advice.get(metric.name)]
    assert without == [], "write their last column in docs/metrics.md"


def test_every_metric_that_is_named_anywhere_exists() -> None:
    declared = {metric.name: metric.type for metric in write_metrics.declared_metrics()}
    parts = {f"{name}_{part}" for name, kind in declared.items() if kind == "histogram" for part in ("bucket", "count")}
    named = {
        (document.name, name)
        for document in (CHECKOUT / "docs").glob("*.md")
        for name in re.findall(
            r"\b(?:hakem_(?:http|group|job|jobs|psp|census)|ledger_balance)_\w+", document.read_text("utf-8")
        )
        # The flag, not the metric.
        if name not in {"ledger_balance_mismatch_log", "ledger_balance_mismatch"}
    }
    assert {each for each in named if each[1] not in declared and each[1] not in parts} == set()


async def test_questions_ask_for_labels_that_are_shown(http: httpx.AsyncClient) -> None:
    await http.post(WITHDRAW)
    shown = (await http.get("/metrics")).text
    for name in ("hakem_http_requests_total", "hakem_http_request_seconds_bucket"):
        assert re.search(rf'^{name}{{[^}}]*route="{WITHDRAW}"', shown, re.MULTILINE), name
    assert f'route="{WITHDRAW}"' in page()


def test_each_alert_has_an_entry_and_each_entry_an_alert() -> None:
    """The rules come with the monitor; from then on their entries stand in docs/alerts.md."""
    rules = "".join(path.read_text("utf-8") for path in sorted(RULES.rglob("*.y*ml")) if "tests" not in path.parts)
    entries = "".join(path.read_text("utf-8") for path in (write_metrics.DOCUMENT, ALERTS) if path.exists())
    assert sorted(re.findall(r"^### (\w+)$", entries, re.MULTILINE)) == sorted(set(ALERT.findall(rules)))
