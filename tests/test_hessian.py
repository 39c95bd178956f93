"""Spectra of operators and of runs: against diagonalisation, exact identities, the p-spin's semicircle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import SIGMAS, z_score
from test_restart import assert_same, interrupted

import langevin
from langevin.config import build, run_files
from langevin.config.keys import HessianKeys
from langevin.core.capabilities import HasHessian
from langevin.core.ensemble import Ensemble
from langevin.core.schedule import Grid, Schedule
from langevin.errors import ConfigError, Diverged, UserError
from langevin.observables.landscape import spectra
from langevin.observables.landscape.hessian import Spectrum, density, diagonalised, lanczos, spectrum
from langevin.record.hessian import Spectra
from langevin.results.summary import results
from langevin.sweep import simulation
from langevin.systems.pspin import theory
from langevin.systems.pspin.couplings import Couplings
from langevin.systems.pspin.curvature import TangentHessian

#: Mean and standard deviation of the largest eigenvalue of the GOE about the edge, over N^(-2/3) of half the
#: radius (Tracy and Widom 1996).
TRACY_WIDOM = -1.2065, 1.2680


class Matrix:
    """A dense operator."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix, self.size = matrix, len(matrix)

    def matvec(self, vectors: np.ndarray) -> np.ndarray:
        return self.matrix @ vectors

    def dense(self) -> np.ndarray:
        return self.matrix


def symmetric(size: int, seed: int = 0) -> Matrix:
    a = np.random.default_rng(seed).standard_normal((size, size))
    return Matrix((a + a.T) / np.sqrt(2 * size) + np.diag(np.linspace(0, 2, size) ** 3))


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# Operators.


def test_the_size_decides_how() -> None:
    operator = symmetric(20)
    exact, ritz = spectrum(operator, rng(), exact=20), spectrum(operator, rng(), exact=19, steps=5, probes=3)
    assert exact.exact and exact.values.shape == (20,) and exact.trace_error == 0
    assert exact.trace == pytest.approx(np.trace(operator.matrix), rel=1e-14)
    assert not ritz.exact and ritz.values.shape == (3, 5) and ritz.trace_error > 0


def test_as_many_steps_as_rows_give_every_eigenvalue() -> None:
    """Only with full reorthogonalisation: else converged values come again and push others out."""
    operator = Matrix(np.diag(np.geomspace(1e-6, 1.0, 120)))
    found = lanczos(operator, rng(), steps=120, probes=2)
    # A backward stable method is off by rounding times the largest eigenvalue.
    for row in found.values:
        np.testing.assert_allclose(row, np.diag(operator.matrix), rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-12)


def test_the_quadrature_is_exact_up_to_its_degree() -> None:
    operator, steps = symmetric(50), 6
    found = lanczos(operator, rng(), steps, probes=3)
    signs = 2.0 * rng().integers(0, 2, size=(3, 50), dtype=np.int8) - 1
    for degree in range(2 * steps + 1):
        power = np.linalg.matrix_power(operator.matrix, degree)
        expected = np.einsum("ki,ij,kj->k", signs, power, signs) / 50
        moments = np.sum(found.weights * found.values**degree, axis=1)
        if degree < 2 * steps:
            np.testing.assert_allclose(moments, expected, rtol=1e-11)
        else:
            assert (np.abs(moments / expected - 1) > 1e-6).all()


def test_moments_of_the_density_are_those_of_the_matrix() -> None:
    """Probes are independent: a z-test for each moment."""
    operator = symmetric(60)
    exact, found = spectrum(operator, rng()), lanczos(operator, rng(), steps=8, probes=100)
    for power in (1, 2, 3, 4):
        each = np.sum(found.weights * found.values**power, axis=1)
        assert each.mean() == pytest.approx(found.moment(power), rel=1e-12)
        assert abs(z_score(each, exact.moment(power))) < SIGMAS


def test_the_error_bar_of_the_trace_covers() -> None:
    """Of Student's t with 15 degrees of freedom 66.7 % lie within one error; 5 σ of a binomial."""
    operator, count = symmetric(40), 400
    stream = rng(3)
    found = [lanczos(operator, stream, steps=1, probes=16) for _ in range(count)]
    pulls = np.array([(f.trace - np.trace(operator.matrix)) / f.trace_error for f in found])
    share = np.mean(np.abs(pulls) < 1)
    assert abs(share - 0.6668) < SIGMAS * math.sqrt(0.6668 * 0.3332 / count)
    assert abs(z_score([f.trace for f in found], np.trace(operator.matrix))) < SIGMAS


