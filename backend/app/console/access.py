"""Who may see and do what in the console: one table, asked by the server on every call and by the templates.

It is never wider than the API: what a role cannot get there, it does not get here.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from backend.app.domain.identity import Role


class Page(StrEnum):
    """What there is to see and to do. Every route but signing in names one of these."""

    HOME = "home"
    SEARCH = "search"
    SIGN_OUT = "sign_out"
    TENANT_CHOICE = "tenant_choice"
    WITHDRAWALS = "withdrawals"
    WITHDRAWAL_DEEDS = "withdrawal_deeds"
    WITHDRAWAL_EXPORT = "withdrawal_export"
    PLAYERS = "players"
    PLAYER_KYC = "player_kyc"
    RECONCILIATION = "reconciliation"
    RECONCILIATION_DEEDS = "reconciliation_deeds"
    RECONCILIATION_EXPORT = "reconciliation_export"
    ADJUSTMENTS = "adjustments"
    ADJUSTMENT_DECISIONS = "adjustment_decisions"
    WEBHOOKS = "webhooks"
    WEBHOOK_DEEDS = "webhook_deeds"
    ROLLOUT = "rollout"
    ROLLOUT_DELIVERIES = "rollout_deliveries"
    ROLLOUT_DEEDS = "rollout_deeds"
    BACKFILL = "backfill"
    BACKFILL_DEEDS = "backfill_deeds"
    AUDIT = "audit"
    AUDIT_EXPORT = "audit_export"
    ADMINS = "admins"
    ADMIN_DEEDS = "admin_deeds"
    TENANTS = "tenants"
    TENANT_DEEDS = "tenant_deeds"
    FLAGS = "flags"
    FLAG_DEEDS = "flag_deeds"


EVERYBODY: Final = frozenset(Role)
MANAGERS: Final = frozenset({Role.OWNER, Role.TENANT_ADMIN})
FINANCE: Final = frozenset({Role.OWNER, Role.TENANT_ADMIN, Role.FINANCE, Role.APPROVER})
RECONCILERS: Final = frozenset({Role.OWNER, Role.TENANT_ADMIN, Role.FINANCE, Role.RECON})

ACCESS: Final[Mapping[Page, frozenset[Role]]] = {
    Page.HOME: EVERYBODY,
    Page.SEARCH: EVERYBODY,
    Page.SIGN_OUT: EVERYBODY,
    Page.TENANT_CHOICE: frozenset({Role.OWNER}),
    Page.WITHDRAWALS: FINANCE,
    Page.WITHDRAWAL_DEEDS: FINANCE,
    Page.WITHDRAWAL_EXPORT: FINANCE,
    Page.PLAYERS: EVERYBODY,
    Page.PLAYER_KYC: frozenset({Role.OWNER, Role.TENANT_ADMIN, Role.FINANCE}),
    Page.RECONCILIATION: RECONCILERS,
    Page.RECONCILIATION_DEEDS: RECONCILERS,
    Page.RECONCILIATION_EXPORT: RECONCILERS,
    Page.ADJUSTMENTS: RECONCILERS | {Role.APPROVER},
    Page.ADJUSTMENT_DECISIONS: RECONCILERS | {Role.APPROVER},
    Page.WEBHOOKS: RECONCILERS,
    Page.WEBHOOK_DEEDS: RECONCILERS,
    Page.ROLLOUT: EVERYBODY,
    # A provider delivers for all tenants, so its numbers are nobody's but the platform's.
    Page.ROLLOUT_DELIVERIES: frozenset({Role.OWNER}),
    Page.ROLLOUT_DEEDS: frozenset({Role.OWNER}),
    Page.BACKFILL: EVERYBODY,
    Page.BACKFILL_DEEDS: frozenset({Role.OWNER}),
    Page.AUDIT: EVERYBODY,
    Page.AUDIT_EXPORT: EVERYBODY,
    Page.ADMINS: MANAGERS,
    Page.ADMIN_DEEDS: MANAGERS,
    Page.TENANTS: frozenset({Role.OWNER}),
    Page.TENANT_DEEDS: frozenset({Role.OWNER}),
    Page.FLAGS: frozenset({Role.OWNER}),
    Page.FLAG_DEEDS: frozenset({Role.OWNER}),
}


def may(role: Role, page: Page) -> bool:
    """Whether the role may see, or do, what the page stands for."""
    return role in ACCESS[page]
