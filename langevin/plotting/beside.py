"""A process that draws the figure of one run (`langevin.commands.draughtsman` starts it).

It loads what it needs while the run computes. Then it is told, in a line of JSON, the path of the result and
that of the figure, and answers a line when the figure is there. If its input ends, or nothing comes for
`PATIENCE` seconds, it ends: a long run is not to carry it along. So it does after an error, for whoever has
started it draws then, and says what is wrong.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
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


def main() -> None:
    """Get ready, draw, and end."""
    # It draws one figure, and ends.
    gc.disable()
    # Lines are for whoever started this; what else is printed goes to stderr.
    voice = os.dup(1)
    os.dup2(2, 1)
    # Ctrl-C reaches every process of the terminal; whoever started this hears it, and closes its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever started this reads the same file, and says the same.
    warnings.simplefilter("ignore", LangevinWarning)
    get_ready()
    heard, _, _ = select.select([0], [], [], PATIENCE)
    line = os.read(0, 1 << 20) if heard else b""
    if not line:
        os._exit(0)
    try:
        result, figure = map(Path, json.loads(line))
        with open_result(result) as dataset:
            plotting.save(dataset, figure)
        os.write(voice, b"drawn\n")
    except Exception:  # noqa: BLE001 -- it comes again where it can be said
        os._exit(1)
    # An orderly end would take the interpreter apart first.
    os._exit(0)


def get_ready() -> None:
    """Load what is loaded with the first figure only."""
    drawings(RUN)
    # With its first array xarray loads what it knows of other arrays.
    xr.Dataset({"x": ("t", [0.0])})