def test_residuals_bound_the_distance_to_an_eigenvalue() -> None:
    operator = symmetric(80)
    eigenvalues = np.linalg.eigvalsh(operator.matrix)
    found = lanczos(operator, rng(), steps=25, probes=4)
    nearest = np.abs(found.values[..., None] - eigenvalues).min(-1)
    assert (nearest <= found.residuals + 1e-13).all()
    assert found.residuals.max() < 0.2 * np.ptp(eigenvalues)  # not trivially
    low, high = found.extremes
    assert low == pytest.approx(eigenvalues[0], abs=1e-2) and low >= eigenvalues[0] - 1e-13
    assert high == pytest.approx(eigenvalues[-1], abs=1e-6) and high <= eigenvalues[-1] + 1e-13


def test_a_recursion_that_ends_leaves_nan() -> None:
    """Three distinct eigenvalues: the Krylov space has three dimensions."""
    operator = Matrix(np.diag(np.repeat([0.0, 1.0, 5.0], [10, 20, 30])))
    found = lanczos(operator, rng(), steps=8, probes=2)
    np.testing.assert_allclose(found.values[:, :3], [[0, 1, 5]] * 2, atol=1e-13)
    np.testing.assert_allclose(found.weights[:, :3], [[1 / 6, 1 / 3, 1 / 2]] * 2, atol=1e-13)
    assert np.isnan(found.values[:, 3:]).all() and np.isnan(found.weights[:, 3:]).all()
    assert found.moment(1) == pytest.approx(17 / 6, rel=1e-12)
    nothing = lanczos(Matrix(np.zeros((4, 4))), rng(), steps=3, probes=2)
    assert nothing.values[:, 0].tolist() == [0, 0] and nothing.trace == 0


def test_the_probes_held_at_once_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    together = lanczos(symmetric(30), rng(), steps=7, probes=5)
    monkeypatch.setattr("langevin.observables.landscape.hessian.HELD", 0)
    apart = lanczos(symmetric(30), rng(), steps=7, probes=5)
    np.testing.assert_allclose(apart.values, together.values, rtol=0, atol=1e-12)
    assert apart.trace == pytest.approx(together.trace, rel=1e-12)


def test_the_density_is_normalised_and_of_gaussians() -> None:
    at = np.linspace(-6, 6, 2001)
    found = density(np.array([-1.0, 2.0, np.nan]), np.array([0.25, 0.75, np.nan]), at, 0.3)
    assert np.trapezoid(found, at) == pytest.approx(1, rel=1e-10)
    mean = np.trapezoid(at * found, at)
    assert mean == pytest.approx(1.25, rel=1e-10)
    # The values' own variance 27/16, and that of a peak.
    assert np.trapezoid((at - mean) ** 2 * found, at) == pytest.approx(27 / 16 + 0.09, rel=1e-10)


def test_what_is_not_finite_is_refused() -> None:
    broken = Matrix(np.full((4, 4), np.nan))
    for exact in (0, 10):
        with pytest.raises(ValueError, match="not finite"):
            spectrum(broken, rng(), exact=exact)


# The p-spin model.


def spins(p: int, n: int, seed: int, dtype: Any = np.float64) -> tuple[Couplings, np.ndarray]:
    stream = rng(seed)
    couplings = Couplings.draw(p, n, stream, dtype=dtype)
    x = stream.standard_normal(n)
    return couplings, x * np.sqrt(n / (x @ x))


