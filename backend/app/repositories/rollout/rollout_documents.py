"""What the rollout's functions take as JSON: who acts, and the facts that are kept with a flip."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app.domain.audit import Actor
from backend.app.domain.rollout.gates import Gate


def actor_document(actor: Actor) -> Jsonb:
    """An actor as the functions take it."""
    return Jsonb(
        {
            "kind": actor.kind.value,
            "id": None if actor.actor_id is None else str(actor.actor_id),
            "label": actor.label,
            "request_id": actor.request_id,
            "client_address": actor.client_address,
        }
    )


def facts_document(
    *,
    waived: Collection[Gate] = (),
    gates: Sequence[dict[str, Any]] | None = None,
    fence_waited_ms: int | None = None,
    is_automatic: bool = False,
    decision_id: UUID | None = None,
) -> Jsonb:
    """What is kept with a flip beside who, why and when."""
    facts: dict[str, Any] = {"is_automatic": is_automatic, "waived_gates": sorted(waived)}
    if gates is not None:
        facts["gates"] = gates
    if fence_waited_ms is not None:
        facts["fence_waited_ms"] = fence_waited_ms
    if decision_id is not None:
        facts["decision_id"] = str(decision_id)
    return Jsonb(facts)
