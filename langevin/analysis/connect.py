"""Curves between stored configurations are a run, whose run file is made here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langevin.config import registry, run_files
from langevin.config.sections import dynamics_keys
from langevin.config.settings import Settings
from langevin.config.toml_text import UNSET
from langevin.core.capabilities import JoinedByCurves, SuggestsSettings
from langevin.results import configurations
from langevin.results.configurations import StoredRun

from .shell import check_outputs, result

#: What curves are called in titles.
NAMES = {"bezier": "Bezier curve", "chain": "Polygonal chain", "band": "Elastic band"}


def run_file(
    start: Path,
    end: Path | None = None,
    *,
    curve: str = "bezier",
    bends: int = 1,
    loss: str = "uniform_t",
    time: float | None = None,
    align: bool = False,
    overrides: Mapping[str, Any] | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """Return the run file of curves between stored configurations; arguments are those of `langevin.connect`.

    Of `overrides`, which will be set, `dynamics.t_max` tells the times; `output` may or may not be replaced.
    """
    if output is not None:
        inputs = [start] if end is None else [start, end]
        # Whether something may be replaced is the run's to say: there may be an unfinished one.
        check_outputs([result(output)], inputs, force=True)
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
    if align:
        system["align"] = True
    suggested = curves.suggested(first.settings, _end(overrides))
    own = {k.removeprefix("dynamics."): v for k, v in (overrides or {}).items() if v is not UNSET}
    kind_of_keys = dynamics_keys(registry.load(name))
    ours = kind_of_keys.for_table(suggested["dynamics"])
    if kind_of_keys.for_table(suggested["dynamics"] | own) is not ours:
        # An override names another optimiser, which has keys of its own.
        theirs = {"optimiser", *ours.model_fields} - ({*kind_of_keys.model_fields} - {"optimiser"})
        suggested["dynamics"] = {k: v for k, v in suggested["dynamics"].items() if k not in theirs}
    return {
        "title": f"{NAMES.get(curve, curve)}, {_points(curve, bends)}: {first.settings.title}",
        "system": system,
        "ensemble": _ensemble(first, last),
        **({} if output is None else {"output": {"path": str(output)}}),
        **suggested,
    }


def default_output(start: Path, end: Path | None, curve: str) -> Path:
    """Return the result file of curves: the ends' names and the curve's, in the working directory."""
    return Path("-".join([*(p.stem for p in (start, end) if p is not None), curve]) + ".nc")


def settings(
    start: Path,
    end: Path | None = None,
    *,
    curve: str = "bezier",
    overrides: Mapping[str, Any] | None = None,
    output: Path | None = None,
    **keys: Any,
) -> Settings:
    """Return the validated settings of curves; arguments are those of `run_file`, with a default output."""
    path = output or default_output(start, end, curve)
    given = run_file(start, end, curve=curve, overrides=overrides, output=path, **keys)
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
