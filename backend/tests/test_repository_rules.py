"""The rules of repositories and their SQL, read off the source: tenants first, no query unused, every list bounded."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Final

import pytest

from backend.app import sql
from backend.mockpsp import books

APP: Final = Path(sql.__file__).parent.parent
REPOSITORIES: Final = sorted(
    ".".join(path.relative_to(APP).with_suffix("").parts) for path in (APP / "repositories").rglob("*_repo.py")
)
NOUNS: Final = sorted(path.stem for path in sql.FOLDER.glob("*.sql") if path.stem != "schema")

# Public functions whose first parameter after `conn` is not tenant_id, and why that cannot be.
EXCEPTIONS: Final = {
    "admin_repo.find_credentials": "an admin signs in by an address that is unique on the platform",
    "admin_repo.identify": "finds out which tenant a token's admin belongs to",
    "admin_repo.lock_owners": "owners belong to no tenant",
    "admin_repo.note_sign_in": "belongs to signing in, where the admin is known by id alone",
    "admin_repo.upgrade_hash": "belongs to signing in, where the admin is known by id alone",
    "backfill_desk_repo.begin_request": "a job knows its request by the id, and finds out whose it is",
    "backfill_repo.committing_later": "sets the session's mode; reads no table",
    "backfill_repo.one_moment": "sets the transaction's mode; reads no table",
    "backfill_repo.read_load": "reads what the server says about its sessions",
    "backfill_repo.try_lock": "takes the record of the tenant, whose number is the key of the lock",
    "backfill_repo.unlock": "takes the record of the tenant, whose number is the key of the lock",
    "backfill_repo.work_chunk": "a lease is of one run, and a run of one tenant",
    "census_repo.keep_to_ranges": "sets the transaction's planner; reads no table",
    "census_repo.list_tenant_ids": "finds the tenants",
    "census_repo.observe_load": "looks at the sessions of the server",
    "census_run_repo.delete_old": "sweeps what is old, whose ever it is",
    "census_run_repo.list_due_tenant_ids": "finds the tenants",
    "census_run_repo.list_metrics": "one answer for all tenants",
    "census_run_repo.try_lock": "takes the record of the run, whose number is the key of the lock",
    "census_run_repo.unlock": "takes the record of the run, whose number is the key of the lock",
    "console_session_repo.delete": "a session is known by the hash of its token, and belongs to one admin",
    "console_session_repo.find": "finds out whose session it is",
    "console_session_repo.insert": "the session's admin is known by id alone, as in signing in",
    "sign_in_repo.read_clock": "reads no table",
    "console_session_repo.set_flash": "a session is known by the hash of its token, and belongs to one admin",
    "console_session_repo.sweep": "what is over is over for all tenants",
    "demo_repo.count_webhooks_under_way": "the demo has one provider for all its tenants",
    "demo_repo.forget_webhooks": "the demo has one provider for all its tenants",
    "demo_repo.lock_seeding": "the demo is seeded as a whole",
    "demo_repo.move_into_the_past": "there is one clock for all tenants of the demo",
    "deposit_repo.capture_many": "one call for many players; each command carries its tenant",
    "deposit_repo.find_payment": "finds out whose deposit a provider means",
    "deposit_repo.find_payments": "finds out whose deposits a provider means",
    "deposit_repo.list_due": "the poll asks for all tenants",
    "deposit_repo.lock_many": "the deposits of one call, found before; each row says its tenant",
    "deposit_repo.open_many": "one call for many players; each command carries its tenant",
    "deposit_repo.record": "the deposit is locked, and its tenant was judged",
    "deposit_repo.refund": "the deposit is locked, and its tenant was judged",
    "deposit_repo.take_check": "the poll asks for all tenants",
    "evidence_repo.find_claimed": "finds out whose payments deliveries name",
    "evidence_repo.find_counters": "looks at the processes",
    "evidence_repo.flush": "one call for many tenants; each row carries its tenant",
    "evidence_repo.list_delivery_buckets": "a provider delivers for all tenants",
    "evidence_repo.list_delivery_results": "a provider delivers for all tenants",
    "evidence_repo.list_providers": "a provider delivers for all tenants",
    "evidence_repo.list_top_tenants": "finds the tenants",
    "evidence_repo.prune": "sweeps what is old, whose ever it is",
    "evidence_repo.take_number": "a process counts for all tenants",
    "finance_repo.filter_parameters": "turns a filter into parameters; asks the database nothing",
    "flag_repo.find_levels": "what is said for everybody",
    "flag_repo.list_expired": "a job's question about all tenants; each row says whose it is",
    "flag_repo.list_levels": "what is said for everybody",
    "flag_repo.list_own_values": "one copy for all tenants and providers",
    "flag_repo.list_refused": "asks whether any tenant is refused",
    "flag_repo.write": "a flag may be everybody's, a provider's or a tenant's; the holder says whose",
    "gate_repo.find_platform": "what is the same for every tenant",
    "gate_repo.list_tenant_facts": "takes the tenants, several at a time",
    "job_repo.defer": "a job belongs to no tenant; its arguments name what it is about",
    "job_repo.list_abandoned": "jobs belong to no tenant",
    "job_repo.prune_finished": "jobs belong to no tenant",
    "job_repo.read_queue": "jobs belong to no tenant",
    "job_repo.take_up": "jobs belong to no tenant",
    "ledger_repo.append_event": "the event carries its tenant",
    "ledger_repo.post": "one call for many players; each event carries its tenant",
    "ledger_repo.record_mismatches": "one call for many players; each mismatch carries its tenant",
    "ledger_repo.results_in_order": "sorts rows; asks the database nothing",
    "monitor_repo.find_last_evaluation": "the monitor looks at all tenants",
    "monitor_repo.find_last_selftest": "the monitor is one for all tenants",
    "monitor_repo.hold_lease": "the monitor is one for all tenants",
    "monitor_repo.insert_selftest": "the monitor is one for all tenants",
    "monitor_repo.list_results": "the decisions were found before, with their tenants",
    "monitor_repo.record_result": "the decision is known by its id, and was made by us",
    "monitor_repo.release_lease": "the monitor is one for all tenants",
    "monitor_repo.take_lease": "the monitor is one for all tenants",
    "payout_repo.claim_due": "a job's question about all tenants; each row says whose it is",
    "payout_repo.find_key_by_name": "finds out which tenant's attempt a provider speaks of",
    "payout_repo.find_key_by_provider_ref": "finds out which tenant's attempt a provider speaks of",
    "payout_repo.find_tenant_of_account": "finds the tenant",
    "payout_repo.find_unknown": "a figure about all tenants",
    "player_import_repo.forbid_writes": "sets the transaction's mode; reads no table",
    "player_import_repo.import_tables": "makes the run's own temporary tables",
    "player_import_repo.lock_imports": "takes the record of the tenant, whose number is the key of the lock",
    "player_import_repo.stage_chunk": "fills the run's own temporary table",
    "player_import_repo.total_new": "reads the run's own temporary table",
    "psp_account_repo.find_signed": "finds out whose account it is",
    "psp_account_repo.find_tenant": "finds out whose account it is",
    "psp_account_repo.list_candidates": "finds out whom a delivery may be for",
    "psp_account_repo.list_secret_names": "readiness is about all tenants",
    "psp_account_repo.list_signed": "finds out whose accounts they are",
    "psp_account_repo.lock": "an operator knows an account by the provider's name for it",
    "psp_account_repo.set_secret_name": "the account is locked",
    "psp_event_repo.find_attempts": "the inbox is one for all tenants; the event is known by its id",
    "psp_event_repo.find_backlog": "the inbox is one for all tenants",
    "psp_event_repo.find_withdrawal_tenant": "finds out whose withdrawal it is",
    "psp_event_repo.finish": "the event is locked",
    "psp_event_repo.lease_hint": "the event is locked",
    "psp_event_repo.list_due": "the inbox is one for all tenants",
    "psp_event_repo.lock_due": "the inbox is one for all tenants; the event says its tenant",
    "psp_event_repo.postpone": "the inbox is one for all tenants; the event is known by its id",
    "psp_event_repo.prune_unverified": "what nobody vouches for belongs to no tenant",
    "psp_event_repo.reopen": "the event is locked, and its tenant was checked",
    "psp_event_repo.store_unverified": "what nobody vouches for belongs to no tenant",
    "psp_event_repo.store_verified": "one call for many tenants; each delivery carries its tenant",
    "finding_repo.count_open": "one answer for all tenants",
    "finding_repo.filter_parameters": "turns a filter into parameters; asks the database nothing",
    "reconciliation_desk_repo.list_names": "names what was found in rows that may be seen",
    "reconciliation_match_repo.count_lines": "lines are of one run, and a run of one tenant",
    "reconciliation_match_repo.refresh_statistics": "the planner's statistics know no tenants",
    "reconciliation_repo.copy_lines": "lines are of one run, and a run of one tenant",
    "reconciliation_repo.delete_lines": "lines are of one run, and a run of one tenant",
    "reconciliation_repo.list_due": "finds the tenants",
    "reconciliation_repo.list_idle": "a job's question about all tenants",
    "reconciliation_repo.list_last_successes": "one answer for all tenants",
    "reconciliation_repo.list_parts": "an order to run all tenants",
    "reconciliation_repo.list_tenants": "finds the tenants",
    "reconciliation_repo.try_lock": "takes the record of the run, whose number is the key of the lock",
    "reconciliation_repo.unlock": "takes the record of the run, whose number is the key of the lock",
    "rollout_desk_repo.find_monitor": "the monitor is one for all tenants",
    "rollout_desk_repo.list_evidence": "takes the tenants, several at a time",
    "rollout_desk_repo.list_standing": "takes the tenants, several at a time",
    "sandbox_repo.enforce": "there is one sandbox",
    "sandbox_repo.ensure": "finds the tenant",
    "sandbox_repo.forget_deliveries": "a provider delivers for all tenants",
    "sandbox_repo.plant": "there is one sandbox, and the function knows no other tenant's players",
    "sandbox_repo.try_lock": "there is one sandbox",
    "sandbox_repo.unlock": "there is one sandbox",
    "rollout_repo.find_tenant_id": "finds the tenant",
    "rollout_repo.is_enforced_by_default": "asks about a tenant with nothing of its own",
    "rollout_repo.keep_short": "sets the transaction's limits; reads no table",
    "rollout_repo.list_balances": "waves are chosen among all tenants",
    "rollout_repo.list_enforced_by": "finds the tenants",
    "rollout_repo.list_enforced_ids": "finds the tenants",
    "rollout_repo.lock_control": "one lock for everybody's flags",
    "rollout_repo.settle": "finds out whose arbiter a change of everybody's flags has moved",
    "rollout_repo.take_fences": "takes the tenants, several at a time",
    "sign_in_repo.clear_failures": "a subject names its tenant, if it has one",
    "sign_in_repo.count_failure": "a subject names its tenant, if it has one",
    "sign_in_repo.list_failures": "a subject names its tenant, if it has one",
    "sign_in_repo.sweep_failures": "what is over is over for all tenants",
    "statistics_repo.refresh": "the planner's statistics know no tenants",
    "tenant_repo.find_id": "finds the tenant",
    "tenant_repo.insert": "the tenant is being made",
    "usual_repo.count_rejections": "a provider delivers for all tenants",
    "usual_repo.find_pool": "what is usual in the fleet",
    "usual_repo.list_control": "what happens to all tenants that are not enforced",
    "verdict_repo.acknowledge": "the verdict is locked",
    "verdict_repo.forget": "a subject is a tenant or a provider",
    "verdict_repo.keep": "a subject is a tenant or a provider",
    "verdict_repo.list_triggers": "one question for many tenants",
    "verdict_repo.list_verdicts": "a subject is a tenant or a provider",
    "verdict_repo.lock": "a subject is a tenant or a provider",
    "withdrawal_repo.request": "one call for many players; each command carries its tenant",
}


def public_functions() -> Iterator[tuple[str, FunctionType]]:
    """(repository.function, the function) of everything public that a repository defines itself."""
    for name in REPOSITORIES:
        module = importlib.import_module(f"backend.app.{name}")
        for attribute, value in vars(module).items():
            if (
                isinstance(value, FunctionType)
                and value.__module__ == module.__name__
                and not attribute.startswith("_")
            ):
                yield f"{name.rpartition('.')[2]}.{attribute}", value


FUNCTIONS: Final = dict(public_functions())


def takes_tenant_first(function: FunctionType) -> bool:
    parameters = list(inspect.signature(function).parameters)
    return parameters[:2] == ["conn", "tenant_id"]


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - EXCEPTIONS.keys()))
def test_repository_function_takes_the_tenant_first(name: str) -> None:
    assert takes_tenant_first(FUNCTIONS[name]), "add tenant_id after conn, or a reason to EXCEPTIONS"


def test_exceptions_exist_and_are_needed() -> None:
    assert EXCEPTIONS.keys() <= FUNCTIONS.keys(), "an exception for a function that is gone"
    assert not [name for name in EXCEPTIONS if takes_tenant_first(FUNCTIONS[name])]


@cache
def used_queries() -> dict[str, frozenset[str]]:
    """The names used as `SQL.name` in each noun's module, wherever in the application it is."""
    used: dict[str, set[str]] = {}
    for path in APP.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        noun = next((loaded for node in tree.body if (loaded := loaded_noun(node)) is not None), None)
        if noun is None:
            continue
        names = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "SQL"
        }
        used.setdefault(noun, set()).update(names)
    return {noun: frozenset(names) for noun, names in used.items()}


