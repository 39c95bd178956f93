"""Bars are drawn by what shows them best: a widget in a notebook, text on stderr where that is a terminal.

That nobody knows how wide the terminal is does not keep a bar from it. Elsewhere nothing is drawn.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

#: Columns of a terminal that does not say how many it has, less the one that a cursor takes; and its rows.
USUAL, ROWS = 79, 24

#: Characters of a title that a bar has room for, at least and at most; what else it shows, with a bar of ten.
SHORTEST, LONGEST, REST = 12, 40, 68


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook: that has no terminal, and shows bars."""
    # Whoever has a kernel has imported it.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def bar(title: str, shown: bool, **how: Any) -> Any:
    """Return a bar of tqdm; nothing is drawn where there is neither a notebook nor a terminal.

    Parameters
    ----------
    title : str
        What it stands for; cut to the room that there is.
    shown : bool
        False: nothing at all.
    **how
        As of tqdm.
    """
    from tqdm.std import tqdm

    kind: Any = tqdm
    disable: bool | None = None if shown else True
    widget = False
    if shown and in_notebook():
        disable = False
        widget = importlib.util.find_spec("ipywidgets") is not None
        if widget:
            from tqdm import notebook

            kind = notebook.tqdm
    known = terminal_columns()
    width = known or _said() or USUAL
    room = min(max(width - REST, SHORTEST), LONGEST)
    # A terminal that knows its width may change it: tqdm looks for itself.
    return kind(
        desc=title if len(title) <= room else f"{title[: room - 1].rstrip()}…",
        disable=disable,
        # A widget takes the width of its cell.
        ncols=None if known or widget else width,
        # Of a terminal with no rows tqdm takes every one for the last, and hides the bar.
        nrows=None if known else ROWS,
        **how,
    )


def terminal_columns() -> int:
    """Return how many columns the terminal of stderr says that it has; 0 if it does not, or is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        # A stream in place of stderr may have no descriptor.
        return 0


def _said() -> int:
    """Return the columns that the environment says; 0 if it does not."""
    said = os.environ.get("COLUMNS", "")
    return max(0, int(said) - 1) if said.isdecimal() else 0
