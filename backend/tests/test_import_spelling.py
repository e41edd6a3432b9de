"""The runbook's commands are typed inside backend/; there every module still has only one name."""

import subprocess
import sys

import pytest

from backend.config import CHECKOUT


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    # With -c, Python puts the current directory first on its path, as it does with -m.
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT / "backend",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("name", ["config", "app", "app.repositories.engine"])
def test_short_spelling_is_refused_inside_backend(name: str) -> None:
    done = run_python(f"import {name}")
    assert done.returncode == 1
    assert "ImportError: this " in done.stderr
    assert f"is imported as backend.{name.partition('.')[0]}, not as" in done.stderr


def test_full_spelling_works_inside_backend() -> None:
    done = run_python("import backend.config, backend.app.repositories.engine as e; print(e.__name__)")
    assert done.stdout.strip() == "backend.app.repositories.engine", done.stderr
