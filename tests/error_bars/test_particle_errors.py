"""Coverage of means over samples of particles: energy, pressure, displacements, F_s, overlap, α₂ and g(r)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import xarray as xr
from judging import Row, judge

import langevin
from langevin.observables.statistics import average
from langevin.observables.sufficiency import least

RUNS = 200
#: Least numbers of samples, and twice as many.
SIZE = RUNS * 16


def quantities() -> Iterator[tuple[str, xr.DataArray]]:
    """Yield names and values, dimension replica, of 64 soft spheres of two kinds, a tenth after a quench."""
    large = langevin.run(
        {
            "system": {
                "name": "particles",
                "potential": "harmonic",
                "n": 64,
                "density": 0.6,
                "composition": [0.8, 0.2],
                "sigma": [1.0, 1.2],
                "epsilon": [[1.0, 1.0], [1.0, 1.0]],
            },
            "dynamics": {"temperature": 0.05, "initial_temperature": float("inf"), "dt": 0.02, "t_max": 1.5},
            "ensemble": {"replicas": SIZE, "samples": SIZE, "seed": 5},
            "record": {
                "times": [1.5],
                "waiting_times": [0.5],
                "lags": [1.0],
                "configurations": "never",
                "shells": 20,
                "wavenumbers": [5.0, 2.0],
            },
        }
    )
    for name in ("energy", "pressure"):
        yield name, large[name].isel(time=-1)
    for name in ("msd", "correlation", "self_overlap", "non_gaussian"):
        yield name, large[name].isel(waiting_time=0, lag=-1)
    scattering = large["self_scattering"].isel(waiting_time=0, lag=-1)
    yield "self_scattering of B, k = 2", scattering.sel(species="B", wavenumber=2.0)
    g = large["pair_correlation"].isel(waiting_time=0)
    near = g.mean("replica").argmax("distance")
    for pair in ("AA", "BB"):
        yield f"pair_correlation, {pair}, first peak", g.sel(pair=pair).isel(distance=near.sel(pair=pair))
    # Few pairs: the first shell where two samples in three have one.
    some = (g.sel(pair="AA") > 0).mean("replica").to_numpy() > 2 / 3
    yield "pair_correlation, AA, foot of the peak", g.sel(pair="AA").isel(distance=int(np.argmax(some)))
    yield "pair_correlation, AA, last shell", g.sel(pair="AA").isel(distance=-1)


def rows() -> list[Row]:
    """Return rows of the table."""
    found = []
    for name, values in quantities():
        key = name.partition(",")[0].partition(" ")[0]
        for samples in (least(key), 2 * least(key)):
            cut = values.to_numpy()[: RUNS * samples].reshape(RUNS, samples)
            made = average(xr.DataArray(cut, dims=("run", "replica")))
            error = made.error.to_numpy()
            if key == "pair_correlation":
                # Figures have no band where fewer than half of the samples have a pair.
                error = np.where((cut > 0).mean(1) >= 0.5, error, np.nan)
            found.append(judge(name, key, samples, float(values.mean()), made.mean, error))
    return found


@pytest.mark.slow
def test_errors_of_particles_hold() -> None:
    """200 virtual runs each, of the least number of samples and of twice as many."""
    assert not [fault for row in rows() for fault in row.faults()]
