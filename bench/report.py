"""The table: on the terminal, and between two markers of RESULTS.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from bench.measure import Measurement, Outcome

RESULTS: Final = Path(__file__).parent / "RESULTS.md"
BEGIN: Final = "<!-- written by python -m bench: begin -->"
END: Final = "<!-- written by python -m bench: end -->"
HEADER: Final = ("what", "events/s", "× TPC-B", "p50 ms", "p99 ms", "p99.9 ms", "refused", "replayed", "failed", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The lines of one driver, and what TPC-B reached right before and after them."""

    title: str
    tpcb_per_second: float
    lines: Sequence[Measurement]
    skipped: str = ""


def table(section: Section) -> str:
    """A section as Markdown."""
    if section.skipped:
        return f"### {section.title}\n\n{section.skipped}.\n"
    rows = [_cells(line, section.tpcb_per_second) for line in section.lines]
    used = [number for number in range(len(HEADER)) if number == 0 or any(row[number] for row in rows)]
    lines = [
        f"### {section.title}",
        "",
        f"TPC-B before and after: {section.tpcb_per_second:,.0f}/s.",
        "",
        "| " + " | ".join(HEADER[number] for number in used) + " |",
        "|" + "|".join("---" if number in (0, len(HEADER) - 1) else "--:" for number in used) + "|",
        *("| " + " | ".join(row[number] for number in used) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def ratios(sections: Sequence[Section]) -> str:
    """The ratios that the targets are about, as far as both sides were measured."""
    wanted = [
        (
            "one event per call ÷ pgledger, one transfer per call",
            "≥ 1.5",
            _best(sections, "door", "one event per call, 16"),
            _best(sections, "peers", "pgledger, one"),
        ),
        (
            "best batched call ÷ pgledger's best",
            "≥ 2.5",
            _best(sections, "door", "events per call"),
            _best(sections, "peers", "pgledger"),
        ),
        (
            "64 events per call, 1 connection ÷ the same writes without decisions",
            "≥ 0.6",
            _best(sections, "door", "64 events per call, 1"),
            _best(sections, "ceiling", "64 per"),
        ),
        (
            "one event per call ÷ row locks from the client",
            "",
            _best(sections, "door", "one event per call, 16"),
            _best(sections, "naive", ""),
        ),
        ("writer, 64 in flight ÷ TPC-B", "≥ 2.8", _best(sections, "writer", "64 in flight, uniform"), 1.0),
        ("HTTP withdraw, 64 clients ÷ TPC-B", "≥ 0.8", _best(sections, "http", "64 clients, uniform"), 1.0),
    ]
    rows = [f"| {name} | {ours / theirs:.2f} | {target} |" for name, target, ours, theirs in wanted if ours and theirs]
    if not rows:
        return ""
    return "\n".join(["### Ratios", "", "| ratio | measured | wanted |", "|---|--:|--:|", *rows, ""])


def write(sections: Sequence[Section], *, facts: Sequence[str], today: date, path: Path = RESULTS) -> None:
    """Put the tables between the markers of RESULTS.md; the text around them is left alone."""
    text = path.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    body = "\n".join(
        [
            BEGIN,
            "",
            f"Measured {today.isoformat()}.",
            "",
            *(f"* {fact}" for fact in facts),
            "",
            ratios(sections),
            *(table(section) for section in sections),
            END,
        ]
    )
    path.write_text(head + body + tail, "utf-8")


def _best(sections: Sequence[Section], group: str, part: str) -> float:
    """The highest figure of a group's lines with this in their name, in units of the TPC-B of its moment."""
    return max(
        (
            (line.events_per_second or 0.0) / section.tpcb_per_second
            for section in sections
            for line in section.lines
            if line.group == group and part in line.name and section.tpcb_per_second
        ),
        default=0.0,
    )


def _cells(line: Measurement, tpcb_per_second: float) -> list[str]:
    rate = line.events_per_second
    latencies = [f"{value:.1f}" for value in line.latencies_ms] if line.latencies_ms else ["", "", ""]
    parts = [
        f"{line.shares[outcome]:.1%}" if outcome in line.shares else ("0" if line.shares else "")
        for outcome in (Outcome.REFUSED, Outcome.REPLAYED, Outcome.FAILED)
    ]
    ratio = f"{rate / tpcb_per_second:.2f}" if rate is not None and tpcb_per_second else ""
    return [line.name, f"{rate:,.0f}" if rate is not None else "", ratio, *latencies, *parts, line.note]
