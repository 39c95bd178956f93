"""Observables are computed from results here, with numpy, scipy and xarray only, and never from a system.

Rooms and modules stand in this order, and import only from those before them:

1. `pieces` (arrays larger than memory), `statistics` (averages and their errors), `sufficiency` (how many
   samples an error needs), then `pairs` (values at pairs of times; `lazy_pairs`, of Dask's arrays);
2. `fits` (slopes, ratios, extrapolations, curves side by side);
3. `aging`, `training`, `landscape` and `particles`, none of which knows another;
4. modules of one question each: `two_time` and `sketch` (msd and correlation of stored configurations),
   `relaxation` (powers of an energy), `asymptote` (limits of slow approaches), `equal_time` and `fixed_time`
   (pairs at one time), `response` and `displacement_response` (temperatures, from χ), `plateau` (q_EA),
   `overlaps` (fluctuations between replicas), `power_laws` (of gaps and forces; thresholds), `ensembles` (of
   classifiers), `clocks` (of algorithms) and `scaling` (by what curves of different systems are divided).

A room is imported by its name, `from langevin.observables import aging`, and offers its functions as its own:
`aging.aging_exponent(msd)`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

__all__ = sorted(module.name for module in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> Any:
    """Import a room or a module when it is first asked for."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List rooms and modules, whether they are loaded yet or not."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
