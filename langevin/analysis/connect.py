"""`langevin connect`: from the files of finished runs to the run file of curves between their ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langevin.config import registry, run_files
from langevin.config.settings import Settings
from langevin.core.capabilities import JoinedByCurves, SuggestsSettings
from langevin.results import configurations
from langevin.results.configurations import StoredRun

#: What curves are called in titles.
NAMES = {"bezier": "Bezier curve", "chain": "Polygonal chain", "band": "Elastic band"}


def settings(
    start: Path,
    end: Path | None = None,
    *,
    curve: str = "bezier",
    bends: int = 1,
    loss: str = "uniform_t",
    time: float | None = None,
    overrides: Mapping[str, Any] | None = None,
    output: Path | None = None,
) -> Settings:
    """Return the validated settings of curves between stored configurations.

    Parameters
    ----------
    start, end : Path
        Result files; without `end`, replicas of one sample in `start` are joined in pairs.
    curve, bends, loss, time
        Keys of [system] of a curve; `time` None: the last that is stored.
    overrides : mapping, optional
        "section.key" → value.
    output : Path, optional
        Result file; by default the ends' names and the curve's, in the working directory.

    Raises
    ------
    UserError, ConfigError
        If there are no such ends, or a key is not valid.
    """
    first = configurations.read(start, time)
    kind = first.settings.system_class
    name = kind.connected_by if issubclass(kind, JoinedByCurves) else "curve"
    curves = registry.load(name)
    assert issubclass(curves, SuggestsSettings)
    last = first if end is None else configurations.read(end, time)
    system: dict[str, Any] = {"name": name, "start": str(start), "curve": curve, "bends": bends, "loss": loss}
    if end is not None:
        system["end"] = str(end)
    if time is not None:
        system["time"] = float(time)
    stems = [p.stem for p in (start, end) if p is not None]
    path = output or Path("-".join([*stems, curve]) + ".nc")
    given = {
        "title": f"{NAMES.get(curve, curve)}, {_points(curve, bends)}: {first.settings.title}",
        "system": system,
        "ensemble": _ensemble(first, last),
        "output": {"path": str(path)},
        **curves.suggested(first.settings, _end(overrides)),
    }
    return run_files.load(given, overrides)


def _end(overrides: Mapping[str, Any] | None) -> float | None:
    """Return the end of the run, if it is overridden by one that a run may have: times follow from it."""
    given = (overrides or {}).get("dynamics.t_max")
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < np.inf:
        return float(given)
    return None


def _points(curve: str, bends: int) -> str:
    """Say how many points are between the ends."""
    return f"{bends} {'pivot' if curve == 'band' else 'bend'}{'s' * (bends != 1)}"


def _ensemble(first: StoredRun, last: StoredRun) -> dict[str, int]:
    """Return as many curves as there are pairs of ends; a run of them says what is wrong with these."""
    if first is last:
        counts = np.unique(first.sample, return_counts=True)[1]
        pairs = int((counts // 2).sum())
    else:
        pairs = np.intersect1d(first.replica, last.replica).size
    samples = np.unique(first.sample).size
    return {"replicas": max(pairs, samples), "samples": samples, "seed": first.settings.ensemble.seed}
