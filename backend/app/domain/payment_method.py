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


def is_allowed(method: str, *, is_dev: bool) -> bool:
    """Whether a player may use the method: test methods in dev only, scenarios only by a name that exists."""
    is_scenario = method.startswith(SCENARIO_PREFIX)
    if is_scenario or method in TEST_METHODS:
        return is_dev and (not is_scenario or method.removeprefix(SCENARIO_PREFIX) in SCENARIOS)
    return True


def reason_against(method: str) -> str:
    """One sentence on why the method is not allowed."""
    if method.startswith(SCENARIO_PREFIX) and method.removeprefix(SCENARIO_PREFIX) not in SCENARIOS:
        return f"no scenario of this name; there are: {', '.join(sorted(SCENARIOS))}"
    return "test methods are not available in this environment"
