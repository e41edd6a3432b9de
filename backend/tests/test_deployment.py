"""What is shipped for those who watch: rules, dashboard and routes name what exists, and the rules do what they say."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import prometheus_client
import pytest
import typer.main
import yaml  # type: ignore[import-untyped]  # the library has no types

from backend.app import main, wiring
from backend.config import CHECKOUT
from backend.scripts.cli import app

DEPLOY: Final = CHECKOUT / "deploy"
RULES: Final = DEPLOY / "prometheus" / "rules" / "hakem.yml"
RULE_TESTS: Final = sorted((DEPLOY / "prometheus" / "tests").glob("*.test.yml"))
DASHBOARD: Final = DEPLOY / "grafana" / "rollout.json"
ALERTMANAGER: Final = DEPLOY / "alertmanager" / "alertmanager.yml"
ALERTS_PAGE: Final = CHECKOUT / "docs" / "alerts.md"

# What Prometheus makes itself.
OF_PROMETHEUS: Final = {"up", "ALERTS"}
# Metrics of parts that a build may not have yet, with their labels.
AGREED: Final[dict[str, set[str]]] = {
    "hakem_evidence_dropped_total": set(),
    "hakem_evidence_flushes_total": {"outcome"},
    "hakem_reconciliation_findings_open": {"finding_type", "severity", "age"},
    "hakem_reconciliation_success_timestamp_seconds": {"tenant", "provider"},
    "ledger_rollout_decisions_total": {"tenant", "arbiter", "agree"},
    "ledger_rollout_epoch": {"tenant"},
    "ledger_rollout_flag": {"flag"},
    "ledger_rollout_hold": {"tenant"},
    "ledger_rollout_last_evaluation_timestamp_seconds": set(),
    "ledger_rollout_score": {"tenant", "trigger"},
    "ledger_rollout_selftest_passed": set(),
    "ledger_rollout_stage": {"tenant", "stage"},
    "ledger_rollout_verdict": {"tenant", "trigger", "verdict"},
}
# Commands of such parts.
AGREED_COMMANDS: Final = {"flags", "rollout", "reconcile"}

# PromQL, as far as needed to find the names in it.
STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
LABEL: Final = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
NAME: Final = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
WORDS: Final = {"and", "or", "unless", "bool", "offset"}
# A command of ours as prose writes it.
COMMAND: Final = re.compile(r"\bhakem ((?:[a-z]+\b ?)+)")


@cache
def rules() -> list[dict[str, Any]]:
    """All rules, in order."""
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def alert_names() -> list[str]:
    return [rule["alert"] for rule in alerts()]


@cache
def metrics() -> dict[str, set[str]]:
    """Names of series with their labels: of the product's registry, of parts to come, of Prometheus, of recordings."""
    for module in (main, wiring):
        assert module.__file__, "importing the application registers its metrics"
    found = dict(AGREED)
    for family in prometheus_client.REGISTRY.collect():
        collector = prometheus_client.REGISTRY._names_to_collectors[family.name]
        labels = set(getattr(collector, "_labelnames", ()))
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        for suffix in suffixes:
            found[f"{family.name}{suffix}"] = labels | ({"le"} if suffix == "_bucket" else set())
    recordings = {rule["record"] for rule in rules() if "record" in rule}
    return found | {name: set() for name in OF_PROMETHEUS | recordings}


def named_metrics(expression: str) -> set[str]:
    """The series that an expression asks for."""
    bare = STRING.sub('""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", GROUPING.sub("", bare))
    bare = re.sub(r"\boffset\s+\w+", "", bare)
    return {name for name in NAME.findall(bare) if name not in WORDS}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Where an expression stands, and the expression."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in json.loads(DASHBOARD.read_text("utf-8"))["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (tenant) (increase(a_total{b="c_total"}[1h])) > 3', {"a_total"}),
        ("x:y:z / on (le) group_left () (other > 20) unless on (t) e offset 1d", {"x:y:z", "other", "e"}),
        ("histogram_quantile(0.99, sum by (le) (rate(s_bucket[5m]))) and absent(q) or vector(0)", {"s_bucket", "q"}),
        ("time() - max(ts) > 1e3 and 2 * f == bool 1", {"ts", "f"}),
    ],
)
def test_names_are_found_in_expressions(expression: str, names: set[str]) -> None:
    assert named_metrics(expression) == names


def test_every_metric_that_is_asked_for_exists() -> None:
    assert "hakem_payouts_unknown_oldest_seconds" in metrics()
    missing = [
        f"{place}: {name}" for place, each in expressions() for name in named_metrics(each) if name not in metrics()
    ]
    assert missing == []


