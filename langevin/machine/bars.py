"""A bar is drawn by what shows it best: a widget in a notebook, text in a terminal; elsewhere by nothing."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook: that has no terminal, and shows bars."""
    # Whoever has a kernel has imported it.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def bar(shown: bool, **keywords: Any) -> Any:
    """Return a bar of tqdm.

    Parameters
    ----------
    shown : bool
        Whether it is drawn where somebody can see it: in a notebook, or on a terminal.
    **keywords
        As tqdm takes them.
    """
    from tqdm.std import tqdm

    kind: Any = tqdm
    disable: bool | None = None if shown else True
    if shown and in_notebook():
        disable = False
        if importlib.util.find_spec("ipywidgets") is not None:
            from tqdm.notebook import tqdm as widget

            kind = widget
    return kind(disable=disable, **keywords)
