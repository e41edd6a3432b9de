"""`hakem` for pages that type it dozens of times: each command is a fork of one process that has imported everything.

    python -m backend.tests.forked_commands serve SOCKET             prints "ready", then takes commands
    python forked_commands.py SOCKET MODULE [ARGUMENT…]              runs one, as `python -m MODULE` would

Importing the application takes most of a short command's time. What a command sees is its own: arguments, environment,
folder, standard streams; and its exit code is what its caller gets. The second form imports the standard library only.
"""

import json
import os
import socket
import sys
from pathlib import Path

LENGTH_MAX = 1_000_000


def serve(path: str) -> None:
    """Take commands until somebody ends the process."""
    # Here, not at the top: a caller shares this file and not these imports.
    import runpy  # noqa: PLC0415
    import signal  # noqa: PLC0415

    import backend.app.main  # noqa: PLC0415
    import backend.scripts.cli  # noqa: F401, PLC0415

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(16)
    # Nobody waits for the forks: they tell their callers themselves how they ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)  # noqa: T201  # whoever started it reads this
    while True:
        caller, _ = listening.accept()
        if os.fork() != 0:
            caller.close()
            continue
        listening.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Not sys.exit: nothing of the process that was forked may be ended or flushed twice.
        os._exit(_run(caller, runpy.run_module))


def _run(caller: socket.socket, run_module: object) -> int:
    message, streams, _, _ = socket.recv_fds(caller, LENGTH_MAX, 3)
    asked = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = [asked["module"], *asked["arguments"]]
    code: object = 0
    try:
        run_module(asked["module"], run_name="__main__", alter_sys=True)  # type: ignore[operator]  # of runpy
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if code is None or isinstance(code, int):
        caller.sendall(bytes([code or 0]))
    else:
        print(code, file=sys.stderr, flush=True)  # noqa: T201  # the message of an exit
        caller.sendall(b"\x01")
    return 0


def ask(path: str, module: str, arguments: list[str]) -> int:
    """Run one command; its exit code."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        asked = {
            "module": module,
            "arguments": arguments,
            "environment": dict(os.environ),
            "folder": str(Path.cwd()),
        }
        socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
        code = server.recv(1)
    return code[0] if code else 70


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2], sys.argv[3:]))
