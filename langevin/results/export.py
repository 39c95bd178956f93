"""Stored configurations of particles are written as GSD, which HOOMD-blue and OVITO read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from langevin.errors import UserError
from langevin.files.disk import replacing
from langevin.observables import particles
from langevin.observables.pairs import time_axis
from langevin.speech import option

from .kinds import require_run

#: Endings of the files that can be written.
ENDINGS = (".gsd",)


def save(dataset: xr.Dataset, path: Path, *, replica: int = 0, every: int = 1) -> int:
    """Write the trajectory of one replica: box, species, positions in the box, image counts, time.

    Positions are single precision, as GSD has them: to 10⁻⁷ of the box. They lie in [−L/2, L/2); box and
    image counts give the unwrapped ones. The time of a frame is the logged quantity "time"; its step is the
    time in time steps where the file knows these, else the number of the stored time.

    Parameters
    ----------
    dataset : Dataset
        A result with configurations of particles in a box.
    path : Path
        Ending in .gsd.
    replica : int
        Label of the replica.
    every : int
        Write the first of each so many stored times.

    Returns
    -------
    int
        Number of frames: a run that was stopped has fewer than it has times.

    Raises
    ------
    UserError
        If the file has no particles in a box, or there is no such replica.
    """
    if every < 1:
        raise UserError(f"{option('every', every)}: must be ≥ 1 (stored times from one frame to the next)")
    configuration, mixture = _particles(dataset)
    labels = dataset["replica"].to_numpy().tolist()
    if replica not in labels:
        raise UserError(
            f"{option('replica', replica)}: not in the file; allowed: {', '.join(map(str, labels))}"
        )
    axis = time_axis(configuration)
    one = configuration.transpose(axis, "replica", "dof")[::every, labels.index(replica)]
    import gsd.hoomd

    times = one[axis].to_numpy()
    steps, written = _steps(dataset, every, times), 0
    with replacing(path) as aside, gsd.hoomd.open(aside, "w") as file:
        for k, time in enumerate(times):
            x = one[k].to_numpy()
            # What the run has not reached is NaN.
            if np.isfinite(x).all():
                file.append(_frame(gsd.hoomd.Frame(), x, mixture, int(steps[k]), float(time)))
                written += 1
    return written


def _particles(dataset: xr.Dataset) -> tuple[xr.DataArray, particles.BoxedMixture]:
    """Return the configurations of a single run, and what they are of."""
    require_run(dataset, hint=f"; {option('at')} selects a member of a sweep")
    if "configuration" not in dataset:
        raise UserError('no configurations in the file; record.configurations = "always" stores them')
    try:
        return dataset["configuration"], particles.BoxedMixture.of(dataset["configuration"])
    except ValueError as error:
        raise UserError(f"{error}: there is nothing to export") from None


def _steps(dataset: xr.Dataset, every: int, times: Any) -> Any:
    """Return the number of time steps at every time that is written; without a time step, its place."""
    try:
        dt = float(json.loads(dataset.attrs["settings"])["dynamics"]["dt"])
    except (KeyError, TypeError, ValueError):
        return every * np.arange(times.size)
    return np.round(times / dt).astype(np.int64)


def _frame(frame: Any, x: Any, mixture: particles.BoxedMixture, step: int, time: float) -> Any:
    """Fill a frame with one configuration, x of shape (3N,)."""
    inside, image = particles.positions(x, mixture.box)
    # Rounded to single precision, a particle may reach the upper face, which is the lower one.
    single = inside.astype(np.float32)
    half = np.float32(mixture.box / 2)
    image += single >= half
    single = np.where(single >= half, -half, single)
    frame.configuration.step = step
    frame.configuration.box = [mixture.box] * 3 + [0, 0, 0]
    frame.configuration.dimensions = 3
    frame.particles.N = mixture.size
    frame.particles.types = list(mixture.names)
    frame.particles.typeid = np.repeat(np.arange(len(mixture.names)), mixture.counts).astype(np.uint32)
    frame.particles.position = single
    frame.particles.image = image.astype(np.int32)
    frame.log["time"] = np.array([time])
    return frame
