"""Webhooks beside withdrawals: how long a provider waits for its answer, and how fast the inbox drains."""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
import psycopg

from backend.app.domain.tenant import account_id_of
from bench.context import Context
from bench.http_load import LoadPlan, LoadReport
from bench.measure import Measurement, Outcome, shares
from bench.serving import Serving
from bench.webhook_load import WebhookPlan
from bench.workload import CURRENCY, PLAYERS, TENANT, Spread

DELIVERIES_PER_SECOND: Final = 200.0
WITHDRAWALS_PER_SECOND: Final = 200.0
CLIENTS: Final = 64
AMOUNT_MINOR: Final = 1_000
SECRET: Final = "whsec_YmVuY2gtb25seS1zZWNyZXQtb2YtMzItYnl0ZXMhISE="
GRACE_SECONDS: Final = 60.0
WARM_UP_SECONDS: Final = 1.0

INSERT_ACCOUNT: Final = "INSERT INTO psp_accounts (provider, account_id, tenant_id) VALUES ('mockpsp', %s, %s)"
INSERT_DEPOSITS: Final = """
INSERT INTO deposits (
    id, tenant_id, player_id, amount, currency, state, method, provider, idempotency_key, request_hash, created_at,
    updated_at
)
SELECT
    ('01900000-0000-7000-9000-' || lpad(to_hex(series.number), 12, '0'))::UUID,
    %(tenant_id)s,
    ('01900000-0000-7000-8000-' || lpad(to_hex(1 + (series.number - 1) %% %(players)s), 12, '0'))::UUID,
    %(amount)s,
    %(currency)s,
    'pending_provider',
    'test',
    'mockpsp',
    'webhook-' || series.number,
    sha256(series.number::TEXT::BYTEA),
    now(),
    now()
FROM generate_series(1, %(deposits)s) AS series (number)
"""


def measure(context: Context) -> list[Measurement]:
    """Both loads at their paces, after a second of each that is not counted; then the wait until the inbox is empty."""
    urls = context.server.clone("webhook")
    with psycopg.connect(urls.owner, autocommit=True) as owner, tempfile.TemporaryDirectory() as folder:
        _load_deposits(owner, deposits=int(DELIVERIES_PER_SECOND * (context.seconds + WARM_UP_SECONDS)) + 1)
        environment = {
            "DATABASE_URL": urls.service,
            "DATABASE_OWNER_URL": urls.owner,
            "WEBHOOK_SECRET_MOCKPSP": SECRET,
            "WEBHOOK_SIGNATURE_ENFORCED": "True",
        }
        with Serving(Path(folder) / "home", environment=environment) as serving:
            _run(serving, owner, seconds=WARM_UP_SECONDS, delivered=0)
            delivered, asked, waiting, drained_seconds = _run(
                serving, owner, seconds=context.seconds, delivered=int(DELIVERIES_PER_SECOND * WARM_UP_SECONDS)
            )
    return [
        _line(
            f"webhooks at {DELIVERIES_PER_SECOND:,.0f}/s",
            delivered,
            note=f"{waiting} not applied at the last answer, none {drained_seconds:.2f} s later",
        ),
        _line(f"beside them withdrawals at {WITHDRAWALS_PER_SECOND:,.0f}/s", asked),
    ]


def _run(
    serving: Serving, owner: psycopg.Connection, *, seconds: float, delivered: int
) -> tuple[LoadReport, LoadReport, int, float]:
    """Deliveries and withdrawals; how many were not applied at the last answer, and how long that took then."""
    withdrawals = _start(
        "bench.http_load",
        LoadPlan(
            url=serving.url,
            jwt_secret=serving.jwt_secret,
            spread=Spread.UNIFORM.value,
            run=f"webhook{delivered}",
            clients=CLIENTS,
            seconds=seconds,
            per_second=WITHDRAWALS_PER_SECOND,
        ),
    )
    deliveries = _start(
        "bench.webhook_load",
        WebhookPlan(
            url=serving.url,
            secret=SECRET,
            account_id=account_id_of(TENANT),
            amount_minor=AMOUNT_MINOR,
            per_second=DELIVERIES_PER_SECOND,
            seconds=seconds,
            delivered=delivered,
        ),
    )
    answered = _report(deliveries, seconds=seconds)
    waiting = _waiting(owner)
    drained_seconds = _drain(owner)
    return answered, _report(withdrawals, seconds=seconds), waiting, drained_seconds


def _load_deposits(owner: psycopg.Connection, *, deposits: int) -> None:
    owner.execute(INSERT_ACCOUNT, (account_id_of(TENANT), TENANT))
    owner.execute(
        INSERT_DEPOSITS,
        {
            "tenant_id": TENANT,
            "players": PLAYERS,
            "amount": AMOUNT_MINOR,
            "currency": CURRENCY,
            "deposits": deposits,
        },
    )
    owner.execute("ANALYZE deposits")


def _start(module: str, plan: LoadPlan | WebhookPlan) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None, "it was opened as a pipe"
    process.stdin.write(msgspec.json.encode(plan))
    process.stdin.close()
    # communicate() would write to it again.
    process.stdin = None
    return process


def _report(process: subprocess.Popen[bytes], *, seconds: float) -> LoadReport:
    try:
        printed, _ = process.communicate(timeout=seconds + GRACE_SECONDS)
    finally:
        process.kill()
    return msgspec.json.decode(printed, type=LoadReport)


def _waiting(owner: psycopg.Connection) -> int:
    row = owner.execute("SELECT count(*) FROM psp_events WHERE state <> 'applied'").fetchone()
    assert row is not None, "a count returns a row"
    return int(row[0])


def _drain(owner: psycopg.Connection) -> float:
    """Seconds until everything is applied."""
    started_at = time.perf_counter()
    while _waiting(owner):
        if time.perf_counter() - started_at > GRACE_SECONDS:
            raise RuntimeError(f"{_waiting(owner)} events are still not applied")
        time.sleep(0.01)
    return time.perf_counter() - started_at


def _line(name: str, report: LoadReport, *, note: str = "") -> Measurement:
    return Measurement(
        group="webhook",
        name=name,
        events_per_second=report.per_second,
        latencies_ms=report.latencies_ms,
        shares=shares(Counter({Outcome(key): count for key, count in report.outcomes.items()})),
        note="; ".join(part for part in (note, report.first_failure) if part),
    )