@pytest.mark.parametrize("p", [2, 3, 4])
def test_the_hessian_on_the_sphere_is_the_slope_of_the_force(p: int) -> None:
    """The gradient on the sphere, P ∂H, differentiated along great circles and projected."""
    couplings, x = spins(p, 14, p)
    operator, size = TangentHessian(couplings, x, 1), 14
    basis = operator.displacements(np.eye(size - 1))
    np.testing.assert_allclose(basis.T @ np.column_stack([basis, x]), np.eye(13, 14), atol=1e-13)

    def gradient(s: np.ndarray) -> np.ndarray:
        slope = -operator._force(s[None])[0]
        return slope - s * (s @ slope) / size

    step = 1e-4  # of a spin's size 1: the third derivative leaves about 1e-8
    angle = step / np.sqrt(size)
    columns = [
        (gradient(x * np.cos(angle) + u * np.sqrt(size) * np.sin(angle))
         - gradient(x * np.cos(angle) - u * np.sqrt(size) * np.sin(angle))) / (2 * step)
        for u in basis.T
    ]  # fmt: skip
    np.testing.assert_allclose(operator.dense(), basis.T @ np.array(columns).T, rtol=0, atol=1e-7)
    np.testing.assert_allclose(operator.matvec(np.eye(13)), operator.dense(), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("p", "n"), [(2, 20), (3, 17), (4, 11)])
def test_the_trace_follows_from_the_energy(p: int, n: int) -> None:
    """∂²H has a zero diagonal, and σ·∂²H·σ = p(p−1)H: the trace on the sphere is −p(N + p − 2)E."""
    couplings, x = spins(p, n, 5)
    operator = TangentHessian(couplings, x, 1)
    energy = -operator.multiplier / p
    assert np.trace(operator.dense()) == pytest.approx(-p * (n + p - 2) * energy, rel=1e-12)


@pytest.mark.parametrize(("p", "n"), [(2, 300), (3, 256), (4, 64)])
def test_the_edges_are_those_of_the_semicircle(p: int, n: int) -> None:
    """Both edges of eight samples: 16 values, nearly independent.

    At finite N an element of ∂²H is a sum over the sets of p − 2 other spins, and the edge of the GOE lies
    inside by N^(-2/3); what remains is O(1/N), for which 2/N of the radius is allowed.
    """
    edges = []
    for seed in range(8):
        couplings, x = spins(p, n, seed, np.float32)
        operator = TangentHessian(couplings, x, 1)
        values = np.linalg.eigvalsh(operator.dense()) - operator.multiplier
        edges += [-values[0], values[-1]]
    variance = math.comb(n - 2, p - 2) * theory.coupling_variance(p, n)
    radius, width = 2 * math.sqrt(n * variance), n ** (-2 / 3) / 2
    expected, scatter = radius * (1 + TRACY_WIDOM[0] * width), radius * TRACY_WIDOM[1] * width
    allowed = SIGMAS * scatter / math.sqrt(len(edges)) + 2 * radius / n
    assert abs(np.mean(edges) - expected) < allowed
    # N → ∞, and the radius of another normalisation, √2 off, is refused.
    assert radius == pytest.approx(theory.hessian_radius(p), rel=p**2 / n)
    assert abs(np.mean(edges) - expected / math.sqrt(2)) > allowed


@pytest.mark.parametrize("p", [2, 3, 4])
def test_the_spectrum_begins_at_zero_on_the_threshold(p: int) -> None:
    centre = theory.hessian_centre(p, theory.threshold_energy(p))
    assert centre == pytest.approx(theory.hessian_radius(p), rel=1e-14)
    assert theory.hessian_centre(3, -2 / math.sqrt(3)) == pytest.approx(2 * math.sqrt(3), rel=1e-14)


@pytest.fixture(scope="module")
def quench() -> xr.Dataset:
    return langevin.run(
        {
            "system": {"name": "pspin", "p": 3, "n": 256},
            "dynamics": {"temperature": 0.0, "dt": 0.1, "t_max": 60.0},
            "ensemble": {"replicas": 4, "samples": 2, "seed": 2},
            "record": {
                "hessian": [0.0, 1.0, 5.0, 60.0],
                "waiting_times": [1.0],
                "lags": [1.0],
                "configurations": "never",
            },
        }
    )


