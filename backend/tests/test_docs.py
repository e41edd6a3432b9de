"""Documents say what is so: paths and commands exist, every refusal is listed, every term explained, the tour works."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from backend.app.domain.identity import Role
from backend.config import CHECKOUT
from backend.scripts import write_error_codes
from backend.tests import typed_pages
from backend.tests.conftest import Database
from backend.tests.processes import ServeProcess, running_service

README = CHECKOUT / "README.md"
ARCHITECTURE = CHECKOUT / "ARCHITECTURE.md"
GLOSSARY = CHECKOUT / "docs" / "glossary.md"

# A path of ours as prose writes it: in backticks, from the root of the repository.
PATH = re.compile(r"`((?:backend|bench|deploy|docs|e2e)/[\w./-]*\w/?)`")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
MAKE_TARGET = re.compile(r"^([a-z0-9]+):", re.MULTILINE)

# Put together from pieces so that this file does not find itself.
REGISTRIES = tuple(
    ".".join(name) for name in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs"), ("yarnpkg", "com"))
)
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(?:root|home|Users|work|workspace)/[\w.-]+")

TERMS_OF_THE_CODE = (
    "account", "adjustment", "admin", "after-image", "arbiter", "attempt", "attestation", "audit event", "available",
    "backfill", "batch", "capture", "census", "clearing", "control total", "coverage", "deposit", "drift", "effective",
    "enforce", "epoch", "event", "fence", "finding", "flag", "flip", "fold", "gate", "group commit", "held", "hold",
    "idempotency key", "in transit", "inbox", "journal", "kill switch", "lane", "ledger", "legacy column", "minor unit",
    "mismatch", "opening", "override", "payout", "pending", "player", "provider", "reconciliation", "refusal",
    "rehearsal", "replay", "request hash", "role", "rollback", "run", "shadow", "snapshot", "stage",
    "tenant", "transaction", "trigger", "verdict", "wallet", "wallet version", "wave", "withdrawal",
)  # fmt: skip


@cache
def tracked_files() -> tuple[str, ...]:
    """What git tracks; a copy of the sources without git cannot tell."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    # Somebody may be removing a file just now.
    return tuple(name for name in listed.stdout.split("\0") if name and (CHECKOUT / name).is_file())


def documents() -> list[Path]:
    return sorted(CHECKOUT / name for name in tracked_files() if name.endswith(".md"))


def test_paths_in_documents_exist() -> None:
    missing = [
        f"{document.name}: {path}"
        for document in documents()
        for path in PATH.findall(document.read_text("utf-8"))
        if not (CHECKOUT / path).exists()
    ]
    assert missing == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{document.name}: {target}"
        for document in documents()
        for target in LINK.findall(document.read_text("utf-8"))
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_architecture_shows_every_room_and_no_other() -> None:
    block = re.search(r"^## Rooms\n```\n(.*?)```", ARCHITECTURE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    shown = [line.split()[0] for line in block[1].splitlines()]
    assert [path for path in shown if not (CHECKOUT / path).exists()] == []
    rooms = {f"{Path(name).parent.as_posix()}/" for name in tracked_files() if name.startswith("backend/app/")}
    assert rooms - {"backend/app/", *shown} == set(), "a room is missing in ARCHITECTURE.md"


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(MAKE_TARGET.findall((CHECKOUT / "Makefile").read_text("utf-8")))
    for document in documents():
        named = set(
            re.findall(r"`make ([a-z0-9]+)[^`]*`|^(?:    )?make ([a-z0-9]+)", document.read_text("utf-8"), re.MULTILINE)
        )
        assert {name for pair in named for name in pair if name} <= targets, document.name
    assert {"setup", "run", "test"} <= targets


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"(?:^|[`( ])hakem ([a-z]+)(?=[ `\n])", README.read_text("utf-8"), re.MULTILINE))
    shown = subprocess.run(
        [sys.executable, "-m", "backend.scripts", "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", shown)] == []