def test_every_label_that_is_asked_for_exists() -> None:
    wrong: list[str] = []
    # The scrape adds job and instance; a metric's own label job becomes exported_job.
    added = {"job", "instance", "exported_job"}
    for place, expression in expressions():
        for name, selector in SELECTOR.findall(expression):
            known = metrics()[name]
            if not known:
                continue
            asked = set(LABEL.findall(STRING.sub('""', selector)))
            wrong.extend(f"{place}: {name}{{{label}}}" for label in sorted(asked - known - added))
    assert wrong == []


def test_agreed_metrics_are_as_they_were_agreed() -> None:
    """A part that has come has the labels that rules and dashboard count on."""
    for family in prometheus_client.REGISTRY.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name in AGREED:
            assert metrics()[name] == AGREED[name], name


@pytest.mark.parametrize("rule", alerts(), ids=alert_names())
def test_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["labels"]["severity"] in {"page", "ticket", "info"}
    assert set(rule["annotations"]) == {"summary", "summary_tr", "description", "runbook_url"}
    assert all(rule["annotations"].values())
    assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{name.lower()}"


def test_every_alert_has_its_section_and_no_section_is_left_over() -> None:
    sections = re.findall(r"^### (\w+)$", ALERTS_PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(sections) == sorted(alert_names())
    assert len(set(sections)) == len(sections)


def test_commands_that_people_are_told_to_type_exist() -> None:
    known: Any = typer.main.get_command(app)
    texts = [text for rule in alerts() for text in rule["annotations"].values()]
    pages = [ALERTS_PAGE.read_text("utf-8"), (CHECKOUT / "docs" / "detection.md").read_text("utf-8")]
    wrong = []
    for text in [*texts, *re.findall(r"`(hakem [^`]+)`", "\n".join(pages))]:
        for words in COMMAND.findall(text):
            group: Any = known
            for word in words.split():
                if not hasattr(group, "commands"):
                    break
                if group is known and word in AGREED_COMMANDS - set(group.commands):
                    break
                if word not in group.commands:
                    wrong.append(f"hakem {words}")
                    break
                group = group.commands[word]
    assert wrong == []


def test_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert dashboard["uid"] == "hakem-rollout"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells
    assert all(panel["description"] for panel in panels())


def test_alertmanager_knows_its_receivers_and_the_alerts_it_silences() -> None:
    config = yaml.safe_load(ALERTMANAGER.read_text("utf-8"))
    receivers = {receiver["name"] for receiver in config["receivers"]}

    def routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield route
        for each in route.get("routes", ()):
            yield from routes(each)

    assert {route["receiver"] for route in routes(config["route"])} == receivers
    for inhibition in config["inhibit_rules"]:
        for matcher in (*inhibition["source_matchers"], *inhibition["target_matchers"]):
            operator, pattern = re.fullmatch(r'alertname(=~|=|!=)"(.+)"', matcher).groups()  # type: ignore[union-attr]
            alternatives = pattern.split("|") if operator == "=~" and "(" not in pattern else [pattern]
            for each in alternatives:
                assert any(re.fullmatch(each, name) for name in alert_names()), matcher
    for pattern in config["templates"]:
        assert list(ALERTMANAGER.parent.glob(pattern))


def test_prometheus_loads_the_rules() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    loaded = {path for pattern in config["rule_files"] for path in (DEPLOY / "prometheus").glob(pattern)}
    assert RULES in loaded
    # HakemDown and HakemAbsent ask for the job by this name.
    assert "hakem" in {job["job_name"] for job in config["scrape_configs"]}


def test_every_alert_is_seen_firing_in_a_test() -> None:
    fired = set()
    for path in RULE_TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            fired |= {each["alertname"] for each in test.get("alert_rule_test", ()) if each.get("exp_alerts")}
            for each in test.get("promql_expr_test", ()):
                if each.get("exp_samples"):
                    fired |= set(re.findall(r'alertname="(\w+)"', each["expr"]))
    assert sorted(set(alert_names()) - fired) == []


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus's own judge of rules; of a machine without it the other tests have to do."""
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian, Ubuntu: apt-get install prometheus; or PROMTOOL=/path/to/it)")
    return Path(found)


def test_promtool_accepts_rules_and_configuration(promtool: Path) -> None:
    checked = subprocess.run(
        [promtool, "check", "config", DEPLOY / "prometheus" / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_rules_do_what_their_tests_say(promtool: Path, path: Path) -> None:
    tested = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False, timeout=120)
    assert tested.returncode == 0, tested.stdout + tested.stderr
