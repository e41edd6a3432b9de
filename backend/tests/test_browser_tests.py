"""`make e2e` finds the browser and the programs it needs; the tests themselves are those of e2e/."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.config import CHECKOUT
from backend.scripts import browser_tests
from backend.scripts.browser_tests import ChromiumMissing, command_of, find_chromium
from backend.scripts.npm_packages import npm_command


def program(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_named_browser_comes_before_the_systems(tmp_path: Path) -> None:
    systems, named = program(tmp_path, "chromium"), program(tmp_path, "mine")
    assert find_chromium({"PATH": str(tmp_path)}) == systems
    assert find_chromium({"PATH": str(tmp_path), "CHROMIUM_PATH": str(named)}) == named
    with pytest.raises(ChromiumMissing, match="no program"):
        find_chromium({"PATH": str(tmp_path), "CHROMIUM_PATH": str(tmp_path / "gone")})


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac may have one among its applications")
def test_machine_without_a_browser_has_none(tmp_path: Path) -> None:
    assert find_chromium({"PATH": str(tmp_path)}) is None


def test_command_is_the_one_that_people_type(tmp_path: Path) -> None:
    npm = program(tmp_path, "npm")
    command, environment = command_of(("tests/a.spec.ts",), chromium=tmp_path / "chromium", npm=(str(npm),))
    assert [Path(command[0]).name, *command[1:]] == ["yarn", "--silent", "test:e2e", "tests/a.spec.ts"]
    first, second, *_ = environment["PATH"].split(os.pathsep)
    assert (Path(first), Path(second)) == (browser_tests.FOLDER / "node_modules" / ".bin", tmp_path)


def test_every_spec_is_known_to_the_runner() -> None:
    """What `make test` would run, without starting anything: the configuration and all specs can be read."""
    if not (browser_tests.FOLDER / "node_modules").is_dir():
        pytest.fail("run make setup")
    command, environment = command_of(("--list",), chromium=Path(sys.executable), npm=npm_command())
    listed = subprocess.run(
        command, cwd=browser_tests.FOLDER, env=os.environ | environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stdout + listed.stderr
    specs = {path.name for path in (CHECKOUT / "e2e" / "tests").glob("*.spec.ts")}
    assert "finance-withdrawals-smoke.spec.ts" in specs
    assert [name for name in specs if name not in listed.stdout] == []