# A page that shows something on the demo, and what has to be in what it prints.
TOURS: Final = {
    "README.md": ('"wallet_version":', '"state":"paid"'),
    "docs/payouts.md": ('"timeline":', '"type":"withdraw_dispatched"', '"provider":"mockpsp"'),
    "docs/reconciliation.md": (
        '"finding_type":"amount_mismatch"',
        "completed: psp_lines=",
        "partial: psp_lines=2",
        "findings: missing_in_ledger=2",
        "lines=3 compared=2 rejected=0 sums: TRY=970.00 fees: TRY=2.60",
        '"resolution_code":"FIXED_ADJUSTMENT"',
    ),
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tours are typed with curl")
async def test_tours_of_the_demo_answer_what_they_say(home: Path) -> None:
    async with running_service(home, arguments=("--demo", "--demo-quiet")) as service:
        with psycopg.connect(service.owner_url) as conn:
            row = conn.execute("SELECT id FROM tenants WHERE slug = 'demo'").fetchone()
        assert row is not None
        where = f"TENANT={row[0]}\nAPI={service.url}/api/v1"
        environment = {"HAKEM_HOME": str(home), "JWT_SECRET": ServeProcess.JWT_SECRET}
        folder = home / "typed"
        folder.mkdir()
        with typed_pages.Shell(
            folder,
            environment=environment,
            adapt=lambda text: re.sub(r"^TENANT=.*(\nAPI=.*)?$", where, text, flags=re.MULTILINE).replace(
                ".venv/bin/", ""
            ),
        ) as shell:
            for document, expected in TOURS.items():
                printed = ""
                for block in typed_pages.shell_blocks(CHECKOUT / document):
                    if block.text.startswith("TENANT="):
                        printed += await asyncio.to_thread(shell.type, block.text)
                assert [text for text in expected if text not in printed] == [], document


@pytest.mark.parametrize("page", ["operations", "payouts", "reconciliation", "rollout", "runbook"])
def test_both_languages_say_the_same_commands(page: str) -> None:
    """Those of the English page are typed."""
    commands = typed_pages.commands_of(CHECKOUT / "docs" / f"{page}.md")
    assert typed_pages.commands_of(CHECKOUT / "docs" / f"{page}.tr.md") == commands != []


def test_guide_of_an_existing_platform_can_be_typed(new_database: Callable[..., Database], tmp_path: Path) -> None:
    database = new_database()
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        printed = type_guide("docs/bring-an-existing-platform.md", database, owner, folder=tmp_path)
        assert "scanned=2 created=2 skipped_exists=0 updated_forced=0 errors=0" in printed
        wallets = owner.execute(
            "SELECT balance_real_available, balance_real_pending FROM wallet_balances ORDER BY 1 DESC"
        ).fetchall()
    assert wallets == [(50_00, 20_00), (7_00, 0)]


def test_walk_from_import_to_enforced_and_back_can_be_typed(
    new_database: Callable[..., Database], tmp_path: Path
) -> None:
    database = new_database()
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        printed = type_guide("docs/rollout.md", database, owner, folder=tmp_path)
        flips = owner.execute("SELECT kind, arbiter FROM arbiter_changes ORDER BY epoch").fetchall()
        differing = owner.execute(
            "SELECT count(*) FROM players p JOIN wallet_balances w ON w.player_id = p.id "
            "WHERE (p.balance_real_available, p.balance_real_held) "
            "<> (w.balance_real_available, w.balance_real_pending)"
        ).fetchone()
    stages = re.findall(r"stage=(\w+)", printed)
    # No monitor has looked at the tenant: that is the gate which is waived, and which is still open afterwards.
    assert stages == ["observing", "enforced", "observing"]
    assert flips == [("rehearsal", "ledger"), ("rehearsal", "legacy"), ("flip", "ledger"), ("flip", "legacy")]
    assert differing == (0,)


def type_guide(document: str, database: Database, owner: "psycopg.Connection[Any]", *, folder: Path) -> str:
    """Types what a document says to type, for a tenant with two players in a file; what was printed."""
    row = owner.execute(
        "INSERT INTO tenants (slug, name, base_currency) VALUES ('existing', 'Existing', 'USD') RETURNING id"
    ).fetchone()
    assert row is not None
    (folder / "players.csv").write_text(
        "external_id,email,username,currency,balance_available,balance_held,kyc_status\n"
        "1,a@example.com,a,USD,50.00,20.00,verified\n2,b@example.com,b,USD,7.00,0,pending\n"
    )
    environment = {
        "DATABASE_URL": database.service_url,
        "DATABASE_OWNER_URL": database.owner_url,
        "HAKEM_HOME": str(folder / "home"),
    }
    with typed_pages.Shell(
        folder, environment=environment, adapt=lambda text: re.sub(r"\bTENANT\b", str(row[0]), text)
    ) as shell:
        return "".join(shell.type(block.text) for block in typed_pages.shell_blocks(CHECKOUT / document))


def test_table_of_error_codes_is_what_the_code_declares() -> None:
    table = write_error_codes.TABLE.search(write_error_codes.DOCUMENT.read_text("utf-8"))
    assert table is not None
    assert table[0] == write_error_codes.table(), "run `make docs`"


def test_table_of_error_codes_knows_what_no_class_stands_for() -> None:
    table = write_error_codes.table()
    source = (CHECKOUT / "backend" / "app" / "api" / "problems.py").read_text("utf-8")
    codes = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', source))
    assert codes
    assert [code for code in sorted(codes) if f"| `{code}` |" not in table] == []


def test_glossary_explains_the_terms_of_the_code() -> None:
    text = GLOSSARY.read_text("utf-8")
    explained = {
        term.strip() for entry in re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE) for term in entry.split(",")
    }
    assert [term for term in TERMS_OF_THE_CODE if term not in explained] == []
    assert [role for role in Role if f"`{role}`" not in text] == []


def test_glossary_explains_each_term_once() -> None:
    entries = re.findall(r"^\| \*\*(.+?)\*\* \|", GLOSSARY.read_text("utf-8"), re.MULTILINE)
    assert sorted(entries) == sorted(set(entries))


def test_decisions_are_numbered_without_doubles_and_have_the_same_parts() -> None:
    records = [document for document in documents() if document.parent.name == "decisions"]
    numbers = [record.name[:4] for record in records]
    assert numbers == sorted(set(numbers))
    for record in records:
        text = record.read_text("utf-8")
        assert text.startswith(f"# {record.name[:4]} "), record.name
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert {"Context", "Decision", "Consequences"} <= set(headings), record.name
        assert headings[-1].startswith("Alternatives"), record.name


def test_no_file_names_a_registry_or_a_path_of_somebodys_machine() -> None:
    found = []
    for name in tracked_files():
        text = (CHECKOUT / name).read_bytes().decode("utf-8", "replace")
        found += [f"{name}: {registry}" for registry in REGISTRIES if registry in text]
        found += [f"{name}: {path}" for path in MACHINE_PATH.findall(text)]
    assert found == []
