"""What is counted of webhooks and the inbox. Labels are known providers and words of our own, nothing from outside."""

import time
from typing import Final

import prometheus_client
import structlog

from backend.app.domain.payments.psp_delivery import Delivery
from backend.app.psp.webhook import Verdict

log = structlog.get_logger()

# A flood of forgeries is one line in so many seconds for each provider and reason; the counter has them all.
SAMPLE_SECONDS: Final = 10.0

signature_total: Final = prometheus_client.Counter(
    "hakem_psp_webhook_signature", "Deliveries by what their signature is", ("provider", "result")
)
would_reject_total: Final = prometheus_client.Counter(
    "hakem_psp_webhook_would_reject", "Deliveries that enforcing signatures would turn away", ("provider", "result")
)
secret_total: Final = prometheus_client.Counter(
    "hakem_psp_webhook_secret", "Verified deliveries by the secret that signed them", ("provider", "label")
)
duplicate_total: Final = prometheus_client.Counter(
    "hakem_psp_webhook_duplicate", "Verified deliveries of an event that was stored before", ("provider", "body")
)
age_seconds: Final = prometheus_client.Histogram(
    "hakem_psp_webhook_age_seconds",
    "From what happened at the provider to its verified delivery here",
    ("provider",),
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 86_400, 604_800),
)
applied_total: Final = prometheus_client.Counter(
    "hakem_psp_inbox_applied", "Deliveries applied, by what came of them", ("provider", "state", "effect")
)
failed_total: Final = prometheus_client.Counter(
    "hakem_psp_inbox_failed", "Attempts to apply a delivery that failed", ("state",)
)
inbox_due: Final = prometheus_client.Gauge(
    "hakem_psp_inbox_due", "Deliveries due to be applied", multiprocess_mode="mostrecent"
)
inbox_oldest_seconds: Final = prometheus_client.Gauge(
    "hakem_psp_inbox_oldest_due_seconds", "How long the oldest of them is due", multiprocess_mode="mostrecent"
)
inbox_dead: Final = prometheus_client.Gauge(
    "hakem_psp_inbox_dead", "Deliveries that failed as often as they are tried", multiprocess_mode="mostrecent"
)

_sampled_at: Final[dict[tuple[str, str], float]] = {}


def count_verdict(delivery: Delivery, verdict: Verdict, *, is_enforced: bool) -> None:
    """Count a verdict; of those that are not valid, log a sample."""
    provider, result = delivery.provider, verdict.status.value
    signature_total.labels(provider, result).inc()
    if verdict.is_valid:
        assert verdict.secret_label is not None, "a valid delivery was signed with some secret"
        secret_total.labels(provider, verdict.secret_label.value).inc()
        return
    if not is_enforced:
        would_reject_total.labels(provider, result).inc()
    moment = time.monotonic()
    if moment - _sampled_at.get((provider, result), -SAMPLE_SECONDS) >= SAMPLE_SECONDS:
        _sampled_at[provider, result] = moment
        log.warning(
            "psp_webhook.not_verified",
            provider=provider,
            result=result,
            is_enforced=is_enforced,
            body_bytes=len(delivery.raw_body),
        )
