"""class Settings: everything the environment can say, read once at the edge."""

if __name__ != "backend.config":
    # The runbook's commands are typed inside backend/, where Python would also find this module as
    # plain `config`: a second class Settings that is not the one the application reads.
    raise ImportError(f"this module is imported as backend.config, not as {__name__}")

from collections.abc import Iterator, Sequence
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AnyHttpUrl, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from backend.app.domain.errors import FieldError
from backend.app.domain.people.email import parse_email
from backend.app.domain.people.password import parse_password

CHECKOUT = Path(__file__).resolve().parent.parent

JWT_SECRET_MIN_LENGTH = 32
WEBHOOK_SECRET_MIN_LENGTH = 16
WEBHOOK_SECRET_PREFIX = "WEBHOOK_SECRET_"
PREVIOUS_SUFFIX = "_PREVIOUS"
_OBVIOUS_SECRETS = ("secret", "changeme", "change-me", "change_me", "password", "default", "example", "test")
_FEWEST_DISTINCT_CHARACTERS = 10


class SettingsRefused(Exception):
    """The environment does not allow a start; the message is for the operator and holds no secret."""


def base_folder() -> Path:
    """The folder that `./var` and `.env` are meant in.

    The current directory; but inside a source checkout always the checkout, so that the runbook's
    `cd backend && python -m …` works on the same data as `make run` beside it.
    """
    current = Path.cwd()
    is_in_checkout = current.is_relative_to(CHECKOUT) and (CHECKOUT / "pyproject.toml").is_file()
    return CHECKOUT if is_in_checkout else current


