"""The served OpenAPI document, taken at its word by schemathesis: whatever is sent, the answer is one it describes."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import schemathesis
from hypothesis import HealthCheck
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from backend.app.api.tokens import Tokens
from backend.app.domain.identity import PlayerIdentity
from backend.tests.processes import ServeProcess, running_service

# A request that the schema allows may still be refused for a reason that no schema can say: an unknown tenant, a
# balance that does not suffice. Everything else that schemathesis checks must hold.
EXCLUDED = [positive_data_acceptance]
EXAMPLES_PER_OPERATION = 8


async def test_whatever_is_sent_the_answer_is_one_the_schema_describes(home: Path) -> None:
    async with running_service(home, arguments=("--demo", "--demo-quiet")) as service:
        tested = await asyncio.to_thread(try_every_operation, service.url, tokens_of_the_demo(service))
        assert tested >= 20
        assert '"request.crashed"' not in service.log


def try_every_operation(url: str, tokens: dict[str, str]) -> int:
    """Send what the schema allows and what it forbids to every operation; how many there were."""
    schema = schemathesis.openapi.from_url(f"{url}/schema/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    for operation in operations:
        who = "player" if "/player/wallet" in operation.path else "owner"
        try_operation(operation, headers={"Authorization": f"Bearer {tokens[who]}"})
    return len(operations)


def try_operation(operation: Any, *, headers: dict[str, str]) -> None:
    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=EXAMPLES_PER_OPERATION,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def attempt(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=EXCLUDED, timeout=20)

    attempt()


def tokens_of_the_demo(service: ServeProcess) -> dict[str, str]:
    """Tokens of the demo's owner and of its verified player."""
    with psycopg.connect(service.owner_url) as conn:
        owner = conn.execute("SELECT id FROM admins WHERE role = 'owner' LIMIT 1").fetchone()
        player = conn.execute(
            "SELECT tenant_id, id, currency FROM players WHERE kyc_status = 'verified' LIMIT 1"
        ).fetchone()
    assert owner is not None
    assert player is not None
    tokens, now = Tokens(ServeProcess.JWT_SECRET), datetime.now(UTC)
    return {
        "owner": tokens.issue_admin(owner[0], now=now),
        "player": tokens.issue_player(
            PlayerIdentity(tenant_id=player[0], player_id=player[1], currency=player[2]), now=now
        ),
    }
