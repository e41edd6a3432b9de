"""The demo's story: who the players of a tenant are and what they and its staff did over the last months. Pure.

The same seed and the same `now` tell the same story. It is told by scenes in the order of time, each of which somebody
can really do: the balance that a player has is kept along the way, so that nobody asks for what is not there unless the
story wants a refusal. What is told here is done by services/demo/demo_history.py.
"""

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from backend.app.domain.demo.demo_scenes import (
    Ask,
    Decide,
    Drift,
    Identify,
    Import,
    Join,
    OpenWallets,
    PayIn,
    Person,
    ResolveFindings,
    Scene,
    SettleLegacyHolds,
    StrayWebhooks,
    TakeCensus,
)
from backend.app.domain.identity import Role
from backend.app.domain.payments.withdrawal_lifecycle import Action
from backend.app.domain.player import KycStatus

FIRST_NAMES: Final = (
    "Ada", "Aylin", "Baran", "Can", "Cem", "Clara", "Deniz", "Derya", "Ece", "Elif", "Emre", "Eva", "Fatma", "Finn",
    "Gizem", "Hakan", "Hugo", "Ines", "Jonas", "Kaan", "Lale", "Lena", "Leyla", "Luca", "Marta", "Mehmet", "Mert",
    "Mia", "Nil", "Nora", "Oscar", "Pelin", "Pia", "Sibel", "Sofia", "Tolga", "Umut", "Vera", "Yusuf", "Zeynep",
)  # fmt: skip
LAST_NAMES: Final = (
    "Acar", "Aksoy", "Arslan", "Bauer", "Berg", "Costa", "Demir", "Dubois", "Erdem", "Fischer", "Garcia", "Güneş",
    "Horvat", "Ivanova", "Jansen", "Kaplan", "Kaya", "Koç", "Lind", "Moreau", "Novak", "Öztürk", "Petrov", "Rossi",
    "Şahin", "Schmidt", "Silva", "Tekin", "Weber", "Yıldız",
)  # fmt: skip
_PLAIN_LETTERS: Final = str.maketrans("ğışöüçĞİŞÖÜÇ", "gisoucGISOUC")

