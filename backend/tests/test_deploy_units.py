"""What stands in deploy/: units that give up what they do not need, and an image in which everything is locked."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest

from backend.app.api.middleware import QUIET_PATHS
from backend.config import CHECKOUT, WEBHOOK_SECRET_PREFIX, Settings
from backend.scripts import cli

SYSTEMD: Final = CHECKOUT / "deploy" / "systemd"
UNITS: Final = sorted(SYSTEMD.glob("*.service"))
CONTAINERFILE: Final = CHECKOUT / "deploy" / "Containerfile"
INSTALLED: Final = "/opt/hakem/.venv/bin/hakem"

# What each unit has to say, whatever systemd is at hand to judge it.
HARDENED: Final = {
    "AmbientCapabilities": "",
    "CapabilityBoundingSet": "",
    "DynamicUser": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
}
# Of ten; 0 is a process that can do nothing at all.
EXPOSURE_MAX: Final = 2.0


def directives(unit: Path) -> dict[str, list[str]]:
    """What the unit says, by name, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_gives_up_what_it_does_not_need(unit: Path) -> None:
    said = directives(unit)
    assert {name: said.get(name) for name in HARDENED} == {name: [value] for name, value in HARDENED.items()}
    assert "/etc/hakem/hakem.env" in said["EnvironmentFile"], "secrets are no part of a unit"
    assert said["StateDirectory"] == ["hakem"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_starts_a_command_that_exists(unit: Path) -> None:
    (command,) = directives(unit)["ExecStart"]
    program, *arguments = shlex.split(command)
    assert program == INSTALLED
    assert_understood(arguments)


def assert_understood(arguments: list[str]) -> None:
    """The command line takes these words and options; --help keeps it from doing anything."""
    assert cli.run(cli.app, [*arguments, "--help"]) == 0
    assert cli.run(cli.app, [*arguments, "--no-such-option", "--help"]) == 2


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze here; the directives are tested"
)
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text("utf-8").replace(INSTALLED, sys.executable)
        (tmp_path / unit.name).write_text(text, "utf-8")
    names = [str(tmp_path / unit.name) for unit in UNITS]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, timeout=60, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", *names],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    exposures = [float(text) for text in re.findall(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)]
    assert len(exposures) == len(UNITS), judged.stderr
    assert max(exposures) <= EXPOSURE_MAX


def test_example_of_the_environment_is_complete_but_for_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (SYSTEMD / "hakem.env.example").read_text("utf-8").splitlines()
    said = dict(line.partition("=")[::2] for line in lines if line and not line.startswith("#"))
    named = {*said, *(line[1:].partition("=")[0] for line in lines if re.match(r"#[A-Z_]+=", line))}
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    unknown = {
        name
        for name in named
        if name.lower() not in Settings.model_fields and not name.startswith(WEBHOOK_SECRET_PREFIX)
    }
    assert unknown == set()
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert Settings.load().problems_outside_dev() == ("JWT_SECRET is not set", "WEBHOOK_SECRET_MOCKPSP is not set")


# ---------------------------------------------------------------------------------------------------------------------
# The image
# ---------------------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """(instruction, what follows) of the Containerfile, with continued lines joined and without comments."""
    lines = [line for line in CONTAINERFILE.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def copied() -> Iterator[tuple[str | None, tuple[str, ...]]]:
    """(stage, sources) of each COPY; the stage is None for what comes out of the repository."""
    for instruction, rest in instructions():
        if instruction == "COPY":
            words = rest.split()
            options = [word for word in words if word.startswith("--")]
            stage = next((option.partition("=")[2] for option in options if option.startswith("--from=")), None)
            yield stage, tuple(word for word in words if word not in options)[:-1]


def test_image_is_built_on_a_base_that_its_builder_names_by_digest() -> None:
    said = instructions()
    assert said[0] == ("ARG", "PYTHON_IMAGE"), "a default would be a tag that moves or a digest that ages"
    bases = [rest.split()[0] for instruction, rest in said if instruction == "FROM"]
    assert bases == ["${PYTHON_IMAGE}"] * len(bases)
    assert "--build-arg PYTHON_IMAGE=<image>@sha256:<digest>" in CONTAINERFILE.read_text("utf-8")


def test_image_takes_only_what_is_there_and_what_its_stages_made() -> None:
    stages = {rest.split()[-1] for instruction, rest in instructions() if instruction == "FROM" and " AS " in rest}
    ignored = (CHECKOUT / ".dockerignore").read_text("utf-8").splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    for stage, sources in copied():
        assert stage is None or stage in stages
        for source in sources:
            if stage is None:
                assert (CHECKOUT / source).exists(), source
                assert is_sent(source, patterns), f"{source} is kept out of the build by .dockerignore"
    kept_out = ("var/secrets/jwt_secret", ".env", ".git/config", "backend/tests/conftest.py", "e2e/package.json")
    assert [name for name in kept_out if is_sent(name, patterns)] == []


def is_sent(name: str, patterns: list[str]) -> bool:
    """Whether a file is part of what a build is sent: the last pattern that names it or a folder above it decides."""
    above = [name, *(str(folder) for folder in Path(name).parents)]
    decided = True
    for pattern in patterns:
        if any(fnmatch(path, pattern.removeprefix("!")) for path in above if path != "."):
            decided = pattern.startswith("!")
    return decided


def test_image_installs_nothing_that_is_not_locked() -> None:
    installs = [
        command
        for instruction, rest in instructions()
        if instruction == "RUN"
        for command in rest.split("&&")
        if " pip install " in command
    ]
    assert len(installs) == 2
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)
    lock = re.search(r"sed -n '([^']+)' requirements-dev.lock", CONTAINERFILE.read_text("utf-8"))
    assert lock is not None
    shown = subprocess.run(
        ["sed", "-n", lock[1], "requirements-dev.lock"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    assert re.fullmatch(r"setuptools==\S+( \\\n +--hash=sha256:[0-9a-f]{64})+\n", shown)


def test_image_runs_as_nobody_special_and_says_whether_it_lives() -> None:
    said = instructions()
    last_stage = said[max(number for number, (instruction, _) in enumerate(said) if instruction == "FROM") :]
    of = dict(last_stage)
    uid, _, gid = of["USER"].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    order = [instruction for instruction, _ in last_stage]
    assert order.index("USER") > max(number for number, word in enumerate(order) if word in {"RUN", "COPY"})
    assert of["STOPSIGNAL"] == "SIGTERM"
    assert "ENV=prod" in of["ENV"]
    (path,) = re.findall(r"http://127.0.0.1:8001(/\w+)", of["HEALTHCHECK"])
    assert path in QUIET_PATHS
    assert json.loads(of["ENTRYPOINT"]) == ["hakem"]
    assert_understood(json.loads(of["CMD"]))
