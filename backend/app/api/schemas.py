"""What the API takes in and gives out, shared by several routes. Amounts are decimal strings in major units."""

from datetime import datetime
from typing import Annotated, Final, Generic, TypeVar
from uuid import UUID

import msgspec
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from backend.app.domain.ledger import Balance
from backend.app.domain.money import DECIMAL_PATTERN, format_amount

Item = TypeVar("Item")

# Anything but control characters: what PostgreSQL can store as text and a person can read back.
# `$` alone would also match before a final newline.
PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$(?!\n)"
Method = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=PRINTABLE, examples=["test_bank"])]
CurrencyCode = Annotated[str, msgspec.Meta(min_length=3, max_length=3, pattern=r"^[A-Z]{3}$", examples=["USD"])]
# An amount as it stood in the body, undecoded, so that a JSON number is judged by its digits (domain/money.py).
RawAmount = msgspec.Raw

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
OFFSET_MAX: Final = 1_000_000


class PageMeta(msgspec.Struct, kw_only=True):
    """Where a page stands in its list."""

    total: int
    limit: int
    offset: int


class Page(msgspec.Struct, Generic[Item], kw_only=True):
    """One page of a list."""

    items: list[Item]
    meta: PageMeta


class BalanceOut(msgspec.Struct, kw_only=True):
    """A wallet as the arbiter sees it."""

    currency: str
    available_real: str
    held_real: str
    total_real: str


class TransactionOut(msgspec.Struct, kw_only=True):
    """A deposit or a withdrawal."""

    id: UUID
    type: str
    amount: str
    currency: str
    state: str
    method: str
    idempotency_key: str
    provider: str | None
    provider_ref: str | None
    provider_event_id: str | None
    created_at: datetime
    updated_at: datetime
    address: str | None = None
    failure_code: str | None = None


class WalletAnswer(msgspec.Struct, kw_only=True):
    """What a deposit or a withdrawal request answers."""

    transaction: TransactionOut
    balance: BalanceOut


class AmountSchema(OpenAPISchemaPlugin):
    """How an undecoded amount is described in the OpenAPI document."""

    @staticmethod
    def is_plugin_supported_type(value: object) -> bool:
        """Whether the type is an undecoded JSON value; amounts are the only ones here."""
        return value is msgspec.Raw

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: object) -> Schema:  # noqa: ARG002
        """A decimal string, or a number that is exact at the currency's exponent."""
        return Schema(
            one_of=[
                Schema(type=OpenAPIType.STRING, pattern=DECIMAL_PATTERN, examples=["12.50"]),
                Schema(type=OpenAPIType.NUMBER, exclusive_minimum=0),
            ],
            description="Major units; exact at the currency's exponent.",
        )


def balance_out(balance: Balance) -> BalanceOut:
    """A balance in major units."""
    return BalanceOut(
        currency=balance.currency,
        available_real=format_amount(balance.available_minor, currency=balance.currency),
        held_real=format_amount(balance.held_minor, currency=balance.currency),
        total_real=format_amount(balance.total_minor, currency=balance.currency),
    )
