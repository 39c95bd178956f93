"""`output.track` names what is told of a run's numbers as they come: a tracker of experiments."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langevin.code import trust
from langevin.code.user_code import is_open
from langevin.errors import LONGEST_VALUE, UserError
from langevin.machine.extras import require_package

from .keys import shown

#: The key of a run file.
KEY = "output.track"


@dataclass(frozen=True)
class BuiltIn:
    """A tracker of ours.

    Attributes
    ----------
    function : str
        "module:function".
    package : str
        What it needs; the extra "track" installs it.
    """

    function: str
    package: str


#: One line for each.
TRACKERS = {"tensorboard": BuiltIn("langevin.running.tensorboard:events", "tensorboardX")}

_ALLOWED = f'{", ".join(shown(name) for name in TRACKERS)}, or your own "package.module:function"'


def read(name: str, folder: Path, faults: list[str]) -> Callable[[Any], Any] | None:
    """Return the function that makes a tracker; None, and perhaps a fault, if there is none."""
    if not name:
        return None
    said = f"{KEY} = {shown(name)}"
    try:
        if name in TRACKERS:
            if trust.origin() is None:
                # Whoever reads a result, or goes on with a run of another machine, may do without.
                require_package(TRACKERS[name].package, said, "track")
            module, _, function = TRACKERS[name].function.partition(":")
            return later(module, function)
        if ":" not in name or len(name) > LONGEST_VALUE or is_open(name.partition(":")[0]):
            # What any file may name holds no trackers, and much that can be called.
            raise UserError(f"{said}: no such tracker; allowed: {_ALLOWED}")
        found, source = trust.find(KEY, name, folder)
    except UserError as error:
        faults.append(str(error))
        return None
    if not callable(found):
        faults.append(f"{said}: {source.file or source.name} has no such function; allowed: {_ALLOWED}")
        return None
    return found


def later(module: str, function: str) -> Callable[[Any], Any]:
    """Return a function of a module that is imported when it is called."""

    def called(run: Any) -> Any:
        return getattr(importlib.import_module(module), function)(run)

    return called
