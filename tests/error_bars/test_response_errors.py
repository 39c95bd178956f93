"""Coverage of response, X, T_eff and q_EA, of the plateau, of χ₄ and of the moments of P(q)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from judging import Row, judge, virtual_runs

import langevin
from langevin.observables.overlaps import dynamical_susceptibility, overlap_distribution, overlaps
from langevin.observables.plateau import plateau
from langevin.observables.response import aging_line, fdt_ratio, fdt_ratio_at
from langevin.observables.statistics import average

sys.path.insert(0, str(Path(__file__).parents[1]))
from two_step import Q, T, X, two_lines, two_step

RUNS = 200
LEVELS = (0.68, 0.95)
#: Independent samples in a virtual run.
FEW, MORE = 4, 12
#: For what is skew or noisy: fourth moments, variances.
MANY = (12, 32)
BATH = 0.4


def quench(spins: int, samples: int, replicas: int, t_max: float, **record: Any) -> xr.Dataset:
    """Return a p-spin quench, for N ≈ 20 with no plateau, but far from equilibrium."""
    return langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": spins},
            "dynamics": {"temperature": BATH, "dt": 0.1, "t_max": t_max},
            "ensemble": {"replicas": samples * replicas, "samples": samples, "seed": 5},
            "record": {"times": [t_max], "configurations": "never", **record},
        }
    )


def counted(
    name: str,
    key: str,
    samples: int,
    truth: float,
    runs: Iterator[xr.Dataset] | list[list[xr.Dataset]],
    variable: str,
    pick: Callable[[xr.DataArray], Any] = lambda v: v,
) -> Row:
    """Return the row of a number that has intervals of its own; one analysis for each level in each run."""
    found = [[float(pick(made[f"{variable}{part}"])) for part in ("", "_error")] for made, *_ in runs]
    ends = {
        level: np.array(
            [[float(pick(made[k][f"{variable}_{end}"])) for end in ("low", "high")] for made in runs]
        )
        for k, level in enumerate(LEVELS)
    }
    intervals = {level: (v[:, 0], v[:, 1]) for level, v in ends.items()}
    return judge(name, key, samples, truth, *np.array(found).T, intervals=intervals)


def response_rows() -> list[Row]:
    """χ at one pair, X along the lag and at a fixed observation time, the aging line: p-spin, N = 20."""
    waiting = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    lags = [0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5]
    large = quench(20, RUNS * MORE, 1, 8.0, response=True, waiting_times=waiting, lags=lags)
    c, chi = large["correlation"], large["integrated_response"]
    rows = []

    def local(c: xr.DataArray, chi: xr.DataArray) -> xr.Dataset:
        return fdt_ratio(c, chi, BATH, width=0.3).sel(lag=4.0)

    def fixed(c: xr.DataArray, chi: xr.DataArray) -> xr.Dataset:
        return fdt_ratio_at(c, chi, BATH, 8.0, width=0.3).sel(waiting_time=5.0)

    early = {"waiting_time": 2.0}
    of_x = (("X, window along the lag", local, early), ("X, t fixed", fixed, {}))
    for samples in (FEW, MORE):
        slices = virtual_runs(c.sizes["replica"], samples)[:RUNS]
        means = [average(chi.sel(waiting_time=2.0, lag=4.0).isel(replica=s)) for s in slices]
        pairs = np.array([(float(m.mean), float(m.error)) for m in means])
        true = float(chi.sel(waiting_time=2.0, lag=4.0).mean())
        rows.append(judge("χ", "integrated_response", samples, true, *pairs.T))
        for name, function, at in of_x:
            parts = [v.sel(at) for v in (c, chi)]
            true = float(function(*parts)["fdt_ratio"])
            made = [function(*(v.isel(replica=s) for v in parts)) for s in slices]
            pairs = np.array([(float(m["fdt_ratio"]), float(m["fdt_ratio_error"])) for m in made])
            rows.append(judge(name, "fdt_ratio", samples, true, *pairs.T))
        rows += line_rows(c.sel(early), chi.sel(early), BATH, (0.5, 0.82), slices, samples, "p-spin")
    return rows


def line_rows(
    c: xr.DataArray,
    chi: xr.DataArray,
    temperature: float,
    between: tuple[float, float],
    slices: list[slice],
    samples: int,
    of: str,
    truth: dict[str, float] | None = None,
) -> list[Row]:
    """Return X, T_eff and q_EA of the aging line; without a truth, that of all replicas."""

    def line(c: xr.DataArray, chi: xr.DataArray, level: float) -> xr.Dataset:
        return aging_line(c, chi, temperature, between=between, equal_time=1.0, confidence=level)

    names = {"fdt_ratio": "X", "effective_temperature": "T_eff", "q_ea": "q_EA"}
    if truth is None:
        whole = line(c, chi, 0.95)
        truth = {name: float(whole[name]) for name in names}
    runs = [[line(c.isel(replica=s), chi.isel(replica=s), level) for level in LEVELS] for s in slices]
    return [
        counted(f"{letter}, aging line, {of}", f"{name}_line", samples, truth[name], runs, name)
        for name, letter in names.items()
    ]


def made_up(
    noise: float, replicas: int, seed: int, lags: int = 36, tilt: float = 0.0
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return C and χ of two straight lines that break at Q, with a slow wave and white noise in each.

    With `tilt` χ has a slope of its own in each replica, too, so that 1 − X is noisy.
    """
    lag, waiting = np.geomspace(1e-2, 1e5, lags), np.array([1e2, 1e3, 1e4])
    c, x, rng = two_step(waiting, lag), np.log(lag), np.random.default_rng(seed)
    made = []
    for curve in (c, two_lines(c)):
        slow = rng.standard_normal((2, replicas, waiting.size, 1))
        wave = slow[0] * np.sin(x / 4) + slow[1] * np.cos(x / 4)
        white = rng.standard_normal((replicas, *c.shape))
        values = curve + noise * (wave + 0.3 * white)
        if made:
            values = values + tilt * rng.standard_normal((replicas, 1, 1)) * (1 - c)
        coordinates = {"waiting_time": waiting, "lag": lag}
        made.append(xr.DataArray(values, coordinates, ("replica", "waiting_time", "lag")))
    return made[0], made[1]


