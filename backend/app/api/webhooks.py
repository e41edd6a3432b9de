"""Where providers deliver. No token: what a delivery is worth its signature says."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, Router, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.params import PathParameter

from backend.app.api.guards import request_id_of
from backend.app.api.responses import problems
from backend.app.domain.errors import AppError
from backend.app.domain.payments.psp_account import ACCOUNT_ID_LENGTH_MAX
from backend.app.domain.payments.psp_delivery import Delivery, UnknownProvider
from backend.app.services.payments.psp_inbox import PspInbox
from backend.app.services.payments.webhooks import Webhooks

AnyRequest = Request[Any, Any, Any]

# More than any provider sends: Adyen's largest notifications are some ten times smaller.
BODY_BYTES_MAX: Final = 256 * 1024
HEADERS_MAX: Final = 100

Provider = Annotated[str, PathParameter(description="The provider's name: mockpsp, stripe or adyen")]
AccountId = Annotated[str, PathParameter(description="The account at the provider that the delivery is for")]


class IncompleteBody(AppError):
    """400: the connection ended before the body did."""

    error_code = "INCOMPLETE_BODY"
    status = 400
    title = "The body is not complete"


class Accepted(msgspec.Struct, kw_only=True):
    """The delivery is kept, now or since it came first."""

    status: Literal["accepted"] = "accepted"
    duplicate: bool


@post(
    "/{provider:str}",
    status_code=200,
    request_max_body_size=BODY_BYTES_MAX,
    responses=problems(400, 401, 404, 413),
    summary="Deliver a webhook",
)
async def post_webhook(
    request: AnyRequest,
    provider: Provider,
    webhook_intake: NamedDependency[Webhooks],
    inbox: NamedDependency[PspInbox],
) -> Response[Accepted]:
    """Take a delivery of any content type; the account is found by what the body says and proven by its secret."""
    return await _receive(request, webhook_intake, inbox, provider=provider, account_id=None)


@post(
    "/{provider:str}/{account_id:str}",
    status_code=200,
    request_max_body_size=BODY_BYTES_MAX,
    responses=problems(400, 401, 404, 413),
    summary="Deliver a webhook for an account",
)
async def post_account_webhook(
    request: AnyRequest,
    provider: Provider,
    account_id: AccountId,
    webhook_intake: NamedDependency[Webhooks],
    inbox: NamedDependency[PspInbox],
) -> Response[Accepted]:
    """The same, signed with the secret of the account in the address."""
    if len(account_id) > ACCOUNT_ID_LENGTH_MAX or not account_id.isprintable():
        raise UnknownProvider
    return await _receive(request, webhook_intake, inbox, provider=provider, account_id=account_id)


async def _receive(
    request: AnyRequest, webhook_intake: Webhooks, inbox: PspInbox, *, provider: str, account_id: str | None
) -> Response[Accepted]:
    receipt = await webhook_intake.receive(
        Delivery(
            provider=provider,
            account_id=account_id,
            raw_body=await _read_body(request),
            headers=_headers(request),
            request_id=request_id_of(request),
            received_at=datetime.now(UTC),
            source_address=None if request.client is None else request.client.host,
        )
    )
    # Applied after the answer; a process that dies before that leaves it to the next.
    return Response(
        Accepted(duplicate=receipt.is_duplicate), background=BackgroundTask(inbox.apply_soon, receipt.event_id)
    )


async def _read_body(request: AnyRequest) -> bytes:
    """The body as it came, no further than the route's limit. Raises IncompleteBody."""
    try:
        return await request.body()
    except InternalServerException:
        # The framework's word for a client that has gone: nobody reads the answer, and nothing of ours is broken.
        raise IncompleteBody from None


def _headers(request: AnyRequest) -> dict[str, str]:
    """Names in lower case; several values of one name are joined, so that nothing can hide behind the first."""
    headers: dict[str, list[str]] = {}
    for name, value in islice(request.scope["headers"], HEADERS_MAX):
        values = headers.setdefault(name.decode("latin-1").lower(), [])
        if (text := value.decode("latin-1")) not in values:
            values.append(text)
    return {name: ", ".join(values) for name, values in headers.items()}


router: Final = Router("/payments/webhook", route_handlers=[post_webhook, post_account_webhook], tags=["webhooks"])
