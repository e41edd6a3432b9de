"""The secrets that providers sign with: named in the database, kept in the environment."""

from collections.abc import Sequence
from typing import Final

from backend.app.psp import mockpsp_events
from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import Secret, SecretLabel
from backend.app.repositories.database import Connection
from backend.app.repositories.payments import psp_account_repo
from backend.config import WEBHOOK_SECRET_PREFIX, Settings

# Providers whose accounts may share one secret, and its name.
SHARED_NAMES: Final = {mockpsp_events.PROVIDER: "MOCKPSP"}
USES_MAX: Final = 1_000


class WebhookSecrets:
    """Finds secrets by their names. Built once per process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list_of(self, name: str) -> tuple[Secret, ...]:
        """The current secret of a name and the previous one, as far as the environment has them."""
        values = zip((SecretLabel.CURRENT, SecretLabel.PREVIOUS), self._settings.webhook_secret(name), strict=True)
        return tuple(
            Secret(value=value.get_secret_value(), label=label) for label, value in values if value is not None
        )

    async def problems(self, conn: Connection) -> Sequence[str]:
        """One sentence for each secret that a provider's accounts need, as deliveries must be signed, and is not there.

        Without it every delivery of those accounts would be turned away.
        """
        found = []
        for use in await psp_account_repo.list_secret_names(conn, limit=USES_MAX):
            if use.provider not in SCHEMES:
                # It has no webhooks here: what it moved is known by its settlement files alone.
                continue
            name = use.secret_name or SHARED_NAMES.get(use.provider)
            if name is None:
                found.append(f"account {use.account_id} at {use.provider} has no webhook secret: hakem psp accounts")
            elif not self._is_usable(use.provider, name=name):
                found.append(
                    f"{WEBHOOK_SECRET_PREFIX}{name} is missing or no secret of {use.provider}, "
                    f"whose signatures are enforced (account {use.account_id})"
                )
        return found

    def _is_usable(self, provider: str, *, name: str) -> bool:
        scheme = SCHEMES.get(provider)
        # The previous secret alone is none: what the provider signs with it ends with the rotation.
        current, _ = self._settings.webhook_secret(name)
        return scheme is None or (current is not None and bool(scheme.find_key(current.get_secret_value())))