def test_after_a_quench_the_lower_edge_comes_to_zero(quench: xr.Dataset) -> None:
    found = spectra.summary(quench)
    energy = quench["energy"].sel(time=quench["hessian_time"].values).to_numpy()
    radius, width = theory.hessian_radius(3), 256 ** (-2 / 3) / 2
    edge = radius * math.sqrt(254 / 256) * (1 + TRACY_WIDOM[0] * width)
    # Single edges, each with the scatter of Tracy and Widom's distribution.
    allowed = SIGMAS * radius * TRACY_WIDOM[1] * width
    centre = theory.hessian_centre(3, 1.0) * energy
    np.testing.assert_allclose(found["lowest"], centre - edge, rtol=0, atol=allowed)
    np.testing.assert_allclose(found["highest"], centre + edge, rtol=0, atol=allowed)
    lowest, negative = found["lowest"].mean("replica"), found["negative"].mean("replica")
    assert (np.diff(lowest) > 0).all() and (np.diff(negative) < 0).all()
    assert abs(lowest[-1]) < 0.1 * radius and float(lowest[0]) < -0.9 * radius
    assert float(negative[0]) == pytest.approx(127.5, abs=10) and float(negative[-1]) < 5
    # Near the threshold: for N → ∞ it is 0.022 above at this time, and 8/N more at finite N.
    assert 0 < float(energy[:, -1].mean()) - theory.threshold_energy(3) < 0.022 + 12 / 256


def test_the_file_holds_spectra_with_their_meaning(quench: xr.Dataset) -> None:
    values = quench["hessian_eigenvalue"]
    assert values.dims == ("replica", "hessian_time", "mode") and values.sizes["mode"] == 255
    assert values.dtype == np.float64 and (values.diff("mode") >= 0).all()
    np.testing.assert_allclose(values.sum("mode"), quench["hessian_trace"], rtol=1e-9, atol=1e-9)
    assert set(quench["hessian_time"].values) <= set(quench["time"].values)
    for name in ("hessian_eigenvalue", "hessian_trace", "hessian_time"):
        assert {"long_name", "units"} <= set(quench[name].attrs)
    assert values.attrs["semicircle_radius"] == theory.hessian_radius(3)
    assert "hessian_trace_error" not in quench and "ritz_value" not in quench


@pytest.mark.parametrize("p", [2, 3, 4])
def test_products_in_single_precision(p: int) -> None:
    """Forces of float32 couplings: products are good to its rounding, times the sum's length."""
    couplings, x = spins(p, 24, 1, np.float32)
    operator = TangentHessian(couplings, x, 1)
    found = operator.matvec(np.eye(23))
    np.testing.assert_allclose(found, operator.dense(), rtol=0, atol=3e-5)
    assert np.abs(operator.matvec(np.zeros((23, 1)))).max() == 0


# Runs.


def small_run(**record: Any) -> dict[str, Any]:
    return {
        "system": {"name": "pspin", "p": 3, "n": 24},
        "dynamics": {"temperature": 0.5, "dt": 0.05, "t_max": 6.0},
        "ensemble": {"replicas": 4, "samples": 2, "seed": 3},
        "record": {"waiting_times": [1.0], "lags": [1.0], **record},
    }


LANCZOS = {"hessian_exact": 0, "hessian_steps": 5, "hessian_probes": 3}


@pytest.mark.parametrize("exact", [True, False])
def test_a_resumed_run_has_the_same_spectra(
    exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small_run(hessian=[0.0, 2.0, 6.0], **({} if exact else LANCZOS))
    given["output"] = {"path": str(tmp_path / "whole.nc"), "figure": False}
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    paths = interrupted(given, monkeypatch, 1, after=2.5)
    name = "hessian_eigenvalue" if exact else "ritz_value"
    with xr.open_dataset(paths.checkpoint) as found:
        missing = found[name].isnull().all([d for d in found[name].dims if d != "hessian_time"])
        assert missing.values.tolist() == [False, False, True]
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)
    with xr.open_dataset(paths.result) as found:
        assert np.isfinite(found[name]).all()


def test_without_times_nothing_is_different() -> None:
    plain, looked = langevin.run(small_run()), langevin.run(small_run(hessian=[3.15]))
    assert not {"hessian_time", "hessian_trace", "hessian_eigenvalue"} & set(plain.variables)
    # It is added to the times.
    assert looked["hessian_time"].values.tolist() == [3.15]
    assert set(plain["time"].values) <= set(looked["time"].values) and 3.15 in looked["time"]
    np.testing.assert_array_equal(looked["energy"].sel(time=plain["time"]), plain["energy"])