def loaded_noun(statement: ast.stmt) -> str | None:
    """The noun of a line `SQL = sql.load("noun")`."""
    match statement:
        case ast.Assign(
            targets=[ast.Name(id="SQL")],
            value=ast.Call(func=ast.Attribute(value=ast.Name(id="sql"), attr="load"), args=[ast.Constant(value=noun)]),
        ):
            return str(noun)
    return None


@pytest.mark.parametrize("noun", NOUNS)
def test_every_query_is_used_and_every_used_one_exists(noun: str) -> None:
    assert set(sql.load(noun).names()) == used_queries().get(noun, frozenset())


def test_mockpsp_uses_every_query_it_has() -> None:
    tree = ast.parse(Path(books.__file__).read_text("utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "SQL"
    }
    assert set(books.SQL.names()) == used


def test_every_loaded_noun_has_its_file() -> None:
    assert set(used_queries()) == set(NOUNS)


def queries() -> Iterator[tuple[str, str, str]]:
    """(noun, name, text) of every named query, those of the peer included."""
    for noun, loaded in (*((noun, sql.load(noun)) for noun in NOUNS), ("mockpsp", books.SQL)):
        for name in loaded.names():
            yield noun, name, getattr(loaded, name).decode()


@pytest.mark.parametrize(("noun", "name", "text"), list(queries()))
def test_query_says_what_it_answers(noun: str, name: str, text: str) -> None:
    assert re.match(r"-- [A-Z]", text), f"{noun}.{name}"
    assert "SELECT *" not in text


@pytest.mark.parametrize(("noun", "name", "text"), [each for each in queries() if each[1].startswith("list_")])
def test_list_is_bounded_and_in_one_order(noun: str, name: str, text: str) -> None:
    assert re.search(r"\bLIMIT\b", text), f"{noun}.{name} has no LIMIT"
    assert re.search(r"\bORDER BY\b", text), f"{noun}.{name} has no ORDER BY"
