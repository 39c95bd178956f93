"""Coverage of fits: extrapolations, differences of files, powers, corners of a training loss, collapse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from judging import Row, judge, virtual_runs

from langevin.analysis import compare
from langevin.observables import relaxation, training
from langevin.observables.fits import extrapolation
from langevin.observables.training.regimes import regimes

RUNS = 400
SIZES = np.array([16.0, 24.0, 32.0, 48.0, 64.0, 96.0])
Array = np.ndarray[Any, Any]


def rows() -> Iterator[Row]:
    """Return the rows of the table."""
    yield from extrapolations()
    yield from differences()
    yield from powers()
    yield from corners()
    yield from knees()
    yield from collapses()


# --- extrapolations: made-up Gaussian and skewed samples of known law ---


def sampled(deviations: Array, samples: Array, rng: Any, skewed: bool = False) -> tuple[Array, Array]:
    """Means and standard errors, shape (data, RUNS), of so many samples each."""
    found = []
    for sigma, n in zip(deviations, samples, strict=True):
        # Skewness 1, variance 1.
        x = (rng.gamma(4.0, size=(n, RUNS)) - 4) / 2 if skewed else rng.standard_normal((n, RUNS))
        found.append([sigma * x.mean(0), sigma * x.std(0, ddof=1) / np.sqrt(n)])
    return np.array(found).swapaxes(0, 1)[0], np.array(found).swapaxes(0, 1)[1]


def extrapolated(name: str, sizes: Array, samples: Any, power: float, order: int = 1, **kind: Any) -> Row:
    """The limit of y = 1 + 2/N − 3/N² from RUNS made-up sets; `power`: of N in the variance."""
    rng = np.random.default_rng(7)
    n = np.broadcast_to(np.asarray(samples), sizes.shape)
    means, errors = sampled(sizes ** (power / 2), n, rng, **kind)
    law = (1 / sizes)[:, None] ** np.arange(order + 1) @ np.array([1.0, 2.0, -3.0])[: order + 1]
    fit = extrapolation.extrapolate(sizes, law[:, None] + means, errors, order, n - 1)
    return judge(name, "extrapolation", int(n.min()), 1.0, *limit(fit))


def limit(fit: extrapolation.Fit) -> tuple[Array, Array, Array]:
    return fit.coefficients[0], fit.errors[0], fit.error_degrees[0]


def extrapolations() -> Iterator[Row]:
    for n in (2, 4, 8):
        yield extrapolated("limit N → ∞, 6 sizes, σ² ∝ 1/N", SIZES, n, -1.0)
    for n in (2, 4):
        yield extrapolated("limit N → ∞, 3 sizes, σ² constant", SIZES[::2], n, 0.0)
        yield extrapolated("limit N → ∞, 4 sizes, quadratic, σ² ∝ 1/N²", SIZES[:4], n, -2.0, order=2)
    yield extrapolated("limit N → ∞, 10 to 3 samples", SIZES, [10, 9, 7, 6, 4, 3], 0.0)
    yield extrapolated("limit N → ∞, skewed samples", SIZES, 8, -1.0, skewed=True)
    rng = np.random.default_rng(8)
    sizes, steps = np.array([[16, 24, 32, 64, 16, 16, 32], [2, 2, 2, 2, 1, 4, 4]]) * [[1.0], [0.01]]
    for n in (2, 4):
        means, errors = sampled(sizes**-0.5, np.full(7, n), rng)
        law = 1 + 2 / sizes + 0.5 * steps
        fit = extrapolation.extrapolate_both(sizes, steps, law[:, None] + means, errors, degrees=n - 1)
        yield judge("limit N → ∞ and dt → 0, 7 runs", "extrapolation", n, 1.0, *limit(fit))


# --- compare ---


def differences() -> Iterator[Row]:
    """B − A of two files, at RUNS independent times, and against a solution with a stated error."""
    for n, m in ((2, 2), (4, 4), (8, 4), (4, 16)):
        yield difference(f"B − A, {n} against {m} samples", _file(n, 1.0, n), _file(m, 2.0, n + m))
    yield difference("B − A, 4 samples against a solution", _exact(), _file(4, 1.0, 5))


def difference(name: str, a: xr.Dataset, b: xr.Dataset) -> Row:
    points = compare.compare(a, b).of("energy")[0].points
    samples = min(d.sizes["replica"] for d in (a, b) if d.sizes["replica"] > 1)
    return judge(name, "comparison", samples, 0.0, points.difference, points.sigma, points.degrees)


def _file(samples: int, scale: float, seed: int) -> xr.Dataset:
    values = scale * np.random.default_rng(100 + seed).standard_normal((samples, RUNS))
    return xr.Dataset({"energy": (("replica", "time"), values)}, {"time": np.arange(1.0, RUNS + 1)})


def _exact() -> xr.Dataset:
    zero = xr.zeros_like(_file(1, 1.0, 0)["energy"])
    return xr.Dataset({"energy": zero, "energy_error": zero + 1e-3})


# --- powers of a relaxation: one large ensemble, cut into runs ---


def cut(
    large: xr.DataArray | xr.Dataset, samples: int, analysis: Callable[[Any], dict[str, tuple[float, float]]]
) -> dict[str, Array]:
    """Values and errors of the runs that a large ensemble is cut into, shape (2, runs) for each number."""
    made = [analysis(large.isel(replica=s)) for s in virtual_runs(large.sizes["replica"], samples)]
    return {name: np.array([run[name] for run in made]).T for name in made[0]}


def judged(
    labels: dict[str, str],
    large: xr.DataArray | xr.Dataset,
    sizes: tuple[int, ...],
    analysis: Callable[[Any], dict[str, tuple[float, float]]],
    runs: int,
) -> Iterator[Row]:
    """Rows of each number, name in the table → name in LEAST; the truth is that of the large ensemble."""
    with xr.set_options(keep_attrs=True):
        truth = analysis(large.mean("replica"))
    for samples in sizes:
        found = cut(large.isel(replica=slice(0, runs * samples)), samples, analysis)
        for name, key in labels.items():
            yield judge(name, key, samples, truth[name][0], *found[name])


def powers() -> Iterator[Row]:
    """E = −1 + 0.3 t^−0.5; samples have amplitudes of their own, and noise at every time."""
    rng, t, runs = np.random.default_rng(3), np.geomspace(1, 1e3, 31), 200
    own = 1 + 0.1 * rng.standard_normal((8 * runs, 1))
    noise = 0.003 * (rng.standard_normal((8 * runs, 1)) / np.sqrt(t) + rng.standard_normal((8 * runs, 31)))
    large = xr.DataArray(-1 + 0.3 * own * t**-0.5 + noise, {"time": t}, ("replica", "time"))

    def analysis(energy: xr.DataArray) -> dict[str, tuple[float, float]]:
        fit = relaxation.power_law(energy, start=1)
        local = relaxation.local_exponent(energy, -1.0, decades=1.0).sel(time=t[15])
        found = {f"power law, {n}": (fit[n], fit[f"{n}_error"]) for n in ("limit", "exponent", "amplitude")}
        found["local power"] = local["exponent"], local["exponent_error"]
        return {name: (float(a), float(b)) for name, (a, b) in found.items()}

    keys = {f"power law, {n}": "power_law" for n in ("limit", "exponent", "amplitude")}
    yield from judged(keys | {"local power": "local_exponent"}, large, (4, 8), analysis, runs)


# --- corners of a training loss ---


def losses(replicas: int, knee: bool, spread: float = 0.15) -> xr.DataArray:
    """Ramps with corners and levels of their own, and noise of 2 % of the fall at every time."""
    rng = np.random.default_rng(11)
    t = np.concatenate([[0], np.unique(np.round(np.geomspace(1, 1e6, 61)))])
    corner = np.log([1e2, 3e2, 1e4]) + spread * rng.standard_normal((replicas, 3))
    heights = np.array([2.3, 0.7 if knee else 1.155, 0.01]) * (1 + 0.02 * rng.standard_normal((replicas, 1)))
    x = np.log(np.maximum(t, 1))
    pairs = zip(corner, heights, strict=True)
    if not knee:
        corner[:, 1], heights[:, 1] = corner[:, ::2].mean(1), heights[:, ::2].mean(1)
    values = np.array([np.interp(x, c, h) for c, h in pairs])
    values += 0.05 * rng.standard_normal(values.shape)
    return xr.DataArray(values, {"time": t}, ("replica", "time"))


def numbers(names: tuple[str, ...]) -> Callable[[xr.DataArray], dict[str, tuple[float, float]]]:
    def analysis(loss: xr.DataArray) -> dict[str, tuple[float, float]]:
        found = regimes(loss)
        # Corners as logarithms: their error is the relative one, and the fit is in ln t.
        logs = ("t1", "t2", "knee")
        return {
            n: (
                (np.log(float(found[n])), float(found[f"{n}_error"] / found[n]))
                if n in logs
                else (float(found[n]), float(found[f"{n}_error"]))
            )
            for n in names
        }

    return analysis


def corners() -> Iterator[Row]:
    names = ("t1", "t2", "slope", "level_start", "level_end")
    yield from judged(dict(zip(names, names, strict=True)), losses(1600, False), (4, 8), numbers(names), 200)


def knees(runs: int = 200) -> Iterator[Row]:
    """Descents in two parts; the jackknife decides anew if they are. Minutes: each fit is a search."""
    more = ("knee", "level_knee", "t2")
    labels = {"knee": "knee", "level_knee": "level_knee", "t2": "t2"}
    for row in judged(labels, losses(4 * runs, True), (4,), numbers(more), runs):
        yield row._replace(quantity=row.quantity + (" beyond a knee" if row.quantity == "t2" else ""))


# --- collapse ---


def training_runs(replicas: int, apart: float) -> xr.Dataset:
    """Δ = factor α² D t/B at six t_w; factors of the t_w (spread `apart`), of replicas, and both."""
    rng = np.random.default_rng(13)
    w, lag = np.geomspace(10, 1e6, 6), np.geomspace(1, 1e5, 16)
    d = 1e-3 * w**-0.5 * np.exp(0.1 * rng.standard_normal((replicas, 6)))
    factor = apart * np.array([1, -1, 0.5, -0.5, 1, -1.0]) + 0.1 * rng.standard_normal((replicas, 1))
    factor = factor + 0.1 * rng.standard_normal((replicas, 6))
    own = np.exp(factor[..., None] + 0.05 * rng.standard_normal((replicas, 6, 16)))
    about = {"learning_rate": 0.1, "batch_size": 32}
    two_time = ("replica", "waiting_time", "lag")
    return xr.Dataset(
        {
            "msd": (two_time, own * 0.1**2 / 32 * d[..., None] * lag),
            "gradient_noise": (("replica", "waiting_time"), d, about),
        },
        {"waiting_time": w, "lag": lag},
    )


def collapses() -> Iterator[Row]:
    names = ("spread", "spread_msd", "ratio", "exponent", "prefactor_ratio")

    def analysis(dataset: xr.Dataset) -> dict[str, tuple[float, float]]:
        found = training.collapse(dataset, t2=0.0, decades=1.0).sel(regime="after")
        by_lag = found["spread_by_lag"][5], found["spread_by_lag_error"][5]
        local = found["local_exponent"][2, 8], found["local_exponent_error"][2, 8]
        made = {f"collapse, {n}": (found[n], found[f"{n}_error"]) for n in names}
        made |= {"collapse, spread at a lag": by_lag, "local power of msd": local}
        return {name: (float(a), float(b)) for name, (a, b) in made.items()}

    keys = {f"collapse, {n}": "collapse" for n in (*names, "spread at a lag")}
    yield from judged(
        keys | {"local power of msd": "local_exponent"}, training_runs(1600, 0.3), (4, 8), analysis, 200
    )


@pytest.mark.slow
@pytest.mark.parametrize("group", [extrapolations, differences, powers, corners, knees, collapses])
def test_errors_of_fits_hold(group: Callable[[], Iterator[Row]]) -> None:
    """200 or 400 virtual runs a row."""
    assert not [fault for row in group() for fault in row.faults()]
