"""Settings of the embedded PostgreSQL, modest and fitted to its machine."""

from pathlib import Path

import psutil

MEBIBYTE = 1024 * 1024


def server_settings(*, socket_folder: Path, durable: bool) -> str:
    """The text of a complete postgresql.conf; not `durable` is for data that may be lost, as in tests."""
    memory = psutil.virtual_memory().total // MEBIBYTE
    settings: dict[str, str] = {
        "cluster_name": "hakem",
        # Reachable by this machine's processes only, and by password there.
        "listen_addresses": "",
        "unix_socket_directories": _list_item(socket_folder),
        "unix_socket_permissions": "0777",
        "password_encryption": "scram-sha-256",
        # Two services with four workers each, and room for people's own sessions. A run of tests has more services.
        "max_connections": "250" if durable else "600",
        # A batch takes one advisory lock a tenant and a migration locks many tables.
        "max_locks_per_transaction": "256",
        "shared_buffers": f"{_within(memory // 8, 128, 1024)}MB",
        "effective_cache_size": f"{max(memory // 2, 256)}MB",
        "maintenance_work_mem": f"{_within(memory // 32, 64, 256)}MB",
        "work_mem": "8MB",
        "wal_buffers": "16MB",
        "min_wal_size": "256MB",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        # The queries are short: compiling them costs more than it saves.
        "jit": "off",
        # The ledger only grows: index-only scans need its visibility map kept up.
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        "autovacuum_analyze_scale_factor": "0.02",
        "autovacuum_naptime": "15s",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "log_min_messages": "warning",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        # Statements may carry people's data; the application logs what is needed.
        "log_min_error_statement": "panic",
        "log_checkpoints": "off",
    }
    if not durable:
        settings |= {
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "shared_buffers": "128MB",
        }
    lines = (f"{name} = {_quoted(value)}" for name, value in settings.items())
    return "# Written by Hakem at each start.\n" + "\n".join(lines) + "\n"


def _within(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _list_item(path: Path) -> str:
    # Double quotes keep commas and spaces of a path inside one item of a list.
    return '"' + str(path).replace('"', '""') + '"'


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