METHODS: Final = ("bank_transfer", "bank_transfer", "card", "card", "instant_transfer", "e_wallet")
DEPOSITS_MAJOR: Final = (10, 20, 20, 25, 30, 50, 50, 50, 75, 100, 100, 150, 200, 250, 500)
# From here on two people approve, in major units; what `serve --demo` sets unless the environment says otherwise.
FOUR_EYES_MAJOR: Final = 1_000
REJECTED_BECAUSE: Final = (
    "The account is in another name",
    "Documents are missing",
    "Played nothing since the deposit",
)
CANCELLED_BECAUSE: Final = ("The player asked to keep the money", "Asked twice; the other one is paid")
GIVEN_UP_BECAUSE: Final = "The player's bank closed the account; the money is released"
RETRIED_BECAUSE: Final = "The player sent another account"
# What a withdrawal comes to when nobody has asked for something special, and how often.
USUAL_FATES: Final = {
    "paid": 78,
    "paid_manually": 5,
    "rejected": 8,
    "cancelled": 4,
    "failed_then_paid": 3,
    "given_up": 2,
}
# What stands in the queues at the end: the fate, and how many hours ago it was asked for.
OPEN_FATES: Final = (
    *(("requested", hours) for hours in (0.4, 0.9, 1.6, 2.8, 4.5, 7.0, 9.5, 14.0, 26.0, 41.0)),
    *(("awaiting_second_approval", hours) for hours in (3.2, 8.0, 19.0)),
    *(("approved", hours) for hours in (2.2, 5.5, 11.0, 21.0)),
    *(("processing", hours) for hours in (3.8, 6.5, 9.0, 12.0)),
    *(("failed", hours) for hours in (7.5, 15.0, 30.0)),
    *(("returned", hours) for hours in (22.0, 50.0)),
    *(("rejected", hours) for hours in (16.0, 34.0)),
    *(("cancelled", hours) for hours in (18.0, 37.0)),
    *(("paid", hours) for hours in (5.0, 10.0, 13.0, 24.0, 29.0)),
)
# Deposits of the last days that do not go as they should, by the provider's scenario.
ODD_DEPOSITS: Final = (
    ("decline", 6.0), ("pending", 1.2), ("pending", 0.6), ("duplicate_webhooks", 20.0), ("bad_signature_first", 27.0),
    ("old_timestamp", 33.0), ("old_secret", 39.0), ("paid_then_returned", 44.0), ("same_id_other_body", 52.0),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What makes a tenant's story its own. late_imports: players who come last; their wallets stay unopened."""

    slug: str
    seed: int
    days: int = 96
    imported: int = 110
    joining: int = 45
    visits: int = 370
    late_imports: int = 0
    drifts_minor: tuple[int, ...] = ()
    odd_deposits: tuple[tuple[str, float], ...] = ODD_DEPOSITS


def tell(plot: Plot, *, now: datetime) -> Iterator[Scene]:
    """The tenant's scenes in the order of time, all before `now`."""
    return _Teller(plot, now=now).scenes()


@dataclass(order=True, slots=True)
class _Due:
    """An scene on its way: its balance changes when its time comes. visit: None, or the fate that is wanted."""

    at: datetime
    number: int
    scene: Scene | None = field(compare=False)
    fate: str | None = field(compare=False, default=None)


class _Teller:
    def __init__(self, plot: Plot, *, now: datetime) -> None:
        self._plot = plot
        self._now = now
        self._random = random.Random(plot.seed)
        self._start = now - timedelta(days=plot.days)
        self._due: list[_Due] = []
        self._numbers = itertools.count(1)
        self._names = self._all_names()
        self._people: list[Person] = []
        self._drifting: list[Person] = []
        # How the players stand at the moment of the story, by their numbers; and what withdrawals asked for, by key.
        self._available: dict[int, int] = {}
        self._kyc: dict[int, KycStatus] = {}
        self._asked: dict[str, int] = {}

    def scenes(self) -> Iterator[Scene]:
        self._set_the_scene()
        while self._due:
            due = heapq.heappop(self._due)
            scene = due.scene if due.scene is not None else self._visit(due)
            if scene is None or scene.at >= self._now:
                continue
            match scene:
                case Join():
                    self._people.append(scene.person)
                case Identify():
                    self._kyc[scene.person.number] = scene.kyc_status
                case Decide(action=Action.REJECT | Action.CANCEL):
                    self._available[scene.person.number] += self._asked[scene.key]
            yield scene

    def _set_the_scene(self) -> None:
        plot, start, day = self._plot, self._start, timedelta(days=1)
        imported = tuple(self._person(is_imported=True) for _ in range(plot.imported))
        self._people += imported
        self._push(Import(at=start, people=imported, file_name=f"{plot.slug}-players.csv"))
        self._push(OpenWallets(at=start + timedelta(hours=20), reason="Shadow writing begins"))
        self._push(TakeCensus(at=start + timedelta(hours=26)))
        self._push(SettleLegacyHolds(at=start + 3 * day, keep=1 if plot.drifts_minor else 0))
        self._push(OpenWallets(at=start + 40 * day, reason="A second look, a month later"))
        self._push(TakeCensus(at=self._now - 9 * day))
        self._push(TakeCensus(at=self._now - timedelta(minutes=50)))
        self._push(StrayWebhooks(at=self._now - timedelta(hours=31), is_one_unreadable=bool(plot.drifts_minor)))
        self._push(ResolveFindings(at=self._now - timedelta(hours=48), keep=0))
        for _ in range(plot.joining):
            self._schedule_newcomer()
        if plot.late_imports:
            late = tuple(self._person(is_imported=True) for _ in range(plot.late_imports))
            self._push(Import(at=self._now - 6 * day, people=late, file_name=f"{plot.slug}-second-wave.csv"))
        self._drifting = [each for each in imported if each.kyc_status is KycStatus.VERIFIED][: len(plot.drifts_minor)]
        for person, change in zip(self._drifting, plot.drifts_minor, strict=True):
            self._push(Drift(at=self._now - timedelta(hours=70), person=person, change_minor=change))
            # Who comes back meets the difference: that is how the money path notices it.
            self._push_visit(self._now - timedelta(hours=self._random.uniform(20, 60)), "drifting")
        for _ in range(plot.visits):
            # More and more people come.
            progress = self._random.random() ** 0.7
            self._push_visit(start + 2 * day + progress * (self._now - start - 3 * day), None)
        for fate, hours in OPEN_FATES:
            self._push_visit(self._now - timedelta(hours=hours), fate)
        for scenario, hours in plot.odd_deposits:
            self._push_visit(self._now - timedelta(hours=hours), f"deposit:{scenario}")

    def _push(self, scene: Scene) -> None:
        heapq.heappush(self._due, _Due(scene.at, next(self._numbers), scene))

    def _push_visit(self, at: datetime, fate: str | None) -> None:
        heapq.heappush(self._due, _Due(at, next(self._numbers), None, fate))

    def _schedule_newcomer(self) -> None:
        joins_at = self._start + timedelta(days=self._random.uniform(3, self._plot.days - 1.5))
        person = self._person(is_imported=False)
        self._push(Join(at=joins_at, person=person))
        judged = self._random.choices(
            ((KycStatus.VERIFIED, "Passport and bill match"), (KycStatus.REJECTED, "The document is a copy"), None),
            weights=(75, 8, 17),
        )[0]
        if judged is not None:
            judged_at = joins_at + timedelta(hours=self._random.uniform(0.5, 30))
            self._push(Identify(at=judged_at, person=person, kyc_status=judged[0], reason=judged[1]))

    def _visit(self, due: _Due) -> Scene | None:
        """What somebody comes for; None when nobody fits."""
        chance = self._random
        fate = due.fate
        if fate == "drifting":
            person = chance.choice(self._drifting)
            return self._pay_in(due.at, person, method=chance.choice(METHODS))
        if fate is not None and fate.startswith("deposit:"):
            return self._pay_in(due.at, self._pick(least_minor=0), method=f"mock:{fate.partition(':')[2]}")
        if fate is not None:
            is_large = fate == "awaiting_second_approval"
            least_minor = (FOUR_EYES_MAJOR + 50) * 100 if is_large else 60_00
            person = self._pick(least_minor=least_minor)
            share = chance.uniform(0.1, 0.5) * self._available[person.number]
            amount_minor = least_minor if is_large else min(max(int(share) // 500 * 500, 20_00), 950_00)
            return self._ask(due.at, person, amount_minor=amount_minor, fate=fate)
        person = self._pick(least_minor=None)
        available_minor = self._available[person.number]
        may_ask = self._kyc[person.number] is KycStatus.VERIFIED and available_minor >= 40_00
        if may_ask and chance.random() < 0.06:
            amount_minor = available_minor * 2 + 100_00
            return Ask(
                at=due.at, person=person, key=self._key(), amount_minor=amount_minor, method="card", is_refused=True
            )
        if not may_ask or chance.random() < 0.62:
            return self._pay_in(due.at, person, method=chance.choice(METHODS))
        fate = chance.choices(tuple(USUAL_FATES), weights=tuple(USUAL_FATES.values()))[0]
        amount_minor = max(int(available_minor * chance.uniform(0.15, 0.8)) // 500 * 500, 20_00)
        return self._ask(due.at, person, amount_minor=amount_minor, fate=fate)

    def _pick(self, *, least_minor: int | None) -> Person:
        """Somebody who may come; with least_minor, a verified player who has so much."""
        if least_minor is None:
            return self._random.choice(self._people)
        rich = [
            each
            for each in self._people
            if self._kyc[each.number] is KycStatus.VERIFIED
            and self._available[each.number] >= least_minor
            and each not in self._drifting
        ]
        return self._random.choice(rich or self._people[:1])

    def _pay_in(self, at: datetime, person: Person, *, method: str) -> PayIn:
        amount_minor = self._random.choice(DEPOSITS_MAJOR) * 100
        if self._kyc[person.number] is not KycStatus.VERIFIED:
            amount_minor = min(amount_minor, 10_00)
        if not method.startswith("mock:"):
            self._available[person.number] += amount_minor
        return PayIn(at=at, person=person, key=self._key(), amount_minor=amount_minor, method=method)

    def _ask(self, at: datetime, person: Person, *, amount_minor: int, fate: str) -> Ask:
        key = self._key()
        self._asked[key] = amount_minor
        self._available[person.number] -= amount_minor
        method = {
            "processing": "mock:pending",
            "failed": "mock:decline",
            "failed_then_paid": "mock:decline",
            "given_up": "mock:decline",
            "returned": "mock:paid_then_returned",
        }.get(fate) or self._random.choice(METHODS)
        for step in self._steps(at, person, key=key, fate=fate, is_large=amount_minor >= FOUR_EYES_MAJOR * 100):
            self._push(step)
        return Ask(at=at, person=person, key=key, amount_minor=amount_minor, method=method)

    def _steps(self, at: datetime, person: Person, *, key: str, fate: str, is_large: bool) -> Iterator[Decide]:
        """What staff do about a withdrawal, one after the other."""
        chance = self._random
        # What stands in a queue at the end must have got there by now.
        hours = min(18.0, (self._now - at) / timedelta(hours=1) / 4)

        def step(action: Action, by: Role, *, reason: str | None = None, evidence_ref: str | None = None) -> Decide:
            nonlocal at
            at += timedelta(hours=chance.uniform(0.15, 1) * hours)
            return Decide(at=at, person=person, key=key, action=action, by=by, reason=reason, evidence_ref=evidence_ref)

        if fate == "requested":
            return
        if fate == "rejected":
            yield step(Action.REJECT, Role.FINANCE, reason=chance.choice(REJECTED_BECAUSE))
            return
        yield step(Action.APPROVE, Role.FINANCE if is_large else chance.choice((Role.FINANCE, Role.APPROVER)))
        if fate == "awaiting_second_approval":
            return
        if is_large:
            yield step(Action.APPROVE, Role.APPROVER)
        match fate:
            case "cancelled":
                yield step(Action.CANCEL, Role.FINANCE, reason=chance.choice(CANCELLED_BECAUSE))
            case "paid_manually":
                yield step(Action.PAY_MANUALLY, Role.FINANCE, evidence_ref=f"SEPA-{self._plot.slug}-{key}")
            case "paid" | "processing" | "failed" | "returned" | "failed_then_paid" | "given_up":
                yield step(Action.DISPATCH, Role.FINANCE)
        if fate == "given_up":
            yield step(Action.CANCEL, Role.FINANCE, reason=GIVEN_UP_BECAUSE)
        if fate == "failed_then_paid":
            yield step(Action.RETRY, Role.FINANCE, reason=RETRIED_BECAUSE)
            yield step(Action.PAY_MANUALLY, Role.FINANCE, evidence_ref=f"SEPA-{self._plot.slug}-{key}")

    def _key(self) -> str:
        return f"demo-{next(self._numbers)}"

    def _person(self, *, is_imported: bool) -> Person:
        chance = self._random
        number = next(self._numbers)
        plain = next(self._names).translate(_PLAIN_LETTERS).lower().replace(" ", ".")
        kyc_status = KycStatus.PENDING
        available_minor = held_minor = 0
        if is_imported:
            kyc_status = chance.choices(tuple(KycStatus), weights=(10, 86, 4))[0]
            # Most have little, few have much: log-normal, the median at 90.
            available_minor = min(int(chance.lognormvariate(4.5, 1.4) * 100), 9_500_00)
            if number % 5 == 0:
                available_minor = 2_000_00 + number * 13_37 % 6_000_00
            elif chance.random() < 0.15:
                available_minor = 0
            held_minor = 80_00 + number * 100 if number % 33 == 0 else 0
        self._available[number], self._kyc[number] = available_minor, kyc_status
        return Person(
            number=number,
            email=f"{plain}@{self._plot.slug}.example",
            username=plain,
            kyc_status=kyc_status,
            available_minor=available_minor,
            held_minor=held_minor,
        )

    def _all_names(self) -> Iterator[str]:
        names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
        self._random.shuffle(names)
        return iter(names)
