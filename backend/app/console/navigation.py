"""Where one can go in the console: the entries of its navigation, in their order."""

from typing import Final, NamedTuple

from backend.app.console.access import Page


class Item(NamedTuple):
    """One entry: shown to those who may see the page. key: what is pressed after `g` to go there."""

    page: Page
    path: str
    icon: str
    key: str


ITEMS: Final = (
    Item(Page.HOME, "/console", "home", "h"),
    Item(Page.WITHDRAWALS, "/console/withdrawals", "out", "w"),
    Item(Page.RECONCILIATION, "/console/reconciliation", "scales", "r"),
    Item(Page.ADJUSTMENTS, "/console/adjustments", "adjust", "j"),
    Item(Page.WEBHOOKS, "/console/webhooks", "inbox", "e"),
    Item(Page.PLAYERS, "/console/players", "people", "p"),
    Item(Page.ROLLOUT, "/console/rollout", "route", "o"),
    Item(Page.BACKFILL, "/console/backfill", "fill", "b"),
    Item(Page.AUDIT, "/console/audit", "book", "a"),
    Item(Page.ADMINS, "/console/admins", "person", "u"),
    Item(Page.TENANTS, "/console/tenants", "building", "t"),
)
