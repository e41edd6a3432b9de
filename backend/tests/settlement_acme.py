"""A tenant of a provider that is known by its settlement files alone: what it booked, and the files."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from backend.app.repositories.database import Database as Pools
from backend.app.services.people.admins import system_actor
from backend.app.services.reconciliation.settlement_mappings import SettlementMappings
from backend.app.services.reconciliation.settlement_run import ComparedFile, CompareFile, SettlementRuns
from backend.tests import settlement_desk
from backend.tests.factories import (
    Owner,
    deposit,
    make_players,
    post,
)
from backend.tests.settlement_desk import HEADER

ACME: Final = "acmepay"
ACTOR: Final = system_actor("test")
DAY: Final = timedelta(days=1)


class Acme:
    """A tenant of a provider that we know by its files alone, and the files. Payments are dollars, on two past days."""

    def __init__(self, owner: Owner, pools: Pools, tenant_id: UUID, folder: Path) -> None:
        self.owner = owner
        self.pools = pools
        self.tenant_id = tenant_id
        self.account_id = f"acme_{tenant_id.hex}"
        self.folder = folder
        self.now = datetime.now(UTC) + timedelta(hours=2)
        self.from_at = datetime.combine(self.now.date(), datetime.min.time(), UTC) - 2 * DAY
        self.rows: list[list[str]] = []

    @property
    def runs(self) -> SettlementRuns:
        """The service, looking from later on."""
        return SettlementRuns(self.pools, rejects_folder=self.folder / "rejects", clock=lambda: self.now)

    async def declare(self, **changes: Any) -> bool:
        """Declare how the files are to be read."""
        return await SettlementMappings(self.pools).declare(
            self.tenant_id,
            provider=ACME,
            document=settlement_desk.document(accounts=[self.account_id], **changes),
            actor=ACTOR,
            now=self.now,
        )

    async def pay(self, count: int, *, on_day: int = 0) -> list[UUID]:
        """Book deposits, and list them; their ids."""
        (player,) = await make_players(self.owner, self.tenant_id, 1, available=1000_00)
        ids = [uuid4() for _ in range(count)]
        at = self.from_at + on_day * DAY + timedelta(hours=10)
        await post(
            self.pools,
            *(
                deposit(
                    player,
                    10_00 + number,
                    provider=ACME,
                    provider_ref=f"pay_{each.hex}",
                    reference=each,
                    occurred_at=at + timedelta(seconds=number),
                )
                for number, each in enumerate(ids)
            ),
        )
        # Booked when they happened, not now.
        await self.owner.execute("ALTER TABLE ledger_transactions DISABLE TRIGGER USER")
        await self.owner.execute(
            "UPDATE ledger_transactions SET recorded_at = occurred_at WHERE tenant_id = %s", (self.tenant_id,)
        )
        await self.owner.execute("ALTER TABLE ledger_transactions ENABLE TRIGGER USER")
        for number, each in enumerate(ids):
            self.rows.append(self.row(each, amount=10_00 + number, at=at + timedelta(seconds=number)))
        return ids

    def row(self, reference: UUID, *, amount: int, at: datetime, **changes: str) -> list[str]:
        """A line of the file: changes by the names of the columns."""
        values = {
            "id": f"pay_{reference.hex}",
            "merchant_ref": str(reference),
            "kind": "SALE",
            "state": "OK",
            "gross": f"{amount // 100}.{amount % 100:02}",
            "fee": "0.10",
            "ccy": "USD",
            "when": at.isoformat(),
        }
        return [(values | changes)[name] for name in HEADER]

    def change(self, references: Sequence[UUID], **changes: str) -> None:
        """Get the lines of these payments wrong."""
        for row in self.rows:
            if UUID(row[1]) in references:
                row[:] = [changes.get(name, value) for name, value in zip(HEADER, row, strict=True)]

    def take(self, references: Sequence[UUID]) -> list[list[str]]:
        """Take the lines of these payments out of the file."""
        taken = [row for row in self.rows if UUID(row[1]) in references]
        self.rows = [row for row in self.rows if row not in taken]
        return taken

    def write(self, name: str = "settled.csv", *, rows: Sequence[Sequence[str]] | None = None) -> Path:
        """The file, with a trailer that is right."""
        listed = self.rows if rows is None else rows
        path = self.folder / name
        path.write_bytes(settlement_desk.write([*listed, *trailer(listed)]))
        return path

    async def compare(self, path: Path, **command: Any) -> ComparedFile:
        """Compare a file over both days."""
        self.now += timedelta(seconds=1)
        values: dict[str, Any] = {"window_start": self.from_at, "window_end": self.from_at + 2 * DAY, **command}
        return await self.runs.compare(
            CompareFile(tenant_id=self.tenant_id, provider=ACME, path=path, started_by="test", **values)
        )

    async def found(self, status: str = "OPEN") -> Counter[str]:
        """The tenant's findings by type."""
        return Counter(
            {
                str(name): int(count)
                for name, count in await (
                    await self.owner.execute(
                        "SELECT finding_type, count(*) FROM reconciliation_findings "
                        "WHERE tenant_id = %s AND status = %s GROUP BY 1",
                        (self.tenant_id, status),
                    )
                ).fetchall()
            }
        )

    async def staged(self) -> int:
        """How many lines are staged for whatever run."""
        row = await (await self.owner.execute("SELECT count(*) FROM psp_statement_lines")).fetchone()
        assert row is not None
        return int(row[0])


def trailer(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """What a file of these rows claims, a line for each currency."""
    sums: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for row in rows:
        sums[row[6]] += round(float(row[4]) * 100)
        lines[row[6]] += 1
    return [["TOTAL", str(lines[each]), f"{sums[each] // 100}.{sums[each] % 100:02}", each] for each in sorted(sums)]
