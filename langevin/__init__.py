"""One Langevin engine for glasses and deep networks.

>>> import langevin
>>> ds = langevin.run("runs/pspin.toml", overrides={"dynamics.t_max": 10.0})  # doctest: +SKIP
>>> ds = langevin.open("pspin.nc")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from .former import Finder
from .notebook.attached import attach
from .version import __version__

if TYPE_CHECKING:
    from langevin import observables
    from langevin.api import (
        compare,
        connect,
        ensemble,
        members,
        open,
        plane,
        plot,
        resume,
        run,
        scaled,
        summary,
    )
    from langevin.config.keys import DynamicsKeys, Section, key
    from langevin.config.sections import LangevinDynamics, RecordKeys
    from langevin.core.dynamics import Langevin
    from langevin.core.ensemble import Ensemble
    from langevin.core.noise import Noise
    from langevin.core.probe import Probe
    from langevin.core.system import DataSet, Model, System
    from langevin.systems.networks.data.base import Data, Examples

#: In a checkout, systems/ and observables/ stand beside this folder (ARCHITECTURE.md). Where it is found
#: before an installed package, by `python -m langevin` for instance, they must be found, too.
_BESIDE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
if all(
    os.path.isfile(os.path.join(_BESIDE, room, "__init__.py"))  # noqa: PTH113, PTH118
    and not os.path.isdir(os.path.join(__path__[0], room))  # noqa: PTH112, PTH118
    for room in ("systems", "observables")
):
    __path__.append(_BESIDE)

sys.meta_path.append(Finder())
attach()

#: Module → what of it stands here: what a notebook calls, and what a system of one's own is made of.
_LATER = {
    "langevin.api": (
        *("compare", "connect", "ensemble", "members", "open", "plane", "plot", "resume", "run", "scaled"),
        "summary",
    ),
    "langevin.config.keys": ("DynamicsKeys", "Section", "key"),
    "langevin.config.sections": ("LangevinDynamics", "RecordKeys"),
    "langevin.core.dynamics": ("Langevin",),
    "langevin.core.ensemble": ("Ensemble",),
    "langevin.core.noise": ("Noise",),
    "langevin.core.probe": ("Probe",),
    "langevin.core.system": ("DataSet", "Model", "System"),
    "langevin.systems.networks.data.base": ("Data", "Examples"),
}
__all__ = [
    "Data",
    "DataSet",
    "DynamicsKeys",
    "Ensemble",
    "Examples",
    "Langevin",
    "LangevinDynamics",
    "Model",
    "Noise",
    "Probe",
    "RecordKeys",
    "Section",
    "System",
    "__version__",
    "compare",
    "connect",
    "ensemble",
    "key",
    "members",
    "observables",
    "open",
    "plane",
    "plot",
    "resume",
    "run",
    "scaled",
    "summary",
]


def __getattr__(name: str) -> Any:
    """Load the heavy half (xarray, numba, torch) when it is first asked for, not at import."""
    if name == "observables":
        return importlib.import_module("langevin.observables")
    for module, names in _LATER.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'langevin' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is meant to be used, whether it is loaded yet or not."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
