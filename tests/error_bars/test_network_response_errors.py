"""Coverage of the response of networks, and of the effective temperatures that follow from it.

The net is a linear regression whose χ, Δ and T_eff are known in closed form (`linear_regression`): the truth
is exact. It has six weights, so that Δ of one replica scatters far more, and is more skewed, than that of
any net of interest (standard deviation 0.8, skewness 2): means of few such numbers have no good error, and
the chord, which is Δ over a number that hardly scatters, needs 32 samples.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from judging import Row, judge, virtual_runs

from langevin.observables.displacement_response import effective_temperature
from langevin.observables.statistics import average, interval
from langevin.observables.sufficiency import least
from langevin.systems.networks.descent import shared_calls

# table.py runs this file without pytest, which knows the folder.
sys.path.append(str(Path(__file__).parent.parent))

REPLICAS, RUNS = 9600, 300
SAMPLES = (4, 8, 32)
#: Steps so large that α A is near 1 give the stationary state a heavy tail (multiplicative noise): not these.
RATE, BATCH = 0.1, 4
#: Three lags in one window: at the middle one there are slopes.
LAG, DECADES = 12, 1.6


def rows() -> list[Row]:
    """Return rows of the table, for numbers of samples from the least on."""
    from linear_regression import LAGS, exact, regression

    # All replicas in one call, which takes seconds.
    before, shared_calls.STACK = shared_calls.STACK, REPLICAS
    try:
        large = regression(REPLICAS, 200, batches="iid", batch_size=BATCH, learning_rate=RATE)
    finally:
        shared_calls.STACK = before
    expected = exact(LAGS, RATE, BATCH)
    chi, delta = (
        xr.DataArray(v, dims=("lag",), coords={"lag": LAGS}) for v in (expected.response, expected.msd)
    )
    truth = effective_temperature(delta, chi, decades=DECADES).sel(lag=LAG)
    found = []
    for samples in SAMPLES:
        runs = [large.isel(replica=s) for s in virtual_runs(large.sizes["replica"], samples)[:RUNS]]
        if samples >= least("integrated_response"):
            made = [average(r["integrated_response"].sel(lag=LAG)) for r in runs]
            pairs = np.array([(float(m.mean), float(m.error)) for m in made])
            true = float(chi.sel(lag=LAG))
            found.append(judge("χ of a network", "integrated_response", samples, true, *pairs.T))
        read = [effective_temperature(r["msd"], r["integrated_response"], decades=DECADES) for r in runs]
        for name, key, words in (
            ("effective_temperature", "displacement_temperature", "T_eff of a network, slope"),
            ("chord_temperature", "chord_temperature", "T_eff of a network, chord"),
        ):
            if samples >= least(key):
                pairs = np.array(
                    [(float(r[name].sel(lag=LAG)), float(r[f"{name}_error"].sel(lag=LAG))) for r in read]
                )
                found.append(
                    judge(
                        words, key, samples, float(truth[name]), *pairs.T, intervals=ends(*pairs.T, samples)
                    )
                )
    return found


def ends(value: np.ndarray, error: np.ndarray, samples: int) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """Return intervals of a temperature, symmetric in its logarithm."""
    reach = {p: interval(0.0, error / value, samples - 1, p)[1] for p in (0.68, 0.95)}
    return {p: (value * np.exp(-r), value * np.exp(r)) for p, r in reach.items()}


@pytest.mark.slow
def test_errors_of_responses_hold() -> None:
    """300 virtual runs of 4, 8 and 32 samples."""
    assert not [fault for row in rows() for fault in row.faults()]