class Settings(BaseSettings):
    """The environment of contract.md; a name in lower case is the variable in upper case.

    An empty variable counts as unset. Unknown variables are ignored.
    """

    model_config = SettingsConfigDict(
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    env: Literal["dev", "staging", "prod"] = "dev"
    hakem_home: Path = Field(default_factory=lambda: base_folder() / "var")

    database_url: SecretStr | None = None
    database_owner_url: SecretStr | None = None
    database_pool_min_size: int = Field(default=2, ge=1)
    database_pool_max_size: int = Field(default=16, ge=1, le=80)
    database_connect_timeout_seconds: float = Field(default=10.0, gt=0)
    database_statement_timeout_seconds: float = Field(default=15.0, gt=0)

    jwt_secret: SecretStr | None = None
    bootstrap_owner_email: str | None = None
    bootstrap_owner_password: SecretStr | None = None

    ledger_shadow_write: bool = True
    ledger_enforce_balance: bool = False
    ledger_balance_mismatch_log: bool = True
    webhook_signature_enforced: bool = False

    webhook_secret_mockpsp: SecretStr | None = None
    webhook_secret_mockpsp_previous: SecretStr | None = None
    # Secrets of accounts that have one of their own: WEBHOOK_SECRET_<name> and WEBHOOK_SECRET_<name>_PREVIOUS, by what
    # follows the prefix. Which account uses which name stands in the table psp_accounts.
    webhook_secrets: dict[str, SecretStr] = Field(default_factory=dict)
    # Where providers' webhooks come from, as JSON: {"stripe": ["3.18.12.0/24"]}. For a service that sees the senders'
    # addresses; behind a proxy that does not pass them on, leave it out.
    webhook_source_ranges: dict[str, list[IPv4Network | IPv6Network]] = Field(default_factory=dict)
    # Unset in dev: MockPSP runs inside the service. Unset elsewhere: there is none.
    mockpsp_url: AnyHttpUrl | None = None
    mockpsp_api_key: SecretStr | None = None
    # Of the in-process one: what its schedules are multiplied by, so that a day of retries passes in a moment.
    mockpsp_clock_factor: float = Field(default=1.0, gt=0, le=1)
    # The longest that one call to a provider may take, everything included.
    psp_timeout_seconds: float = Field(default=10.0, gt=0, le=60)

    kyc_unverified_daily_deposit_cap: Decimal = Field(default=Decimal("100.00"), ge=0)
    four_eyes_threshold: Decimal | None = Field(default=None, gt=0)

    # Players and staff of the demo act by themselves; `hakem serve --demo` sets it.
    demo_traffic: bool = False

    @classmethod
    def load(cls) -> Self:
        """Settings of this process: environment, then `.env`.

        Raises SettingsRefused naming every variable that could not be read and why.
        """
        try:
            return cls()
        except ValidationError as error:
            lines = (f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise SettingsRefused(_listing("the environment cannot be read", lines)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then `.env` of the current directory, then the checkout's."""
        files = dict.fromkeys((Path.cwd() / ".env", base_folder() / ".env"))
        dotenvs = tuple(
            type(dotenv_settings)(settings_cls, env_file=file)  # type: ignore[call-arg]  # the base names no file
            for file in files
        )
        sources = (env_settings, *dotenvs)
        return (init_settings, *sources, _WebhookSecrets(settings_cls, sources))

    def webhook_secret(self, name: str) -> tuple[SecretStr | None, SecretStr | None]:
        """The secret WEBHOOK_SECRET_<name> and the one that it takes the place of; None where there is none."""
        if name == "MOCKPSP":
            return self.webhook_secret_mockpsp, self.webhook_secret_mockpsp_previous
        return self.webhook_secrets.get(name), self.webhook_secrets.get(name + PREVIOUS_SUFFIX)

    def is_explicit(self, flag_name: str) -> bool:
        """Whether the flag was given by the environment, not left to its default.

        An explicit False of a rollout flag is the kill switch and beats every tenant override.
        Raises KeyError for a name that is no setting.
        """
        if flag_name not in type(self).model_fields:
            raise KeyError(flag_name)
        return flag_name in self.model_fields_set

    def refusals(self) -> tuple[str, ...]:
        """Combinations that no ENV may start with, one sentence each."""
        return tuple(self._refused_flags()) + tuple(self._refused_owner()) + tuple(self._refused_demo())

    def problems_outside_dev(self) -> tuple[str, ...]:
        """Weak or missing secrets and refused combinations, one sentence each; empty when fit for staging."""
        return tuple(self._weak_or_missing()) + self.refusals()

    def ensure_startable(self) -> None:
        """Raise SettingsRefused with one message that lists everything that forbids a start in this ENV."""
        problems = self.refusals() if self.env == "dev" else self.problems_outside_dev()
        if problems:
            raise SettingsRefused(_listing(f"refusing to start with ENV={self.env}", problems))

    def _refused_flags(self) -> Iterator[str]:
        if self.ledger_enforce_balance and not self.ledger_shadow_write:
            yield (
                "LEDGER_SHADOW_WRITE=False with LEDGER_ENFORCE_BALANCE=True: the ledger cannot decide about "
                "balances that it does not write"
            )

    def _refused_demo(self) -> Iterator[str]:
        if self.demo_traffic and self.env != "dev":
            yield "DEMO_TRAFFIC is for ENV=dev: it moves money by itself"

    def _refused_owner(self) -> Iterator[str]:
        """Why the platform owner of the environment could not be made; each is checked where accounts are made too."""
        try:
            if self.bootstrap_owner_email is not None:
                parse_email(self.bootstrap_owner_email, field="BOOTSTRAP_OWNER_EMAIL")
            if self.bootstrap_owner_password is not None:
                parse_password(self.bootstrap_owner_password.get_secret_value(), field="BOOTSTRAP_OWNER_PASSWORD")
        except FieldError as error:
            yield error.detail

    def _weak_or_missing(self) -> Iterator[str]:
        if self.database_url is None:
            yield "DATABASE_URL is not set: the embedded PostgreSQL is for development"
        if self.jwt_secret is None:
            yield "JWT_SECRET is not set"
        elif len(self.jwt_secret.get_secret_value()) < JWT_SECRET_MIN_LENGTH:
            yield f"JWT_SECRET is shorter than {JWT_SECRET_MIN_LENGTH} characters"
        elif _is_guessable(self.jwt_secret.get_secret_value()):
            yield "JWT_SECRET can be guessed: use a random value"
        if self.webhook_secret_mockpsp is None:
            yield "WEBHOOK_SECRET_MOCKPSP is not set"
        elif len(self.webhook_secret_mockpsp.get_secret_value()) < WEBHOOK_SECRET_MIN_LENGTH:
            yield f"WEBHOOK_SECRET_MOCKPSP is shorter than {WEBHOOK_SECRET_MIN_LENGTH} characters"
        for name, secret in sorted(self.webhook_secrets.items()):
            if len(secret.get_secret_value()) < WEBHOOK_SECRET_MIN_LENGTH:
                yield f"{WEBHOOK_SECRET_PREFIX}{name} is shorter than {WEBHOOK_SECRET_MIN_LENGTH} characters"
        if self.mockpsp_url is not None and self.mockpsp_api_key is None:
            yield "MOCKPSP_API_KEY is not set, and MOCKPSP_URL is"
        has_owner_password = self.bootstrap_owner_password is not None
        if has_owner_password != (self.bootstrap_owner_email is not None):
            yield "BOOTSTRAP_OWNER_EMAIL and BOOTSTRAP_OWNER_PASSWORD belong together: one is not set"
        if self.bootstrap_owner_password and len(self.bootstrap_owner_password.get_secret_value()) < 12:
            yield "BOOTSTRAP_OWNER_PASSWORD is shorter than 12 characters"


class _WebhookSecrets(PydanticBaseSettingsSource):
    """Gathers the secrets whose names an operator chooses, from the sources given, the first of which counts most."""

    def __init__(self, settings_cls: type[BaseSettings], sources: Sequence[PydanticBaseSettingsSource]) -> None:
        super().__init__(settings_cls)
        self._sources = sources

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Unused: the one value is made as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """`webhook_secrets`, without those that have a field of their own."""
        found: dict[str, str] = {}
        for source in reversed(self._sources):
            assert isinstance(source, EnvSettingsSource), "the environment and its files"
            found |= {
                # The source has the names in lower case.
                name.upper().removeprefix(WEBHOOK_SECRET_PREFIX): value
                for name, value in source.env_vars.items()
                if name.upper().startswith(WEBHOOK_SECRET_PREFIX) and value and name not in Settings.model_fields
            }
        return {"webhook_secrets": found} if found else {}


def _is_guessable(secret: str) -> bool:
    lowered = secret.lower()
    return len(set(secret)) < _FEWEST_DISTINCT_CHARACTERS or any(word in lowered for word in _OBVIOUS_SECRETS)


def _listing(headline: str, lines: Iterator[str] | tuple[str, ...]) -> str:
    return "\n  - ".join((f"{headline}:", *lines))
