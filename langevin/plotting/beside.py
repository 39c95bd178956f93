"""A process that draws the figure of one run (`langevin.commands.draughtsman` starts it).

It loads what it needs while the run computes. Then it is told, in a line of JSON, the path of the result and
that of the figure, and answers a line when the figure is there. If its input ends, or nothing comes for
`PATIENCE` seconds, it ends: a long run is not to carry it along. So it does after an error, for whoever has
started it draws then, and says what is wrong.
"""

from __future__ import annotations

import gc
import io
import json
import os
import select
import sys
import warnings
from pathlib import Path

import xarray as xr

from langevin import plotting
from langevin.errors import LangevinWarning
from langevin.results.kinds import RUN
from langevin.results.open import open_result

from .registry import drawings

#: Seconds that it waits for the result.
PATIENCE = 30.0


def main(held: io.StringIO | None = None) -> bool:
    """Get ready, wait, draw; return whether the figure is there, or nobody wanted one.

    Parameters
    ----------
    held : StringIO, optional
        What was said while this loaded; it is heard on stderr if the figure is wanted.
    """
    # It draws one figure, and ends.
    gc.disable()
    # Lines are for whoever started this; what else is printed goes to stderr.
    voice = os.dup(1)
    os.dup2(2, 1)
    # Whoever started this reads the same file, and says the same.
    warnings.simplefilter("ignore", LangevinWarning)
    get_ready()
    heard, _, _ = select.select([0], [], [], PATIENCE)
    line = sys.stdin.buffer.readline() if heard else b""
    if not line:
        return True
    try:
        if held is not None:
            sys.stderr = sys.__stderr__
            print(held.getvalue(), end="", file=sys.stderr, flush=True)
        result, figure = map(Path, json.loads(line))
        with open_result(result) as dataset:
            plotting.save(dataset, figure)
        os.write(voice, b"drawn\n")
    except Exception:  # noqa: BLE001 -- it comes again where it can be said
        return False
    return True


def get_ready() -> None:
    """Load what is loaded with the first figure only."""
    drawings(RUN)
    # With its first array xarray loads what it knows of other arrays.
    xr.Dataset({"x": ("t", [0.0])})
