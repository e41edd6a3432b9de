"""`make docs`: writes the table of metrics in docs/metrics.md from what the code declares.

The last column, what to do when a metric moves, is written by people and kept.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from backend.config import CHECKOUT
from backend.scripts.write_error_codes import declared_refusals

DOCUMENT: Final = CHECKOUT / "docs" / "metrics.md"
TABLE: Final = re.compile(r"(?<=<!-- metrics: make docs -->\n).*?(?=<!-- end of metrics -->)", re.DOTALL)
ROW: Final = re.compile(r"^\| `(\w+)` \|(?:[^|]*\|){3} ?(.*?) ?\|$", re.MULTILINE)
HEAD: Final = ("| metric | type | labels | means | when it moves |", "|---|---|---|---|---|")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredMetric:
    """A metric of ours by the name that Prometheus shows."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def main() -> None:
    """Write the table in place."""
    document = DOCUMENT.read_text("utf-8")
    advice = advice_in(document)
    DOCUMENT.write_text(TABLE.sub(lambda _: table(advice), document), "utf-8")
    print(f"wrote {DOCUMENT}")


def table(advice: Mapping[str, str]) -> str:
    """The table in Markdown, sorted by name, with this advice in its last column."""
    rows = (
        f"| `{metric.name}` | {metric.type} | {', '.join(metric.labels) or '–'} | {metric.meaning} | "
        f"{advice.get(metric.name, '')} |"
        for metric in declared_metrics()
    )
    return "\n".join((*HEAD, *rows, ""))


def advice_in(document: str) -> dict[str, str]:
    """The last column of the table that stands in the document, by the metric's name."""
    found = TABLE.search(document)
    return {} if found is None else dict(ROW.findall(found[0]))


def declared_metrics() -> list[DeclaredMetric]:
    """Every metric that a module of the application declares."""
    # Whoever looks for all refusals has imported every module.
    declared_refusals()
    return sorted(_collected(), key=lambda metric: metric.name)


def _collected() -> Iterator[DeclaredMetric]:
    # The registry names no labels of a metric that nobody has counted yet, so the collectors themselves are asked;
    # those of the Python process are of other kinds.
    for collector in list(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            (described,) = collector.describe()
            yield DeclaredMetric(
                name=described.name + ("_total" if described.type == "counter" else ""),
                type=described.type,
                labels=tuple(collector._labelnames),
                meaning=described.documentation.replace("|", r"\|"),
            )


if __name__ == "__main__":
    main()
