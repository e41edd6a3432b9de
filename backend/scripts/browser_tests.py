"""`make e2e`: runs the browser tests of e2e/ with the Node, yarn and Chromium that there are.

    python -m backend.scripts.browser_tests [tests/finance-withdrawals-smoke.spec.ts …]

Node and yarn are those of `make setup`. Chromium is CHROMIUM_PATH or the system's; where there is none it is Debian's
package, which only root can install: the one thing that tests put outside of the checkout.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from backend.scripts.npm_packages import CHECKOUT, EXIT_ENVIRONMENT, NodeMissing, npm_command

FOLDER: Final = CHECKOUT / "e2e"
# e2e/support/chromium.ts looks for the same.
NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
APPLICATIONS: Final = (
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
)
PACKAGE: Final = "chromium"


class ChromiumMissing(Exception):
    """No browser, and none could be installed; the message says what to do."""


def main() -> None:
    """Run them; exits with Playwright's own code, or 3 with one message when something is missing."""
    try:
        chromium = find_chromium(os.environ) or install_chromium()
        command, environment = command_of(tuple(sys.argv[1:]), chromium=chromium, npm=npm_command())
    except (ChromiumMissing, NodeMissing) as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_ENVIRONMENT)
    sys.exit(subprocess.run(command, cwd=FOLDER, env=os.environ | environment, check=False).returncode)


def command_of(
    specs: tuple[str, ...], *, chromium: Path, npm: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command that the README names, and what its environment needs beside ours."""
    programs = (str(FOLDER / "node_modules" / ".bin"), str(Path(npm[0]).parent), os.environ.get("PATH", ""))
    environment = {"PATH": os.pathsep.join(programs), "CHROMIUM_PATH": str(chromium)}
    return (str(FOLDER / "node_modules" / ".bin" / "yarn"), "--silent", "test:e2e", *specs), environment


def find_chromium(environment: Mapping[str, str]) -> Path | None:
    """CHROMIUM_PATH, or the system's browser; None when there is none. Raises ChromiumMissing for a path to nothing."""
    named = environment.get("CHROMIUM_PATH")
    if named:
        if not os.access(named, os.X_OK):
            raise ChromiumMissing(f"CHROMIUM_PATH is {named}, and that is no program")
        return Path(named)
    for name in NAMES:
        found = shutil.which(name, path=environment.get("PATH"))
        if found is not None:
            return Path(found)
    return next((each for each in APPLICATIONS if os.access(each, os.X_OK)), None)


def install_chromium() -> Path:
    """Debian's Chromium. Raises ChromiumMissing where that cannot be had."""
    if os.geteuid() == 0 and shutil.which("apt-get") is not None:
        print(f"no Chromium here: apt-get install {PACKAGE} (once)", flush=True)
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        # Without the lists of packages, which a fresh machine does not have, there is nothing to install.
        for command in (("update", "-qq"), ("install", "-qq", "--yes", "--no-install-recommends", PACKAGE)):
            subprocess.run(("apt-get", *command), env=quiet, stdout=subprocess.DEVNULL, check=False)
        found = find_chromium(os.environ)
        if found is not None:
            return found
    raise ChromiumMissing(
        "The browser tests need Chromium; there is none here, and none could be installed. Install it (Debian: "
        "apt-get install chromium; macOS: brew install --cask chromium) or name one: CHROMIUM_PATH=/path/to/chromium"
    )


if __name__ == "__main__":
    main()
