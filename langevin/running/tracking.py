"""A tracker of experiments is told of the one-time observables of a run while it goes on.

It is told what the last checkpoint holds, right after that: what a killed run has said is never measured
again, and a run that goes on says nothing twice. It gets the means over replicas, and never the run itself,
so that no number of a result depends on it. One that fails is given up with a warning: the run goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from langevin.config.settings import Settings
from langevin.config.tracking import KEY
from langevin.core.probe import Run
from langevin.errors import FOREIGN, LangevinWarning, first_line
from langevin.files.paths import Paths

#: Dimensions of what it is told.
ONE_TIME = ("replica", "time")


@dataclass(frozen=True)
class Tracked:
    """What a tracker is told of a run when it begins, and when it goes on.

    Attributes
    ----------
    title : str
    folder : Path
        Where event files of this run belong: beside its result, with .events.
    settings : mapping
        The run file, overrides included.
    goes_on : bool
        Whether an earlier process has begun the run.
    """

    title: str
    folder: Path
    settings: Mapping[str, Any]
    goes_on: bool


class Tracking:
    """What one process tells a tracker.

    Parameters
    ----------
    settings : Settings
        `Settings.track` makes the tracker: a function ``log(step, scalars)``, which may have an attribute
        `last`, the last step that it knows of, and functions `flush` and `close`.
    paths : Paths
    run : Run
        Where it stands.
    """

    def __init__(self, settings: Settings, paths: Paths, run: Run) -> None:
        self.settings, self.paths, self.run = settings, paths, run
        self._log: Callable[[int, Mapping[str, float]], object] | None = None
        self._goes_on = run.time > 0
        # What an earlier process has told of.
        self._last = max(self._steps(), default=-1) if self._goes_on else -1

    def show(self, dataset: xr.Dataset) -> None:
        """Tell of all that has been measured since the last call; `dataset` holds it."""
        if self.settings.track is None:
            return
        try:
            if self._log is None:
                self._begin()
            assert self._log is not None
            for place, step in enumerate(self._steps()):
                if step > self._last:
                    self._log(int(step), dict(self._scalars(dataset, place)))
                    self._last = step
            self._call("flush")
        except FOREIGN as error:
            self._give_up(error)

    def close(self) -> None:
        """Say that nothing more will come."""
        try:
            self._call("close")
        except FOREIGN as error:
            self._give_up(error)
        self._log = None

    def _begin(self) -> None:
        settings, result = self.settings, self.paths.result
        assert settings.track is not None
        tracked = Tracked(settings.title, folder_of(result), settings.given, self._goes_on)
        self._log = settings.track(tracked)
        last = getattr(self._log, "last", None)
        if last is not None:
            self._last = last

    def _call(self, name: str) -> None:
        function = getattr(self._log, name, None)
        if callable(function):
            function()

    def _give_up(self, error: Exception) -> None:
        said = f"{KEY} = {self.settings.output.track!r}: given up, the run goes on: {first_line(error)}"
        warnings.warn(said, LangevinWarning, stacklevel=2)
        self.settings, self._log = replace(self.settings, track=None), None

    def _steps(self) -> Any:
        """Return the steps of all times that have been measured; where there is no step, their numbers."""
        run, times = self.run, self.run.schedule.times
        if run.position < len(run.schedule):
            times = times[times < run.schedule.stops[run.position].time]
        step = run.system.time_step
        return np.arange(len(times)) if step is None else np.rint(times / step).astype(np.int64)

    def _scalars(self, dataset: xr.Dataset, place: int) -> Iterator[tuple[str, float]]:
        """Yield names and numbers of a recorded time; nothing of what is no number there."""
        yield "time", float(self.run.schedule.times[place])
        rate = getattr(self.settings.dynamics, "learning_rate", None)
        if rate is not None and "learning_rate" not in dataset.coords:
            yield "learning_rate", float(rate)
        for name, coordinate in dataset.coords.items():
            if coordinate.dims == ("time",) and name != "time" and coordinate.dtype.kind == "f":
                yield str(name), float(coordinate[place])
        for name, variable in dataset.data_vars.items():
            if variable.dims != ONE_TIME:
                continue
            values = variable.to_numpy()[:, place]
            known = values[np.isfinite(values)]
            if known.size:
                yield str(name), float(known.mean())
            if known.size > 1:
                yield f"{name}_std", float(known.std(ddof=1))


def folder_of(result: Path) -> Path:
    """Return the folder of the event files of a result; of a member, that in the folder of its sweep."""
    sweep = result.parent
    if sweep.suffix == ".sweep":
        # The folder of the sweep goes when that ends, and what a tracker was told stays.
        return sweep.with_suffix(".events") / result.stem
    return result.with_suffix(".events")
