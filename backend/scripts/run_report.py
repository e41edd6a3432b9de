"""A run of reconciliation as commands tell of it."""

from typing import Any

from backend.app.domain.reconciliation.reconciliation import Run


def document(done: Run) -> dict[str, Any]:
    """As `--json` prints it."""
    return {
        "run_id": done.id,
        "status": done.status,
        "provider": done.provider,
        "tenant_id": done.tenant_id,
        "window_start": None if done.window_start is None else done.window_start.isoformat(),
        "window_end": None if done.window_end is None else done.window_end.isoformat(),
        "cutoff": None if done.cutoff is None else done.cutoff.isoformat(),
        "dry_run": done.is_dry_run,
        "counts": done.counts,
        "control_totals": done.control_totals,
        "file": done.file,
        "error": done.error,
    }


def print_run(done: Run) -> None:
    """As a person reads it; the last line says how it ended."""
    for title in ("findings", "opened", "reopened", "auto_cleared"):
        by_type = done.counts.get(title) or {}
        print(f"{title}: {', '.join(f'{name}={count}' for name, count in sorted(by_type.items())) or 'none'}")
    known = ("psp_lines", "ledger_items", "matched", "tenants", "skipped", "completed", "partial", "failed")
    shown = " ".join(f"{name}={done.counts[name]}" for name in known if name in done.counts)
    print(f"{done.status}: {shown}" + (f" ({done.error})" if done.error else ""))
