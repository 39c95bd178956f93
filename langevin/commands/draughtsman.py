"""The figure of a run is drawn by a process of its own, which gets ready while the run computes.

Of the modules of a process one is loaded at a time, whatever the number of its threads. Loading matplotlib,
and all else that a figure needs, takes as long as an everyday run of the equations for N → ∞.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

#: The process begins with the module path of this one: what this one would import, it imports.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from langevin.plotting.beside import main; main()"
)
#: Seconds after which it is killed that goes on drawing when nobody wants the figure any more.
_GRACE = 10.0


def wanted(run_file: Path, assignments: Sequence[str]) -> bool:
    """Return whether a run file looks like that of a single run with a figure.

    It is not checked yet: where this is mistaken, a draughtsman is not there, or for nothing.

    Parameters
    ----------
    run_file : Path
    assignments : sequence of str
        Of --set.
    """
    if not run_file.is_file():
        # A pipe can be read once.
        return False
    try:
        tables = tomllib.loads(run_file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    output = tables.get("output", {})
    said = isinstance(output, dict) and output.get("figure", True) is True
    return said and "sweep" not in tables and not any(a.startswith(("output", "sweep")) for a in assignments)


def knows_figures() -> bool:
    """Return whether code of the user's may have registered a figure here, or changed how figures look."""
    return "matplotlib" in sys.modules


class Draughtsman:
    """A process that draws one figure, or leaves it to its starter: both draw the same."""

    def __init__(self) -> None:
        self._asked = False
        self._process = subprocess.Popen(
            # -P: what stands in the working directory is not imported.
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def begin(self, result: Path, figure: Path) -> None:
        """Let it begin, unless this process knows figures by now that it does not know."""
        if knows_figures():
            return
        assert self._process.stdin is not None
        # It may have left: then its answer ends, too.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([str(result), str(figure)]).encode() + b"\n")
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
            # It has nothing in hand that would stay half done.
            self._process.kill()
        try:
            self._process.wait(_GRACE)
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
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    draughtsman = None
    if min(available, available if threads is None else threads) > 1 and not knows_figures():
        # Where no further process may be started, one is enough.
        with suppress(OSError):
            draughtsman = Draughtsman()
    try:
        yield draughtsman
    finally:
        if draughtsman is not None:
            draughtsman.leave()
