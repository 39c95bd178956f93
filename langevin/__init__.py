"""One Langevin engine for glasses and deep networks.

>>> import langevin
>>> ds = langevin.run("runs/pspin.toml", overrides={"dynamics.t_max": 10.0})  # doctest: +SKIP
>>> ds = langevin.open("pspin.nc")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langevin.simulation import open, resume, run
    from langevin.sweep.reading import members

__version__ = "0.1.0"
__all__ = ["__version__", "members", "open", "resume", "run"]


def __getattr__(name: str) -> Any:
    """Load the heavy half (xarray, numba, torch) when it is first asked for, not at import."""
    if name in {"run", "resume", "open"}:
        from langevin import simulation

        return getattr(simulation, name)
    if name == "members":
        from langevin.sweep.reading import members

        return members
    raise AttributeError(f"module 'langevin' has no attribute {name!r}")
