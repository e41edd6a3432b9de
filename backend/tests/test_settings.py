"""class Settings: what the environment says, what may not start, and secrets that a home keeps."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from backend.app.repositories.home import open_home, read_or_create_secret, with_dev_secrets
from backend.config import CHECKOUT, Settings, SettingsRefused

GOOD_SECRET = "kX7vQ2mZ9pL4wR8tY1uB6nC3dF5gH0jS"
READY_FOR_PROD = {
    "ENV": "prod",
    "DATABASE_URL": "postgresql://hakem_service@db/hakem",
    "JWT_SECRET": GOOD_SECRET,
    "WEBHOOK_SECRET_MOCKPSP": "whsec_" + GOOD_SECRET,
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def settings_of(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = Settings.load()
    assert settings.env == "dev"
    assert settings.hakem_home == tmp_path / "var"
    assert settings.ledger_shadow_write is True
    assert settings.ledger_enforce_balance is False
    assert settings.ledger_balance_mismatch_log is True
    assert settings.webhook_signature_enforced is False
    assert settings.kyc_unverified_daily_deposit_cap == Decimal("100.00")
    assert settings.four_eyes_threshold is None
    settings.ensure_startable()


@pytest.mark.parametrize("folder", [CHECKOUT, CHECKOUT / "backend", CHECKOUT / "backend" / "tests"])
def test_every_folder_of_the_checkout_shares_one_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert Settings.load().hakem_home == CHECKOUT / "var"


def test_flag_is_explicit_only_when_given(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, {"LEDGER_ENFORCE_BALANCE": "False", "LEDGER_SHADOW_WRITE": ""})
    assert settings.is_explicit("ledger_enforce_balance")
    assert not settings.is_explicit("ledger_shadow_write")
    assert not settings.is_explicit("webhook_signature_enforced")
    with pytest.raises(KeyError):
        settings.is_explicit("ledger_enforce_balances")


def test_dotenv_counts_as_given_and_loses_to_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "WEBHOOK_SIGNATURE_ENFORCED=False\nFOUR_EYES_THRESHOLD=10.50\nSOMETHING_ELSE=1\nMOCKPSP_URL=\n"
    )
    settings = settings_of(monkeypatch, {"FOUR_EYES_THRESHOLD": "99"})
    assert settings.is_explicit("webhook_signature_enforced")
    assert settings.four_eyes_threshold == Decimal("99")
    assert settings.mockpsp_url is None


def test_unreadable_environment_names_every_variable_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsRefused) as refusal:
        settings_of(monkeypatch, {"LEDGER_SHADOW_WRITE": "perhaps", "ENV": "moon"})
    assert "LEDGER_SHADOW_WRITE: " in str(refusal.value)
    assert "ENV: " in str(refusal.value)
    assert "perhaps" not in str(refusal.value)


def test_start_outside_dev_is_refused_with_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, {"ENV": "staging", "JWT_SECRET": "short"})
    with pytest.raises(SettingsRefused) as refusal:
        settings.ensure_startable()
    for expected in ("ENV=staging", "DATABASE_URL", "JWT_SECRET", "WEBHOOK_SECRET_MOCKPSP"):
        assert expected in str(refusal.value)
    assert "short" not in str(refusal.value).replace("shorter", "")


def test_start_outside_dev_is_allowed_with_strong_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    settings_of(monkeypatch, READY_FOR_PROD).ensure_startable()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET", "x" * 40),
        ("JWT_SECRET", "please-changeme-before-production-0123"),
        ("WEBHOOK_SECRET_MOCKPSP", "tiny"),
        ("MOCKPSP_URL", "http://mockpsp.example"),
        ("BOOTSTRAP_OWNER_EMAIL", "owner@example.com"),
        ("BOOTSTRAP_OWNER_PASSWORD", GOOD_SECRET),
    ],
)
def test_each_weakness_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = settings_of(monkeypatch, READY_FOR_PROD | {name: value}).problems_outside_dev()
    assert len(problems) == 1
    assert name in problems[0]
    assert value not in problems[0]


def test_deciding_by_an_unwritten_ledger_is_refused_in_dev_too(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, {"LEDGER_SHADOW_WRITE": "0", "LEDGER_ENFORCE_BALANCE": "1"})
    with pytest.raises(SettingsRefused, match="LEDGER_SHADOW_WRITE=False with LEDGER_ENFORCE_BALANCE=True"):
        settings.ensure_startable()


def test_dev_secrets_are_random_and_stay_with_the_home(tmp_path: Path) -> None:
    settings = Settings(hakem_home=tmp_path / "one")
    first, again = with_dev_secrets(settings), with_dev_secrets(settings)
    elsewhere = with_dev_secrets(Settings(hakem_home=tmp_path / "two"))
    assert first.jwt_secret == again.jwt_secret
    assert first.jwt_secret != elsewhere.jwt_secret
    assert first.webhook_secret_mockpsp is not None
    assert first.webhook_secret_mockpsp.get_secret_value().startswith("whsec_")
    assert not [problem for problem in first.problems_outside_dev() if "SECRET" in problem]


def test_given_secret_beats_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, {"JWT_SECRET": GOOD_SECRET, "HAKEM_HOME": str(tmp_path / "home")})
    assert with_dev_secrets(settings).jwt_secret == settings.jwt_secret


def test_home_and_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    home = open_home(tmp_path / "deep" / "home")
    read_or_create_secret(home, "key")
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "secrets" / "key").stat().st_mode & 0o777 == 0o600


def test_processes_that_ask_at_once_get_one_secret(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    for attempt in range(20):
        with ThreadPoolExecutor(8) as pool:
            answers = set(pool.map(lambda _, n=attempt: read_or_create_secret(home, f"key{n}"), range(8)))
        assert len(answers) == 1
    assert sorted(p.name for p in (home / "secrets").iterdir()) == sorted(f"key{n}" for n in range(20))


def test_secrets_of_accounts_come_by_their_names_from_environment_and_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "WEBHOOK_SECRET_ACME=from-the-file\nWEBHOOK_SECRET_ACME_PREVIOUS=the-one-before\nWEBHOOK_SECRET_EMPTY=\n"
    )
    settings = settings_of(
        monkeypatch, {"WEBHOOK_SECRET_ACME": "from-the-environment", "WEBHOOK_SECRET_MOCKPSP": GOOD_SECRET}
    )
    current, previous = settings.webhook_secret("ACME")
    assert current is not None
    assert previous is not None
    assert (current.get_secret_value(), previous.get_secret_value()) == ("from-the-environment", "the-one-before")
    assert settings.webhook_secret("MOCKPSP") == (settings.webhook_secret_mockpsp, None)
    assert settings.webhook_secret("EMPTY") == (None, None)
    assert "from-the" not in repr(settings)


def test_short_secret_of_an_account_forbids_a_start_outside_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = settings_of(monkeypatch, READY_FOR_PROD | {"WEBHOOK_SECRET_ACME": "tiny"}).problems_outside_dev()
    assert problems == ("WEBHOOK_SECRET_ACME is shorter than 16 characters",)
