"""`hakem admin`: people who manage."""

import asyncio
import os
import sys
from typing import Annotated
from uuid import UUID

import typer

from backend.app.domain.identity import Role
from backend.app.domain.people.admin import Admin, CreateAdmin
from backend.app.domain.people.email import parse_email
from backend.app.domain.people.password import parse_password
from backend.app.services.people.admins import Admins
from backend.app.services.people.passwords import Passwords
from backend.config import Settings
from backend.scripts.connection import open_database, operator

app = typer.Typer(help="Admins: people who manage the platform or a tenant.", no_args_is_help=True)

PASSWORD_VARIABLE = "HAKEM_PASSWORD"


@app.callback()
def group() -> None:
    """Keeps `create` a command of its own while it is the only one."""


@app.command()
def create(
    email: Annotated[str, typer.Option(help="The address to sign in with.")],
    role: Annotated[Role, typer.Option(help="What the admin may do.")],
    tenant_id: Annotated[UUID | None, typer.Option(help="The admin's tenant; an owner has none.")] = None,
) -> None:
    """Make an admin. The password is read from HAKEM_PASSWORD, or asked for on the terminal."""
    if (role is Role.OWNER) != (tenant_id is None):
        raise typer.BadParameter("an owner has no tenant, everybody else has one", param_hint="--tenant-id")
    command = CreateAdmin(
        tenant_id=tenant_id,
        email=parse_email(email),
        password=parse_password(_read_password()),
        role=role,
    )
    admin = asyncio.run(_create(command))
    print(f"created {admin.role} {admin.email} id={admin.id}")


async def _create(command: CreateAdmin) -> Admin:
    async with open_database(Settings.load()) as database:
        return await Admins(database, Passwords()).create(command, actor=operator())


def _read_password() -> str:
    """Never an argument: those are seen by everybody on the machine and stay in the shell's history."""
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"set {PASSWORD_VARIABLE}, or run this on a terminal", param_hint="password")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
