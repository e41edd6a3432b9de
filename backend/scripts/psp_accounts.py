"""`hakem psp accounts`: which accounts at providers tenants have, and which secrets sign for them."""

import asyncio
from typing import Annotated, Final
from uuid import UUID

import typer

from backend.app.domain.payments.psp_account import AccountKey, parse_account_id, parse_secret_name
from backend.app.services.payments.psp_accounts import PspAccounts
from backend.config import Settings
from backend.scripts.connection import open_database, operator

PAGE: Final = 500

app = typer.Typer(help="Payment service providers.", no_args_is_help=True)
accounts = typer.Typer(help="Accounts of tenants at providers.", no_args_is_help=True)
app.add_typer(accounts, name="accounts")

Provider = Annotated[str, typer.Argument(help="mockpsp, stripe or adyen.")]
AccountId = Annotated[str, typer.Argument(help="The provider's own name for the account.")]
SecretName = Annotated[
    str | None,
    typer.Option(
        "--secret-name",
        help="What follows WEBHOOK_SECRET_ in the environment of the service, such as ACME; "
        "left out: the secret that all accounts at MockPSP share.",
    ),
]


@accounts.command("list")
def list_(tenant_id: Annotated[UUID | None, typer.Option(help="Only this tenant's.")] = None) -> None:
    """Print a line for each account: provider, account, tenant, name of its secret."""
    asyncio.run(_list(tenant_id))


@accounts.command()
def add(
    provider: Provider,
    account_id: AccountId,
    tenant_id: Annotated[UUID, typer.Option(help="Whose account it is.")],
    secret_name: SecretName = None,
) -> None:
    """Give a tenant an account. The secret itself is never asked for: it stays in the environment."""
    key = AccountKey(provider, parse_account_id(account_id, field="account_id"))
    asyncio.run(_add(tenant_id, key, secret_name=_parse(secret_name)))
    print(f"added {key.account_id} at {key.provider} tenant_id={tenant_id}")


@accounts.command()
def set_secret(provider: Provider, account_id: AccountId, secret_name: SecretName = None) -> None:
    """Name the secret that an account is signed with."""
    key = AccountKey(provider, parse_account_id(account_id, field="account_id"))
    asyncio.run(_set_secret(key, secret_name=_parse(secret_name)))
    print(f"{key.account_id} at {key.provider} secret_name={secret_name or '(shared)'}")


def _parse(secret_name: str | None) -> str | None:
    return None if secret_name is None else parse_secret_name(secret_name, field="--secret-name")


async def _list(tenant_id: UUID | None) -> None:
    async with open_database(Settings.load()) as database:
        after = AccountKey("", "")
        while page := await PspAccounts(database).list_page(tenant_id, after=after, limit=PAGE):
            for account in page:
                print(account.provider, account.account_id, account.tenant_id, account.secret_name or "(shared)")
            after = AccountKey(page[-1].provider, page[-1].account_id)


async def _add(tenant_id: UUID, key: AccountKey, *, secret_name: str | None) -> None:
    async with open_database(Settings.load()) as database:
        await PspAccounts(database).add(tenant_id, key=key, secret_name=secret_name, actor=operator())


async def _set_secret(key: AccountKey, *, secret_name: str | None) -> None:
    async with open_database(Settings.load()) as database:
        await PspAccounts(database).set_secret_name(key, secret_name=secret_name, actor=operator())
