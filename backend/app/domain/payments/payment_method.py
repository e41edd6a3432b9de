"""Payment methods: which provider a method goes to, and which are for development only."""

from typing import Final

from backend.app.domain.errors import AppError

TEST_METHODS: Final = frozenset({"test", "test_bank"})
SCENARIO_PREFIX: Final = "mock:"
SCENARIOS: Final = frozenset(
    {
        "decline", "timeout_created", "timeout_never", "paid_then_returned", "duplicate_webhooks", "reversed_webhooks",
        "short_by_one", "no_webhook", "early_webhook", "bad_signature_first", "old_timestamp", "old_secret",
        "other_currency", "pending", "same_id_other_body",
    }
)  # fmt: skip


class PaymentMethodNotAllowed(AppError):
    """400: the method is for tests, unknown, or has no provider here."""

    error_code = "PAYMENT_METHOD_NOT_ALLOWED"
    status = 400
    title = "The payment method is not allowed"


def find_scenario(method: str) -> str | None:
    """The scenario that a method names, whether it exists or not; None for a method that names none."""
    return method.removeprefix(SCENARIO_PREFIX) if method.startswith(SCENARIO_PREFIX) else None


def is_allowed(method: str, *, is_dev: bool) -> bool:
    """Whether a player may use the method: test methods in dev only, scenarios only by a name that exists."""
    scenario = find_scenario(method)
    if scenario is not None:
        return is_dev and scenario in SCENARIOS
    return is_dev or method not in TEST_METHODS


def reason_against(method: str) -> str:
    """One sentence on why the method is not allowed."""
    scenario = find_scenario(method)
    if scenario is not None and scenario not in SCENARIOS:
        return f"no scenario of this name; there are: {', '.join(sorted(SCENARIOS))}"
    return "test methods are not available in this environment"
