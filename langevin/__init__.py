"""One Langevin engine for glasses and deep networks.

>>> import langevin
>>> ds = langevin.run("runs/pspin.toml", overrides={"dynamics.t_max": 10.0})  # doctest: +SKIP
>>> ds = langevin.open("pspin.nc")  # doctest: +SKIP
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from langevin.core.system import DataSet as DataSet
    from langevin.core.system import Model as Model
    from langevin.core.system import System as System
    from langevin.results.members import members
    from langevin.sweep.simulation import open, resume, run

#: In a checkout, systems/ and observables/ stand beside this folder (ARCHITECTURE.md). Where it is found
#: before an installed package, by `python -m langevin` for instance, they must be found, too.
_BESIDE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
if all(
    os.path.isfile(os.path.join(_BESIDE, room, "__init__.py"))  # noqa: PTH113, PTH118
    and not os.path.isdir(os.path.join(__path__[0], room))  # noqa: PTH112, PTH118
    for room in ("systems", "observables")
):
    __path__.append(_BESIDE)

__all__ = ["DataSet", "Model", "System", "__version__", "members", "open", "resume", "run"]


def __getattr__(name: str) -> Any:
    """Load the heavy half (xarray, numba, torch) when it is first asked for, not at import."""
    if name in {"run", "resume", "open"}:
        from langevin.sweep import simulation

        return getattr(simulation, name)
    if name in {"DataSet", "Model", "System"}:
        from langevin.core import system

        return getattr(system, name)
    if name == "members":
        from langevin.results.members import members

        return members
    raise AttributeError(f"module 'langevin' has no attribute {name!r}")