def test_probes_belong_to_seed_replica_and_time() -> None:
    alone, among = (langevin.run(small_run(hessian=t, **LANCZOS)) for t in ([4.0], [1.0, 4.0]))
    for name in ("ritz_value", "ritz_weight", "ritz_residual", "hessian_trace", "hessian_trace_error"):
        assert {"long_name", "units", "rows"} <= set(alone[name].attrs)
        np.testing.assert_array_equal(alone[name][:, 0], among[name][:, 1])
    other = small_run(hessian=[4.0], **LANCZOS)
    other["ensemble"]["seed"] = 4
    assert (langevin.run(other)["ritz_value"] != alone["ritz_value"]).all()


@pytest.mark.parametrize("keys", [{}, LANCZOS], ids=["exact", "lanczos"])
def test_neither_threads_nor_other_replicas_matter(keys: dict[str, int]) -> None:
    found = []
    settings = run_files.load(small_run(hessian=[0.0], **keys))
    whole = Ensemble.regular(4, 2, 3, threads=1)
    for ensemble in (whole, Ensemble.regular(4, 2, 3, threads=2), whole.subset(np.array([3, 1]))):
        system = build.build(settings, ensemble)
        state = system.initial_state(None)  # type: ignore[arg-type]
        found.append(Spectra(settings.record, ensemble, system).measure(state, 0.0))
    later = Spectra(settings.record, ensemble, system).measure(state, 1.0)
    if keys:
        # The same state, other probes.
        assert (later["hessian_trace"][1] != found[2]["hessian_trace"][1]).all()
    for name, (_, values) in found[0].items():
        np.testing.assert_array_equal(found[1][name][1], values)
        np.testing.assert_array_equal(found[2][name][1], values[[3, 1]])


def test_the_harmonic_spectrum_is_its_stiffness() -> None:
    given = {
        "system": {"name": "harmonic", "n": 30, "stiffness": 1.7},
        "dynamics": {"temperature": 0.5, "dt": 0.05, "t_max": 1.0},
        "ensemble": {"replicas": 2},
        "record": {"hessian": {"start": 0.1, "per_decade": 1}, "waiting_times": [0.1], "lags": [0.1]},
    }
    exact = langevin.run(given)
    assert exact["hessian_time"].values.tolist() == [0.1, 1.0]
    assert (exact["hessian_eigenvalue"] == 1.7).all()
    given["record"] |= LANCZOS  # type: ignore[operator]
    ritz = langevin.run(given)
    np.testing.assert_allclose(ritz["ritz_value"][..., 0], 1.7, rtol=1e-14)
    assert ritz["ritz_value"][..., 1:].isnull().all()
    for found in (exact, ritz):
        summary = spectra.summary(found)
        np.testing.assert_allclose(summary["trace_per_row"], 1.7, rtol=1e-13)
        assert (summary["negative"] == 0).all() and (summary["negative_fraction"] == 0).all()


def test_a_summary_of_both_kinds() -> None:
    keys = {**LANCZOS, "hessian_steps": 23, "hessian_probes": 10}
    exact, ritz = (langevin.run(small_run(hessian=[0.0, 6.0], **k)) for k in ({}, keys))
    a, b = spectra.summary(exact), spectra.summary(ritz)
    # As many steps as rows: the edges of a probe are those of the spectrum. Forces are in single precision.
    for name in ("lowest", "highest"):
        np.testing.assert_allclose(b[name], a[name], rtol=0, atol=1e-4)
    pulls = (b["trace_per_row"] - a["trace_per_row"]) / b["trace_per_row_error"]
    # Student's t with 9 degrees of freedom: one of eight is beyond 7 errors once in 2000.
    assert (np.abs(pulls) < 7).all()
    assert (a["trace_per_row_error"] == 0).all()
    np.testing.assert_array_equal(a["negative"], (exact["hessian_eigenvalue"] < 0).sum("mode"))
    for found in (exact, ritz):
        curve = spectra.spectral_density(found, width=0.5)
        np.testing.assert_allclose(curve.integrate("eigenvalue"), 1, rtol=1e-5)


def test_the_summary_of_a_run_names_the_edges(quench: xr.Dataset) -> None:
    lines = results(quench).splitlines()
    header = next(k for k, line in enumerate(lines) if "part negative" in line)
    rows = [line.split() for line in lines[header + 1 : header + 5]]
    assert lines[header + 5 :] == ["means without ±: too few samples: 2 of at least 4"]
    assert [float(row[0]) for row in rows] == [0, 1, 5, 60]
    lowest = spectra.summary(quench)["lowest"].mean("replica")
    np.testing.assert_allclose([float(row[1]) for row in rows], lowest, atol=1e-5)
    assert "part negative" not in results(quench.drop_vars("hessian_eigenvalue"))


