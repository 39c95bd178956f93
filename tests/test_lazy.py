"""Observables of Dask arrays: values as of arrays in memory, few blocks at a time, nothing read too early."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import large_results
import numpy as np
import pytest
import xarray as xr

import langevin
from langevin import observables
from langevin.core.capabilities import HasLandscape
from langevin.errors import StorageError, UserError
from langevin.files import netcdf
from langevin.observables import (
    asymptote,
    clocks,
    displacement_response,
    equal_time,
    fixed_time,
    overlaps,
    pairs,
    particles,
    pieces,
    plateau,
    power_laws,
    relaxation,
    response,
    scaling,
    sketch,
    statistics,
    two_time,
)
from langevin.observables.aging import (
    aging_collapse,
    aging_exponent,
    exponent_by_threshold,
    exponent_error,
    relaxation_times,
)
from langevin.observables.landscape import barriers, planes, spectra
from langevin.observables.training import noise_collapse, regimes
from langevin.results import configurations, summary
from langevin.results.rebuild import rebuilt

REPLICAS, TIMES, DOF = 24, 16, 30
#: Functions and classes that need no case, and why.
EXCEPTIONS = {
    "aging.crossings.AgingCurves": "made by the functions of aging",
    "landscape.barriers.MeanBarrier": "a result",
    "landscape.barriers.barrier_in_words": "words of mean_barrier",
    "landscape.spectra.has_spectrum": "reads no values",
    "power_laws.cumulative": "sorts all values",
    "landscape.spectra.is_exact": "reads no values",
    "landscape.spectra.eigenvalues": "reads no values",
    "landscape.spectra.rows": "reads no values",
    "landscape.spectra.gauss_newton": "renames",
    "pairs.time_axis": "reads no values",
    "pairs.require_dimensions": "reads no values",
    "pairs.check_same_axes": "reads coordinates",
    "pairs.check_coordinates": "reads coordinates",
    "particles.motion.are_in": "reads no values",
    "pieces.is_chunked": "reads no values",
    "pieces.is_large": "reads no values",
    "pieces.in_pieces": "reads no values",
    "pieces.Rows": "reads the rows of jackknife and bootstrap",
    "pieces.computed": "computes",
    "statistics.Estimate": "a result",
    "statistics.tabulate": "makes a table of numbers that are computed",
    "training.corners.of_collapse": "a part of regimes, of averages",
    "training.regimes.time_in_words": "words of regimes",
    "training.regimes.is_number": "words of regimes",
}

TW, LAGS = [0.0, 1.0, 2.0, 5.0], [1.0, 2.0, 3.0, 8.0, 30.0]
MIXTURE = particles.BoxedMixture(4.0, ("A", "B"), (7, 3), (2.0, 5.0))


class Blocks:
    """Blocks of arrays: how many bytes of them were read, and were alive at the same time."""

    def __init__(self) -> None:
        self.read = self.alive = self.most = 0

    def _gone(self, size: int) -> None:
        self.alive -= size

    def block(self, values: np.ndarray, places: Any) -> np.ndarray:
        part = np.array(values[places])
        self.read += part.nbytes
        self.alive += part.nbytes
        self.most = max(self.most, self.alive)
        weakref.finalize(part, self._gone, part.nbytes)
        return part

    def lazy(self, values: xr.DataArray, axis: str, size: int) -> xr.DataArray:
        """Return values as a Dask array whose chunks along an axis are counted."""
        sizes = tuple(size if dim == axis else -1 for dim in values.dims)
        chunks = da.core.normalize_chunks(sizes, values.shape)
        data, name = values.to_numpy(), f"counted-{dask.base.tokenize(values)}-{id(self)}"
        graph = {
            (name, *index): (self.block, data, place)
            for index, place in zip(
                np.ndindex(*map(len, chunks)), da.core.slices_from_chunks(chunks), strict=True
            )
        }
        return values.copy(data=da.Array(graph, name, chunks, data.dtype))


def run() -> xr.Dataset:
    """Return a result with everything in it that functions of observables look at."""
    rng, r = np.random.default_rng(1), ("replica",)
    tw = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    lag = np.concatenate([[0.5], np.logspace(0, 2, 20)])
    t = np.logspace(-1, 4, 60)
    clean = np.log1p((lag / tw[:, None] ** 0.6) ** 0.8) * 0.2
    noise = 1 + 0.03 * rng.standard_normal((REPLICAS, 6, 21))
    msd = clean * noise
    msd[:, -1, -2:] = np.nan
    walk = rng.standard_normal((TIMES, REPLICAS, DOF)).cumsum(0) * 0.3
    energy = np.interp(np.log(t), np.log([1, 300]), [1.0, 0.02]) * (
        1 + 0.02 * rng.standard_normal((REPLICAS, 60))
    )
    vectors = np.linalg.qr(rng.standard_normal((REPLICAS, 8, DOF, 3)))[0].swapaxes(-1, -2)
    again = rng.random((REPLICAS, 10))
    about = {"units": "1"}
    pair = (*r, "waiting_time", "lag")
    return xr.Dataset(
        {
            "configuration": (("configuration_time", *r, "dof"), walk, about),
            "sketch": (
                ("configuration_time", *r, "sketch_component"),
                walk[..., :8],
                {"degrees_of_freedom": 30},
            ),
            "msd": (pair, msd, about),
            "correlation": (pair, 1 - msd / 2, {**about, "dof": DOF}),
            "integrated_response": (pair, msd / 2 * (1 - 0.3 * msd), {"conjugate": "correlation"}),
            "energy": ((*r, "time"), energy),
            "gradient_noise": (
                (*r, "waiting_time"),
                1 / tw * noise[..., 0],
                {"learning_rate": 0.1, "batch_size": 9},
            ),
            "hessian_eigenvalue": (
                (*r, "hessian_time", "mode"),
                np.sort(rng.standard_normal((REPLICAS, 8, DOF))),
            ),
            "hessian_vector": ((*r, "hessian_time", "eigenvector", "dof"), vectors),
            "barrier": (r, 1 + again[:, 0]),
            "barrier_resampled": ((*r, "resample"), 1 + again),
            "barrier_bias": (r, 0 * again[:, 0]),
        },
        {
            "configuration_time": np.arange(float(TIMES)),
            "replica": np.arange(REPLICAS),
            "sample": ("replica", np.arange(REPLICAS) // 2),
            "time": t,
            "waiting_time": tw,
            "lag": lag,
            "hessian_time": np.arange(8.0),
        },
    )


def moved(ds: xr.Dataset) -> xr.DataArray:
    return ds["configuration"].assign_attrs(MIXTURE.attributes())


def mean_of(numbers: Any) -> Any:
    return numbers[..., 1:3] / numbers[..., :2]


def apart(values: xr.DataArray) -> xr.DataArray:
    """Return values whose replicas are independent: what is read is not averaged first."""
    return values.drop_vars("sample")


def with_error(found: statistics.Resampled) -> list[Any]:
    return [found.value, found.error()]


def late(ds: xr.Dataset) -> xr.Dataset:
    """Return equal-time correlations, χ and C at lags that all waiting times have."""
    return ds[["msd", "correlation", "integrated_response"]].isel(lag=slice(0, 18))


#: Of what an argument is Dask's, and its chunks: the axis that is cut, and values in a chunk.
TRAJECTORY = ("configuration", "configuration_time", 1)
CURVES = ("msd correlation integrated_response gradient_noise energy", "replica", 1)
SPECTRA = ("hessian_eigenvalue", "hessian_time", 1)
#: What a function must leave uncomputed, and how its values agree.
LAZY, SAME, CLOSE = "lazy", "same bits", "to rounding"

#: The result is a view of the argument: computed, it is in memory as a whole.
VIEWS = ("pairs.positive_lags", "pairs.lag_last")

#: Minima are found to this part: what is minimised is flat there.
FITTED = {"relaxation.power_law": 1e-5}

Case = tuple[Callable[[xr.Dataset], Any], tuple[str, str, int], str, str]
#: Function → what is called, its Dask arrays, whether it is lazy, and how the values agree.
CASES: dict[str, Case] = {
    "two_time.msd": (lambda ds: two_time.msd(ds.configuration, TW, LAGS), TRAJECTORY, LAZY, SAME),
    "two_time.correlation": (
        lambda ds: two_time.correlation(ds.configuration, TW, LAGS),
        TRAJECTORY,
        LAZY,
        SAME,
    ),
    "particles.motion.two_time": (
        lambda ds: [
            particles.two_time(moved(ds), TW, LAGS, n) for n in ("msd", "self_overlap", "self_scattering")
        ],
        TRAJECTORY,
        LAZY,
        SAME,
    ),
    "pairs.over_pairs": (
        lambda ds: pairs.over_pairs(
            ds.configuration, TW, LAGS, lambda a, b: a[:, :2] * b[:, :2], "p", {"k": [0, 1]}
        ),
        TRAJECTORY,
        LAZY,
        SAME,
    ),
    "sketch.msd": (lambda ds: sketch.msd(ds, TW, LAGS), ("sketch", "configuration_time", 1), LAZY, SAME),
    "particles.structure.positions": (
        lambda ds: particles.positions(moved(ds), 4.0),
        TRAJECTORY,
        LAZY,
        SAME,
    ),
    "particles.structure.pair_correlation": (
        lambda ds: particles.pair_correlation(MIXTURE, moved(ds), [0.5, 1.0, 2.0]),
        TRAJECTORY,
        LAZY,
        SAME,
    ),
    "overlaps.overlaps": (
        lambda ds: overlaps.overlaps(ds.configuration[3]),
        ("configuration", "dof", 2),
        LAZY,
        CLOSE,
    ),
    "pairs.ordered": (
        lambda ds: pairs.ordered(ds.configuration[::-1], "configuration_time"),
        TRAJECTORY,
        LAZY,
        SAME,
    ),
    "pairs.positive_lags": (lambda ds: pairs.positive_lags(ds.msd), CURVES, LAZY, SAME),
    "pairs.lag_last": (lambda ds: pairs.lag_last(ds.msd, ds.correlation), CURVES, LAZY, SAME),
    "equal_time.equal_time": (lambda ds: equal_time.equal_time(ds.correlation, ds.msd), CURVES, LAZY, SAME),
    "fixed_time.at_observation_time": (
        lambda ds: fixed_time.at_observation_time(ds.msd, 40.0),
        CURVES,
        "",
        SAME,
    ),
    "statistics.replica_mean": (
        lambda ds: statistics.replica_mean(ds.configuration),
        TRAJECTORY,
        LAZY,
        CLOSE,
    ),
    "statistics.independent": (
        lambda ds: statistics.independent(ds.configuration)[0],
        TRAJECTORY,
        LAZY,
        CLOSE,
    ),
    # The attribute `samples` is counted.
    "statistics.average": (lambda ds: statistics.average(ds.configuration), TRAJECTORY, "", CLOSE),
    "statistics.sample_count": (lambda ds: statistics.sample_count(ds.configuration), TRAJECTORY, "", SAME),
    "statistics.jackknife": (lambda ds: statistics.jackknife(mean_of, apart(ds.msd)), CURVES, "", CLOSE),
    "statistics.bootstrap": (
        lambda ds: statistics.bootstrap(mean_of, ds.msd, resamples=20),
        CURVES,
        "",
        CLOSE,
    ),
    "overlaps.dynamical_susceptibility": (
        lambda ds: overlaps.dynamical_susceptibility(ds.correlation),
        ("correlation", "lag", 1),
        "",
        SAME,
    ),
    "overlaps.overlap_distribution": (
        lambda ds: overlaps.overlap_distribution(overlaps.overlaps(ds.configuration[3])),
        ("configuration", "dof", 2),
        "",
        CLOSE,
    ),
    "aging.exponent.relaxation_times": (
        lambda ds: relaxation_times(ds.msd, 0.1, resamples=20),
        CURVES,
        "",
        CLOSE,
    ),
    "aging.exponent.aging_exponent": (lambda ds: aging_exponent(ds.msd, resamples=20), CURVES, "", CLOSE),
    "aging.exponent_error.standard_error": (
        lambda ds: exponent_error.standard_error(
            statistics.bootstrap(mean_of, ds.msd, resamples=20), mean_of, ds.msd
        ),
        CURVES,
        "",
        CLOSE,
    ),
    "aging.rescaling.aging_collapse": (lambda ds: aging_collapse(ds.msd, resamples=20), CURVES, "", CLOSE),
    "aging.thresholds.exponent_by_threshold": (
        lambda ds: exponent_by_threshold(ds.msd, resamples=20, points=5),
        CURVES,
        "",
        CLOSE,
    ),
    "displacement_response.effective_temperature": (
        lambda ds: displacement_response.effective_temperature(
            ds.msd, ds.integrated_response.assign_attrs(conjugate="msd")
        ),
        CURVES,
        "",
        CLOSE,
    ),
    "response.fdt_ratio": (
        lambda ds: response.fdt_ratio(ds.correlation, ds.integrated_response, 1.0, width=0.2),
        CURVES,
        "",
        CLOSE,
    ),
    "response.aging_line": (
        lambda ds: response.aging_line(
            late(ds).correlation, late(ds).integrated_response, 1.0, between=(0.5, 0.95)
        ),
        CURVES,
        "",
        CLOSE,
    ),
    "response.fdt_ratio_at": (
        lambda ds: response.fdt_ratio_at(ds.correlation, ds.integrated_response, 1.0, 40.0, width=0.2),
        CURVES,
        "",
        CLOSE,
    ),
    "plateau.plateau": (lambda ds: plateau.plateau(ds.correlation), CURVES, "", CLOSE),
    "asymptote.asymptote": (
        lambda ds: asymptote.asymptote(ds.energy.isel(replica=0), decades=0.5),
        CURVES,
        "",
        CLOSE,
    ),
    "relaxation.local_exponent": (lambda ds: relaxation.local_exponent(ds.energy, 0.0), CURVES, "", CLOSE),
    "relaxation.power_law": (lambda ds: relaxation.power_law(ds.energy, start=1.0), CURVES, "", CLOSE),
    "training.regimes.regimes": (lambda ds: regimes(ds.energy), CURVES, "", CLOSE),
    "training.noise_collapse.msd_over_noise": (
        lambda ds: noise_collapse.msd_over_noise(ds),
        CURVES,
        "",
        CLOSE,
    ),
    "training.noise_collapse.collapse": (lambda ds: noise_collapse.collapse(ds, t2=3.0), CURVES, "", CLOSE),
    "scaling.energy_fraction": (lambda ds: scaling.energy_fraction(ds.energy, 1.0, 0.0), CURVES, LAZY, SAME),
    "scaling.half_time": (lambda ds: scaling.half_time(ds.energy, 1.0, 0.0), CURVES, "", CLOSE),
    "scaling.correlation_fraction": (
        lambda ds: list(scaling.correlation_fraction(ds.correlation, ds.msd)),
        CURVES,
        "",
        CLOSE,
    ),
    "scaling.msd_fraction": (
        lambda ds: list(scaling.msd_fraction(ds.msd, ds.correlation)),
        CURVES,
        "",
        CLOSE,
    ),
    "scaling.msd_over_waiting": (lambda ds: list(scaling.msd_over_waiting(ds.msd)), CURVES, "", CLOSE),
    "landscape.spectra.summary": (lambda ds: spectra.summary(ds), SPECTRA, "", SAME),
    "landscape.spectra.spectral_density": (lambda ds: spectra.spectral_density(ds), SPECTRA, "", SAME),
    "landscape.spectra.subspace_overlap": (
        lambda ds: spectra.subspace_overlap(ds, 2),
        ("hessian_vector", "dof", 2),
        "",
        CLOSE,
    ),
    "clocks.first_passage": (lambda ds: list(clocks.first_passage(ds.energy, 0.3)), CURVES, "", SAME),
    "clocks.steps_to": (lambda ds: list(clocks.steps_to(ds.energy, 0.3)), CURVES, "", SAME),
    "clocks.age_at": (lambda ds: clocks.age_at(ds.energy, 0.3), CURVES, "", CLOSE),
    "clocks.triangle": (
        lambda ds: with_error(clocks.triangle(apart(ds.msd), 1.0, 0.3, np.linspace(0.35, 0.6, 5))),
        CURVES,
        "",
        CLOSE,
    ),
    "power_laws.power_law": (
        lambda ds: power_laws.power_law(ds.barrier_resampled, (1.05, 1.9), resamples=50),
        ("barrier_resampled", "replica", 1),
        "",
        CLOSE,
    ),
    "power_laws.vanishing": (
        lambda ds: power_laws.vanishing(ds.energy.isel(time=slice(0, 20)), "time", resamples=50),
        CURVES,
        "",
        CLOSE,
    ),
    "landscape.barriers.mean_barrier": (
        lambda ds: barriers.mean_barrier(ds),
        ("barrier barrier_resampled barrier_bias", "replica", 4),
        "",
        CLOSE,
    ),
}


def public() -> Iterator[str]:
    """Yield the functions and classes of observables that take a dataset or an array of xarray."""
    for found in pkgutil.walk_packages(observables.__path__, observables.__name__ + "."):
        module = importlib.import_module(found.name)
        for name, thing in vars(module).items():
            own = getattr(thing, "__module__", None) == found.name and not name.startswith("_")
            if not own or not (inspect.isfunction(thing) or inspect.isclass(thing)):
                continue
            if inspect.isclass(thing) and issubclass(thing, Exception):
                continue
            taken = [str(p.annotation) for p in inspect.signature(thing).parameters.values()]
            if any("DataArray" in t or "Dataset" in t for t in taken):
                yield f"{found.name.removeprefix(observables.__name__ + '.')}.{name}"


def test_every_function_that_takes_data_has_a_case() -> None:
    assert set(public()) == set(CASES) | set(EXCEPTIONS)
    assert not set(CASES) & set(EXCEPTIONS)


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return run()


def parts(value: Any) -> list[Any]:
    """Return the arrays that a result consists of."""
    if isinstance(value, xr.Dataset):
        return [value[name] for name in value.data_vars]
    if isinstance(value, list | tuple):
        return [part for one in value for part in parts(one)]
    return [value]


@pytest.mark.parametrize("name", CASES)
def test_lazily_it_is_the_same(name: str, whole: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    function, (names, axis, size), lazy, agree = CASES[name]
    expected = parts(function(whole))
    blocks = Blocks()
    chosen = [n for n in names.split() if axis in whole[n].dims]
    of_dask = whole.assign({n: blocks.lazy(whole[n], axis, size) for n in chosen})
    total = sum(whole[n].nbytes for n in chosen)
    one = max(whole[n].nbytes // whole[n].sizes[axis] * size for n in chosen)
    # A few blocks are large: two of them are held.
    monkeypatch.setattr(pieces, "HELD", 2 * one)
    monkeypatch.setattr(pieces, "BLOCK", one)
    with dask.config.set(scheduler="synchronous"):
        given = function(of_dask)
        if lazy:
            assert blocks.read == 0, f"{blocks.read} of {total} bytes were read by the call"
        got = parts(given)
        if lazy:
            assert all(pieces.is_chunked(part) for part in got)
        got = [part.compute() if isinstance(part, xr.DataArray) else part for part in got]
    assert blocks.read > 0
    # Those held, one that is read, and what a sum of two arrays needs of each.
    most = max(6 * one, 2 * one * len(chosen))
    assert most < total
    assert name in VIEWS or blocks.most <= most, (blocks.most / one, total / one)
    for a, b in zip(got, expected, strict=True):
        if isinstance(a, xr.DataArray) and agree == SAME:
            xr.testing.assert_identical(a, b)
        elif isinstance(a, xr.DataArray):
            # Sums in another order: some 10⁻¹⁶ each, and fits of them. Errors are differences of fits, and
            # known as well as these.
            part = FITTED.get(name, 1e-9)
            least = part * abs(float(expected[0])) if name in FITTED else 1e-12
            xr.testing.assert_allclose(a, b, rtol=part, atol=least)
            assert a.attrs.keys() == b.attrs.keys()
        else:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_blocks_are_not_kept_for_other_waiting_times(
    whole: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, blocks = whole["configuration"], Blocks()
    every, lags = np.arange(10.0), np.arange(1.0, 12.0)
    frame = x[0].nbytes
    monkeypatch.setattr(pieces, "HELD", 2 * frame)
    monkeypatch.setattr(pieces, "BLOCK", frame)
    with dask.config.set(scheduler="synchronous"):
        got = two_time.msd(blocks.lazy(x, "configuration_time", 1), every, lags).compute()
    xr.testing.assert_identical(got, two_time.msd(x, every, lags))
    # Two waiting times at once, and one later time. The latest ones are read again for others.
    assert blocks.most <= 3 * frame
    assert blocks.read > x.nbytes


# What is in a file, without Dask.


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, whole: xr.Dataset) -> Path:
    path = tmp_path_factory.mktemp("lazy") / "run.nc"
    netcdf.write(whole.drop_vars("configuration"), path)
    # In chunks of a time, as runs store them.
    configuration = whole["configuration"]
    with netcdf.Addition(path) as file:
        about = {**configuration.attrs, "coordinates": "sample"}
        file.add("configuration", np.float64, dict(configuration.sizes), about, fill=np.nan, single=1)
        file.put("configuration", ..., configuration.to_numpy())
    return path


@pytest.mark.parametrize("name", CASES)
def test_of_a_file_it_is_the_same(
    name: str, whole: xr.Dataset, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, (names, axis, size), _, agree = CASES[name]
    chosen = [n for n in names.split() if axis in whole[n].dims]
    one = max(whole[n].nbytes // whole[n].sizes[axis] * size for n in chosen)
    expected = parts(function(whole))
    monkeypatch.setattr(pieces, "HELD", one)
    with langevin.open(stored) as found:
        got = parts(function(found))
        for a, b in zip(got, expected, strict=True):
            if isinstance(a, xr.DataArray) and agree == SAME:
                xr.testing.assert_identical(a, b)
            elif isinstance(a, xr.DataArray):
                xr.testing.assert_allclose(a, b, rtol=FITTED.get(name, 1e-9), atol=1e-12)
            else:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_configuration_that_is_large_is_read_by_replicas(
    whole: xr.Dataset, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "HELD", 5 * DOF * 8)
    read: list[tuple[int, ...]] = []
    with langevin.open(stored) as found:
        wrapper = type(found["configuration"].variable._data.array.array.array)
        before = wrapper._getitem
        monkeypatch.setattr(
            wrapper, "_getitem", lambda self, key: (v := before(self, key), read.append(v.shape))[0]
        )
        got = two_time.msd(found["configuration"], TW, LAGS)
    # A time, of five replicas at most.
    assert read and all(shape[0] <= 5 for shape in read if shape[-1:] == (DOF,))
    xr.testing.assert_identical(got, two_time.msd(whole["configuration"], TW, LAGS))


# Arrays without names.


def test_planes_of_dask_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(3).standard_normal((12, 200)).cumsum(0)
    blocks = Blocks()
    lazy = blocks.lazy(xr.DataArray(points, dims=("t", "x")), "x", 10).data
    monkeypatch.setattr(pieces, "BLOCK", 12 * 10 * 8)
    with dask.config.set(scheduler="synchronous"):
        plane, explained = planes.principal(lazy)
        assert blocks.most <= 4 * 12 * 10 * 8
        along, distance = plane.coordinates(lazy)
    expected, ratios = planes.principal(points)
    np.testing.assert_allclose(plane.basis, expected.basis, rtol=0, atol=1e-12)
    np.testing.assert_allclose(explained, ratios, rtol=1e-12)
    np.testing.assert_allclose(along, expected.coordinates(points)[0], rtol=0, atol=1e-10)
    assert isinstance(plane.basis, np.ndarray) and isinstance(distance, np.ndarray)


# Results.


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("results")
    given: dict[str, Any] = {
        "system": {"name": "harmonic", "n": 8},
        "dynamics": {"temperature": 0.5, "dt": 0.1, "t_max": 2.0},
        "ensemble": {"replicas": 4, "samples": 2},
        "record": {"waiting_times": [0.0, 0.5, 1.0], "lags": [0.1, 0.5, 1.0], "configurations": "always"},
    }
    paths = {name: folder / f"{name}.nc" for name in ("run", "sweep")}
    swept = {"sweep": {"system.n": [6, 8]}}
    for name, path in paths.items():
        further = swept if name == "sweep" else {}
        langevin.run({**given, **further, "output": {"path": str(path), "figure": False}}).close()
    return paths


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_a_result_on_dask_arrays_is_as_any_other(
    name: str, results: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the small result were large: most stays with Dask.
    monkeypatch.setattr(pieces, "HELD", 300)
    with langevin.open(results[name]) as plain, langevin.open(results[name], chunks={}) as lazy:
        assert all(pieces.is_chunked(v) for v in lazy.data_vars.values())
        xr.testing.assert_identical(plain, lazy.compute())
        assert summary.contents(lazy) == summary.contents(plain)
        for (labels, a), (other, b) in zip(langevin.members(lazy), langevin.members(plain), strict=True):
            assert labels == other and a.attrs == b.attrs
            xr.testing.assert_identical(a.compute(), b.load())
        if name == "run":
            langevin.plot(lazy, output=tmp_path / "a.png")
            langevin.plot(plain, output=tmp_path / "b.png")
            assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_comparisons_and_configurations_on_dask_arrays(results: dict[str, Path]) -> None:
    path = results["run"]
    with langevin.open(path) as plain, langevin.open(path, chunks={}) as lazy:
        (one,), (two,) = langevin.compare(plain, plain), langevin.compare(lazy, lazy)
        assert one.summary("msd") == two.summary("msd") and one.table() == two.table()
        for a, b in zip(configurations.configuration(lazy), configurations.configuration(plain), strict=True):
            np.testing.assert_array_equal(a, b)
        run = configurations.read(path)
        system, _ = rebuilt(run)
        assert isinstance(system, HasLandscape)
        # The energy of the file, of the configuration that Dask reads: to rounding of another order of sums.
        at = {"configuration_time": run.time, "time": run.time}
        x = lazy["configuration"].sel(configuration_time=at["configuration_time"]).to_numpy()
        np.testing.assert_allclose(
            system.evaluate(x)["energy"], lazy["energy"].sel(time=at["time"]), rtol=1e-12
        )


def test_blocks_of_a_file_are_of_whole_chunks(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = REPLICAS * DOF * 8
    # Less than a chunk of the file is never asked for: its checksum is of the whole of it.
    for held, times in ((3.5 * frame, 3), (frame / 2, 1)):
        monkeypatch.setattr(netcdf, "BLOCK", int(held))
        with langevin.open(stored, chunks={}) as found:
            assert found["configuration"].data.chunksize == (times, REPLICAS, DOF)
    with langevin.open(stored, chunks={"configuration_time": 5}) as found:
        assert found["configuration"].chunksizes["configuration_time"][0] == 5
    with langevin.open(stored) as found:
        assert found["configuration"].chunks is None


def test_without_dask_chunks_are_refused(results: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dask" else there(name))
    with pytest.raises(UserError, match=r'chunks: needs dask.*pip install "langevin-engine\[cluster\]"$'):
        langevin.open(results["run"], chunks={})
    langevin.open(results["run"]).close()


def test_damage_shows_when_dask_reads_it(stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "hurt.nc"
    data = bytearray(stored.read_bytes())
    with langevin.open(stored) as found:
        place = data.find(found["configuration"][7, 3].to_numpy().tobytes())
    assert place > 0
    data[place + 5] ^= 1
    path.write_bytes(data)
    with langevin.open(path, chunks={"configuration_time": 4}) as found:
        found["configuration"][0].compute()
        with pytest.raises(StorageError, match=r"hurt\.nc is damaged"):
            two_time.msd(found["configuration"], [0.0], [7.0]).compute()


# Memory.

#: Of the trajectory of the default suite; `pieces.HELD` and `pieces.BLOCK` there.
SIZE, HELD, BLOCK = 200e6, 2**23, 2**22


@pytest.mark.parametrize("chunks", [{}, pytest.param(None, marks=pytest.mark.slow)])
def test_memory_stays_bounded(chunks: Any, large: Path) -> None:
    said = large_results.analysed(large, chunks, HELD, BLOCK, every=5)
    for name, expected in large_results.directly(large, every=5).items():
        # Sums of 10⁵ numbers in another order.
        np.testing.assert_allclose(said[name][: len(expected)], expected, rtol=1e-9, err_msg=name)
    # What is held, blocks of two threads and their temporaries, caches of the library: some 120 MB. The
    # trajectory in memory would be 200.
    assert said["grown"] < 0.75 * SIZE


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "large.nc"
    dof = 60_000
    large_results.write(path, int(SIZE / (8 * large_results.REPLICAS * dof)), dof)
    yield path
    path.unlink()