def break_rows() -> list[Row]:
    """The aging line through curves that break at Q: clearly, and hidden in the noise of 1 − X."""
    rows, truth = [], {"fdt_ratio": X, "effective_temperature": T / X, "q_ea": Q}
    for tilt, words in ((0.0, "sharp"), (0.8, "hidden")):
        for samples in (FEW, MORE) if tilt else (FEW,):
            c, chi = (v.isel(waiting_time=1) for v in made_up(0.02, RUNS * samples, 2, tilt=tilt))
            slices = virtual_runs(c.sizes["replica"], samples)
            rows += line_rows(c, chi, T, (0.1, 0.5), slices, samples, f"{words} break", truth)
    return rows


def plateau_rows() -> list[Row]:
    """q_EA from C alone, by a window of one decade and of two: against the curves without noise."""
    rows = []
    for decades, sizes in ((1.0, (6, 12)), (2.0, (6,))):
        exact = made_up(0.0, 1, 0, 57)[0].isel(replica=0)
        true = float(plateau(exact, decades=decades)["q_ea"])
        for samples in sizes:
            c = made_up(0.01, RUNS * samples, 3, 57)[0]
            made = [
                plateau(c.isel(replica=s), decades=decades) for s in virtual_runs(RUNS * samples, samples)
            ]
            pairs = np.array([(float(m["q_ea"]), float(m["q_ea_error"])) for m in made])
            rows.append(judge(f"q_EA, plateau, {decades:g} decades", "q_ea_plateau", samples, true, *pairs.T))
    return rows


def fluctuation_rows() -> list[Row]:
    """χ₄ with its parts, and moments of P(q): p-spin, N = 16, four replicas in each sample."""
    each = 4
    large = quench(16, RUNS * MANY[-1], each, 3.0, waiting_times=[1.0], lags=[2.0], snapshots=[3.0])
    large = large.sortby("sample")
    c = large["correlation"].isel(waiting_time=0, lag=0)
    pairs = overlaps(large["snapshot"].isel(snapshot_time=0))
    of_pairs = pairs.sizes["pair"] // large["sample"].to_pandas().nunique()
    moments = overlap_distribution(pairs)["moment"]
    rows = []
    for samples in MANY:
        runs = [slice(each * s.start, each * s.stop) for s in virtual_runs(RUNS * MANY[-1], samples)][:RUNS]
        made = [
            [dynamical_susceptibility(c.isel(replica=s), 16, confidence=level) for level in LEVELS]
            for s in runs
        ]
        whole = dynamical_susceptibility(c, 16)
        for name, words in (("chi4", "χ₄"), ("chi4_thermal", "χ₄ within samples")):
            rows.append(counted(words, name, samples, float(whole[name]), made, name))
        numbers = np.array([(float(m["chi4_disorder"]), float(m["chi4_disorder_error"])) for m, _ in made])
        true = float(whole["chi4_disorder"])
        rows.append(judge("χ₄ between samples", "chi4_disorder", samples, true, *numbers.T))
        cut = [slice(of_pairs * s.start, of_pairs * s.stop) for s in virtual_runs(RUNS * MANY[-1], samples)][
            :RUNS
        ]
        found = [overlap_distribution(pairs.isel(pair=s)) for s in cut]
        # The fourth moment is carried by few samples.
        for power in (1, 2, 4) if samples == MANY[-1] else (1, 2):
            numbers = np.array(
                [[float(f[n].sel(power=power)) for n in ("moment", "moment_error")] for f in found]
            )
            words = f"⟨q{'' if power == 1 else {2: '²', 4: '⁴'}[power]}⟩"
            key = f"overlap_moment_{power}"
            rows.append(judge(words, key, samples, float(moments.sel(power=power)), *numbers.T))
    return rows


KINDS = {
    "response": response_rows,
    "break": break_rows,
    "plateau": plateau_rows,
    "fluctuations": fluctuation_rows,
}


def rows() -> list[Row]:
    """Return all rows of the table."""
    return [row for kind in KINDS.values() for row in kind()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_errors_hold(kind: str) -> None:
    """200 virtual runs of each size."""
    assert not [fault for row in KINDS[kind]() for fault in row.faults()]