def test_zero_modes_do_not_count_as_negative() -> None:
    values = np.array([[[-1.0, -1e-14, 1e-14, 2.0]], [[np.nan] * 4]])
    made = xr.Dataset(
        {
            "hessian_eigenvalue": (("replica", "hessian_time", "mode"), values),
            "hessian_trace": (("replica", "hessian_time"), [[1.0], [np.nan]]),
        },
        {"hessian_time": [0.0]},
    )
    found = spectra.summary(made)
    assert found["negative"].values.tolist()[0] == [1.0] and np.isnan(found["negative"][1]).all()
    assert found["lowest"].isnull().values.tolist() == [[False], [True]]
    with pytest.raises(ValueError, match=r"record\.hessian"):
        spectra.summary(made.drop_vars("hessian_eigenvalue"))


def test_times_are_added_to_the_schedule() -> None:
    none = Grid(values=())
    further = {"hessian_time": Grid(values=(0.0, 3.0, 7.0))}
    grids = none, Grid(values=(2.0,)), Grid(values=(1.0,))
    made = Schedule.build(*grids, 10.0, 1.0, further, ["hessian_time"])
    assert [stop.time for stop in made.stops] == [0, 2, 3, 7, 10]
    assert made.axes["hessian_time"].tolist() == [0, 3, 7]
    # Where a spectrum is measured the energy is, too; at a waiting time it is not.
    assert made.times.tolist() == [0, 3, 7, 10]
    assert [stop.due.get("hessian_time") for stop in made.stops] == [0, None, 1, 2, None]


@pytest.mark.parametrize(
    ("system", "record", "fault"),
    [
        ("pspin", {"hessian": [7.0]}, "record.hessian: 7 lies beyond dynamics.t_max"),
        ("pspin", {"hessian": [0.001]}, "record.hessian: 0.001 is no time step"),
        ("pspin", {"hessian": [1.0], "hessian_probes": 1}, "record.hessian_probes = 1: allowed: integer ≥ 2"),
        (
            "walkers:Bare",
            {"hessian": [1.0]},
            "record.hessian = [1.0]: allowed: [] (walkers:Bare gives no Hessian)",
        ),
        (
            "walkers:Walkers",
            {"hessian": {"per_decade": 1}},
            "record.hessian = { per_decade = 1.0 }: allowed: []",
        ),
    ],
)
def test_faults_name_the_key(system: str, record: dict[str, Any], fault: str) -> None:
    given = small_run(**record)
    if system != "pspin":
        given |= {"system": {"name": system}, "dynamics": {"t_max": 20.0}}
    with pytest.raises(ConfigError) as raised:
        run_files.load(given)
    assert any(line.startswith(fault) for line in raised.value.faults), raised.value.faults


def test_what_does_not_fit_into_memory_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    keys = HessianKeys(hessian_exact=20_000, hessian_steps=64)
    measure = Spectra(keys, Ensemble.regular(1, 1, 0), None)  # type: ignore[arg-type]
    free = psutil.virtual_memory()._replace(available=2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    measure.require_room(5000)
    with pytest.raises(
        UserError, match=r"record\.hessian_exact = 20000: a Hessian of 10000 rows needs 2\.4 GB"
    ):
        measure.require_room(10_000)
    with pytest.raises(UserError, match=r"record\.hessian_steps = 64: .* 5\.7 GB"):
        measure.require_room(11_220_132)


def test_a_hessian_that_is_not_finite_ends_the_run() -> None:
    class Broken(HasHessian):
        def hessian(self, state: Any, position: int) -> Matrix:
            return Matrix(np.full((3, 3), np.inf))

    measure = Spectra(HessianKeys(), Ensemble.regular(2, 1, 0), Broken())  # type: ignore[arg-type]
    with pytest.raises(Diverged, match="Hessian of replica 0 at t = 2"):
        measure.measure(None, 2.0)


def test_the_spectrum_of_a_matrix_reads_like_one() -> None:
    found: Spectrum = diagonalised(np.diag([3.0, -1.0]))
    assert found.values.tolist() == [-1, 3] and found.extremes == (-1, 3) and found.moment(2) == 5
