"""`hakem token`: a bearer token for somebody who exists, for whoever holds the service's secret anyway."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from backend.app.api.tokens import Tokens
from backend.app.domain.identity import PlayerIdentity
from backend.app.domain.ledger import PlayerNotFound
from backend.app.domain.people.admin import AdminNotFound
from backend.app.domain.people.email import parse_email
from backend.app.repositories import home
from backend.app.services.people.admins import Admins
from backend.app.services.people.passwords import Passwords
from backend.app.services.players import Players
from backend.config import Settings
from backend.scripts.connection import open_database


def token(
    email: Annotated[str, typer.Option(help="Whose token.")],
    player: Annotated[bool, typer.Option("--player", help="A player's, not an admin's.")] = False,
    tenant_id: Annotated[UUID | None, typer.Option(help="The player's tenant.")] = None,
) -> None:
    """Print a bearer token and nothing else."""
    if player != (tenant_id is not None):
        raise typer.BadParameter("a player is named with --tenant-id, an admin without", param_hint="--player")
    settings = home.with_dev_secrets(Settings.load())
    settings.ensure_startable()
    print(asyncio.run(_issue(settings, email=parse_email(email), tenant_id=tenant_id)))


async def _issue(settings: Settings, *, email: str, tenant_id: UUID | None) -> str:
    assert settings.jwt_secret is not None, "ensure_startable or with_dev_secrets has seen to it"
    tokens = Tokens(settings.jwt_secret.get_secret_value())
    now = datetime.now(UTC)
    async with open_database(settings) as database:
        if tenant_id is not None:
            players = Players(database, Passwords())
            player_id = await players.find_active_id(tenant_id, email=email)
            if player_id is None:
                raise PlayerNotFound(f"no active player of tenant {tenant_id} has the address {email}")
            player = await players.get(tenant_id, player_id=player_id)
            identity = PlayerIdentity(tenant_id=tenant_id, player_id=player_id, currency=player.currency)
            return tokens.issue_player(identity, now=now)
        admin_id = await Admins(database, Passwords()).find_active_id(email=email)
        if admin_id is None:
            raise AdminNotFound(f"no active admin has the address {email}")
        return tokens.issue_admin(admin_id, now=now)
