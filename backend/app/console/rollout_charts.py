"""What the rollout's pages draw: a sparkline as a path, and the numbers of charts as charts.js takes them. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from backend.app.console import text
from backend.app.console.text import Language
from backend.app.domain.desk.rollout_desk import DeliveryStep, SideSums, Step, TenantPast
from backend.app.domain.money import CURRENCY_EXPONENTS

Timed = TypeVar("Timed", Step, DeliveryStep)

# A sparkline's own units; a bar for each value, and one unit between two.
SPARK_HEIGHT: Final = 20
SPARK_BAR: Final = 3
SPARK_STEP: Final = 4
# The smallest bar that is seen.
SPARK_LEAST: Final = 2
# Fewer censuses are no line.
SUMS_MIN: Final = 2


def spark_path(values: Sequence[int]) -> str:
    """Bars from the lower edge, the largest as high as the picture; nothing at all for zeros."""
    largest = max(values, default=0)
    bars = []
    for place, value in enumerate(values):
        if value > 0:
            height = max(SPARK_LEAST, round(SPARK_HEIGHT * value / largest))
            bars.append(f"M{place * SPARK_STEP} {SPARK_HEIGHT}v-{height}h{SPARK_BAR}v{height}z")
    return "".join(bars)


def mismatch_chart(past: TenantPast, *, step: timedelta, language: Language) -> str:
    """Confirmed mismatches, step by step."""
    return _steps(past, past.steps, step, {text.text(language, "rollout.mismatches"): lambda each: each.mismatches})


def refusal_chart(past: TenantPast, *, step: timedelta, language: Language) -> str:
    """Refusals: those that both sides agree on, and those that they do not."""
    series: dict[str, Callable[[Step], int]] = {
        text.text(language, "rollout.refused.genuine"): lambda each: each.both_refused,
        text.text(language, "rollout.refused.disputed"): lambda each: each.disputed,
    }
    return _steps(past, past.steps, step, series)


def delivery_chart(past: TenantPast, *, step: timedelta, language: Language) -> str | None:
    """Webhooks that were refused; None for who may not see them."""
    if past.deliveries is None:
        return None
    series: dict[str, Callable[[DeliveryStep], int]] = {
        text.text(language, "rollout.webhooks.rejected"): lambda each: each.rejected
    }
    return _steps(past, past.deliveries, step, series)


def sums_chart(sums: Sequence[SideSums], *, language: Language) -> str | None:
    """Both sides' sums from census to census, of the currency that most players have; None when there are too few."""
    if not sums:
        return None
    currency = sums[0].currency
    lines = [each for each in reversed(sums) if each.currency == currency]
    if len(lines) < SUMS_MIN:
        return None
    unit = 10 ** CURRENCY_EXPONENTS.get(currency, 0)
    return _encoded(
        [f"{each.finished_at:%d.%m. %H:%M}" for each in lines],
        [
            # For drawing only; the table beside it has the exact amounts.
            {"name": text.text(language, "rollout.sum.legacy"), "values": [each.legacy / unit for each in lines]},
            {"name": text.text(language, "rollout.sum.ledger"), "values": [each.folded / unit for each in lines]},
        ],
        currency=currency,
    )


def _steps(past: TenantPast, found: Sequence[Timed], step: timedelta, series: dict[str, Callable[[Timed], int]]) -> str:
    """Bars over the whole time; where nothing was counted there is a zero."""
    by_at = {each.at: each for each in found}
    moments = _moments(past.since, past.until, step)
    return _encoded(
        [f"{moment:%H:%M}" for moment in moments],
        [
            {
                "name": name,
                "type": "bar",
                "stack": "all",
                "values": [value_of(by_at[moment]) if moment in by_at else 0 for moment in moments],
            }
            for name, value_of in series.items()
        ],
    )


def _moments(since: datetime, until: datetime, step: timedelta) -> list[datetime]:
    seconds = int(step.total_seconds())
    first = since - timedelta(seconds=since.timestamp() % seconds)
    return [first + step * place for place in range(int((until - first) / step) + 1)]


def _encoded(labels: list[str], series: list[dict[str, Any]], **more: str) -> str:
    return msgspec.json.encode({"labels": labels, "series": series, **more}).decode()
