"""Names of systems → where their classes are. Nothing is imported before it is asked for."""

from __future__ import annotations

import difflib
import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from langevin.errors import UserError
from langevin.system import Model

#: One line per system. Others join through the entry-point group "langevin.systems".
SYSTEMS = {
    "pspin": "langevin.systems.pspin:PSpin",
    "cugliandolo_kurchan": "langevin.systems.cugliandolo_kurchan:CugliandoloKurchan",
    "harmonic": "langevin.systems.harmonic:Harmonic",
}


def names() -> dict[str, str]:
    """Return every registered name with its "module:Class"; ours win over an entry point's."""
    others = {point.name: point.value for point in entry_points(group="langevin.systems")}
    return {**others, **SYSTEMS}


def load(name: str, near: Path | None = None) -> type[Any]:
    """Return the class of a registered system, or of a user's "package.module:Class".

    Parameters
    ----------
    name : str
        Registered name or "package.module:Class".
    near : Path, optional
        Folder of the run file; a user's module is looked for there too.

    Raises
    ------
    UserError
        If there is no such system; the message names the nearest one.
    """
    known = names()
    if name in known:
        return _import(known[name])
    if ":" not in name:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise UserError(
            f"system.name = {name!r}: no such system; nearest: {nearest[0]!r}; "
            f'allowed: {", ".join(sorted(known))}, or your own "package.module:Class"'
        )
    if near is not None and str(near.resolve()) not in sys.path:
        sys.path.append(str(near.resolve()))
    return _import(name)


def _import(target: str) -> type[Any]:
    module_name, _, class_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError, TypeError) as error:
        raise UserError(f"system.name = {target!r}: cannot import {module_name!r}: {error}") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise UserError(f"system.name = {target!r}: module {module_name} has no class {class_name!r}")
    needed = ["Parameters"]
    if not hasattr(found, "advance"):
        needed += ["initial_configuration", "force", "energy"]
    for name in needed:
        # Inherited from the protocol alone, it is not there.
        if getattr(found, name, None) in (None, getattr(Model, name, None)):
            raise UserError(
                f"system.name = {target!r}: class {class_name} lacks {name!r} (see ARCHITECTURE.md)"
            )
    return found
