"""The figure of a run is drawn by a process of its own, which gets ready while the run computes.

Of the modules of a process one is loaded at a time, whatever the number of its threads. Loading matplotlib,
and all else that a figure needs, takes as long as an everyday run of the equations for N → ∞.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from langevin.machine import processor

#: The process begins with the module path of this one: what this one would import, it imports.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from langevin.commands.draughtsman import main; main()"
)
#: Seconds after which it is killed that goes on drawing when nobody wants the figure any more.
_GRACE = 10.0
#: The same of one that has nothing to draw: it may be within a library that loads, and hears nothing.
_BRIEF = 2.0
#: Bytes of a run file that are looked at; none may have more.
_LARGEST = 1 << 20
#: How a run file says that there is no figure, or that it is a sweep.
_NONE = re.compile(rb"^[ \t]*(output[ \t]*\.[ \t]*)?figure[ \t]*=[ \t]*false", re.MULTILINE)
_SWEEP = re.compile(rb"^[ \t]*(\[[ \t]*)?sweep[ \t]*[].=]", re.MULTILINE)


def main() -> None:
    """Be the process that draws, from its first breath to its last."""
    # A wish to stop is for whoever started this, who hears it, and closes its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Files that libraries have made for a while go with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    # What is said while it loads is heard with the figure, if that is wanted. If it cannot load, whoever
    # started it cannot either, and says so.
    sys.stderr = held = io.StringIO()
    done = False
    try:
        from langevin.plotting import beside

        done = beside.main(held)
    finally:
        atexit._run_exitfuncs()
        # An orderly end would take the interpreter apart first.
        os._exit(0 if done else 1)


def wanted(run_file: Path, assignments: Sequence[str]) -> bool:
    """Return whether a run file looks like that of a single run with a figure.

    It is neither parsed nor checked yet: where this is mistaken, a draughtsman is not there, or for nothing.

    Parameters
    ----------
    run_file : Path
    assignments : sequence of str
        Of --set.
    """
    try:
        if not run_file.is_file():
            # A pipe can be read once.
            return False
        with run_file.open("rb") as file:
            text = file.read(_LARGEST)
    except (OSError, ValueError):
        # That is said by whoever reads it for good.
        return False
    if any(assignment.startswith(("output", "sweep")) for assignment in assignments):
        return False
    return not (_NONE.search(text) or _SWEEP.search(text))


def knows_figures() -> bool:
    """Return whether code of the user's may have registered a figure here, or changed how figures look."""
    return "matplotlib" in sys.modules


class Draughtsman:
    """A process that draws one figure, or leaves it to its starter: both draw the same."""

    def __init__(self) -> None:
        self._asked = False
        self._process = subprocess.Popen(
            # -P: what stands in the working directory is not imported.
            [sys.executable, "-P", "-c", _START, json.dumps([p for p in sys.path if isinstance(p, str)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # Ctrl-C reaches every process of a terminal's session, those that have just begun, too.
            start_new_session=True,
        )

    def begin(self, result: Path, figure: Path) -> None:
        """Let it begin, unless this process knows figures by now that it does not know."""
        if knows_figures():
            return
        assert self._process.stdin is not None
        # It may have left: then its answer ends, too.
        with suppress(BrokenPipeError):
            # Code of the user's may have gone to another folder since it began.
            paths = [str(path.absolute()) for path in (result, figure)]
            self._process.stdin.write(json.dumps(paths).encode() + b"\n")
            self._asked = True

    def has_drawn(self) -> bool:
        """Wait for its answer; return whether the figure is there. Else it is still to be drawn."""
        assert self._process.stdout is not None
        return self._asked and self._process.stdout.readline() == b"drawn\n"

    def leave(self) -> None:
        """Let it end, and wait for that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        if not self._asked:
            # It has nothing in hand that somebody waits for.
            self._process.terminate()
        try:
            self._process.wait(_GRACE if self._asked else _BRIEF)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextmanager
def at_hand(threads: int | None) -> Iterator[Draughtsman | None]:
    """Have a draughtsman for a while; none if there is no processor for it.

    Parameters
    ----------
    threads : int or None
        Processors that a run may use; None: all.
    """
    available = processor.available()
    draughtsman = None
    several = min(available, available if threads is None else threads) > 1
    # Python inside another program may not know its own.
    if several and sys.executable and not knows_figures():
        # Where no further process may be started, one is enough.
        with suppress(OSError):
            draughtsman = Draughtsman()
    try:
        yield draughtsman
    finally:
        if draughtsman is not None:
            draughtsman.leave()
