"""The N → ∞ dynamics of the p-spin model: golden values, exact identities, one solver against the other.

Golden values: a second-order solver with three Richardson levels, printed to 1e-9 (T = 0 beyond t = 10:
another solver at tolerance 1e-7).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr

import langevin
from langevin.config import run_files
from langevin.errors import ConfigError, Diverged
from langevin.systems.cugliandolo_kurchan import theory
from langevin.systems.cugliandolo_kurchan.accuracy import TimePair, two_time
from langevin.systems.cugliandolo_kurchan.collocation import (
    DEGREE,
    KNOWN,
    NODES,
    PANEL,
    STAGES,
    barycentric,
    differentiation,
    interpolation,
    radau,
    weigh,
)
from langevin.systems.cugliandolo_kurchan.companion import Companion
from langevin.systems.cugliandolo_kurchan.covariance import Covariance
from langevin.systems.cugliandolo_kurchan.direct import DIVISORS, Direct, extrapolated
from langevin.systems.cugliandolo_kurchan.history import History, stages_of, time_of
from langevin.systems.cugliandolo_kurchan.longtime import LongTime
from langevin.systems.cugliandolo_kurchan.memory import equations, geometry_of, memory_of
from langevin.systems.cugliandolo_kurchan.panels import SlabGrid, Zones, place, zones_of
from langevin.systems.cugliandolo_kurchan.series import Series
from langevin.systems.cugliandolo_kurchan.stepping import Equations
from langevin.systems.pspin import theory as pure

#: (T, T_i) → t → E, C(t, 0); p = 3.
GOLDEN: dict[tuple[float, float], dict[float, tuple[float, ...]]] = {
    (0.0, np.inf): {
        1: (-0.782508157, 0.713697254),
        2: (-0.926219335,),
        5: (-1.035656190,),
        10: (-1.081598767, 0.284698810),
    },
    (0.5, np.inf): {
        1: (-0.586993130, 0.542376304),
        2: (-0.685843760,),
        5: (-0.768986264,),
        10: (-0.808116575, 0.165485560),
    },
    (1.0, np.inf): {
        1: (-0.430705232, 0.384231000),
        2: (-0.473819379,),
        5: (-0.496456580,),
        10: (-0.499789720, 0.016852608),
    },
    (0.7, 0.7): {1: (-0.714285714, 0.713629802), 10: (-0.714285714, 0.426071178)},
}
CASES = list(GOLDEN)
#: R(10, 5).
GOLDEN_RESPONSE = {(0.0, np.inf): 0.039257433, (0.5, np.inf): 0.051380516}


def problem(temperature: float, start: float = np.inf, f: Covariance | None = None) -> Equations:
    return Equations(f or Covariance.pure(3), temperature, 1 / start)


def settings(**overrides: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "system": {"name": "cugliandolo_kurchan", "p": 3},
        "dynamics": {"temperature": 0.5, "t_max": 10.0, "tolerance": 1e-6},
        "record": {"waiting_times": [0.0, 1.0, 4.0], "lags": {"start": 0.1, "per_decade": 5}},
        "output": {"figure": False},
    }
    for dotted, value in overrides.items():
        section, key = dotted.split("__")
        given.setdefault(section, {})[key] = value
    return given


@pytest.mark.parametrize("end", [2.0, pytest.param(10.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_the_direct_solver_gives_the_golden_values(case: tuple[float, float], end: float) -> None:
    solver = Direct(problem(*case), 0.05, round(end / 0.05))
    solver.reach(end)
    for t, (energy, *correlation) in GOLDEN[case].items():
        if t > end:
            continue
        found, error = solver.one_time(t, round(t / 0.05))
        assert abs(found[0] - energy) < 1e-8, t
        assert error[0] < 1e-7
        for c in correlation:
            assert abs(solver.two_time(t, 0.0, round(t / 0.05))[0][0] - c) < 1e-8
    if case in GOLDEN_RESPONSE and end == 10:
        assert abs(solver.two_time(10.0, 5.0, 200)[0][1] - GOLDEN_RESPONSE[case]) < 1e-8


def test_the_direct_solver_is_of_second_order_with_even_errors() -> None:
    solver = Direct(problem(0.5), 0.04, 50)
    solver.reach(2.0)
    exact, _ = solver.two_time(2.0, 1.0, 50)
    errors = []
    for parts, lattice in zip(DIVISORS[:3], solver.lattices, strict=False):
        last, first = 50 * parts, 25 * parts
        errors.append(np.array([lattice.c[last, first], lattice.r[last, first]]) - exact[:2])
    for coarse, fine in pairwise(errors):
        # e = a dt² + b dt⁴: the ratio is 4 up to 3·(b/a)·dt², a few per cent here.
        np.testing.assert_allclose(coarse / fine, 4, atol=0.05)
    grids = 0.4 / np.array(DIVISORS)
    best, error = extrapolated([np.array([1 + d**2 + d**4]) for d in grids], 1)
    np.testing.assert_allclose(best, 1, atol=1e-14)
    assert 0 < error < 1e-13
    # A term in dt⁶ is left, and known: twice what it is.
    best, error = extrapolated([np.array([1 + d**2 + d**6]) for d in grids], 1)
    np.testing.assert_allclose(error, 2 * abs(best - 1), rtol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_the_long_time_solver_gives_the_golden_values(case: tuple[float, float]) -> None:
    solver = LongTime(problem(*case), 1e-8)
    for t, (energy, *correlation) in GOLDEN[case].items():
        size = solver.reach(t)
        assert abs(solver.one_time(t, size)[0] - energy) < 1e-8, t
        for c in correlation:
            assert abs(solver.two_time(t, 0.0, size)[0] - c) < 1e-8
    if case in GOLDEN_RESPONSE:
        assert abs(solver.two_time(10.0, 5.0, solver.reach(10.0))[1] - GOLDEN_RESPONSE[case]) < 1e-8


def test_gradient_descent_to_t_100_agrees_with_an_independent_solver() -> None:
    solver = LongTime(problem(0.0), 1e-7)
    table = {25: (-1.11593688, 0.197922), 50: (-1.13055295, 0.151341), 100: (-1.13959640, 0.116282)}
    for t, (energy, correlation) in table.items():
        size = solver.reach(t)
        assert abs(solver.one_time(t, size)[0] - energy) < 1e-7
        assert abs(solver.two_time(t, 0.0, size)[0] - correlation) < 1e-6


@pytest.mark.parametrize("tolerance", [1e-4, 1e-5, 1e-6, 1e-7])
@pytest.mark.parametrize("case", CASES[:2])
def test_the_error_follows_the_tolerance(tolerance: float, case: tuple[float, float]) -> None:
    solver = LongTime(problem(*case), tolerance)
    errors = [
        abs(solver.one_time(t, solver.reach(t))[0] - energy[0]) for t, energy in sorted(GOLDEN[case].items())
    ]
    assert max(errors) < 3 * tolerance
    if tolerance < 1e-4:  # There steps are as long as they may be.
        assert tolerance / 30 < max(errors)


@pytest.mark.parametrize(
    "f, temperature, start",
    [
        (Covariance.pure(2), 0.5, np.inf),
        (Covariance.pure(4), 0.4, np.inf),
        (Covariance.mixed({3: 0.5, 4: 0.5}), 0.0, np.inf),
        (Covariance.mixed({3: 0.5, 4: 0.5}), 0.3, 0.6),
        (Covariance.mixed({2: 0.3, 6: 1.0}), 0.2, 1.5),
    ],
)
def test_both_solvers_agree_for_any_model_and_start(f: Covariance, temperature: float, start: float) -> None:
    p = problem(temperature, start, f)
    direct, late = Direct(p, 0.05, 80), LongTime(p, 1e-7)
    for t in (0.5, 1.5, 4.0):
        n, size = direct.reach(t), late.reach(t)
        one, error = direct.one_time(t, n)
        np.testing.assert_allclose(late.one_time(t, size), one, atol=1e-6 + 10 * error.max())
        for earlier in (0.0, 0.1, t / 2, t - 0.25):
            two, error = direct.two_time(t, earlier, n)
            np.testing.assert_allclose(late.two_time(t, earlier, size), two, atol=1e-6 + 10 * error.max())


@pytest.mark.parametrize("solver", ["long-time", "direct"])
def test_the_multiplier_and_the_energy_obey_euler(solver: str) -> None:
    for p in (3, 4):
        found = langevin.run(
            settings(system__p=p, dynamics__solver=solver, dynamics__t_max=2.0, record__waiting_times=[0.0])
        )
        # Both are sums over the same points: to rounding.
        np.testing.assert_allclose(found["mu"], 0.5 - p * found["energy"], atol=1e-12)


def test_equilibrium_is_stationary_and_obeys_fdt() -> None:
    t = 0.7
    solver = LongTime(problem(t, t), 1e-8)
    lags = np.array([0.01, 0.3, 1.0, 5.0, 20.0])
    first, later = (
        np.array([solver.two_time(w + x, w, solver.reach(w + x)) for x in lags]) for w in (0.0, 10.0)
    )
    # C, R and χ depend on the lag alone; χ = (1 − C)/T.
    np.testing.assert_allclose(later, first, atol=3e-8)
    np.testing.assert_allclose(later[:, 2], (1 - later[:, 0]) / t, atol=3e-8)
    h = 0.02
    size = solver.reach(30.0)
    c = [solver.two_time(12.0 + k * h, 10.0, size)[0] for k in (-2, -1, 1, 2)]
    slope = (c[0] - 8 * c[1] + 8 * c[2] - c[3]) / (12 * h)  # O(h⁴): 1e-8 here
    assert abs(solver.two_time(12.0, 10.0, size)[1] + slope / t) < 2e-7
    np.testing.assert_allclose([solver.one_time(x, size)[0] for x in lags], -1 / (2 * t), atol=2e-8)


def test_fdt_fails_out_of_equilibrium() -> None:
    solver = LongTime(problem(0.5), 1e-6)
    c, _, chi = solver.two_time(30.0, 5.0, solver.reach(30.0))
    assert abs(chi - (1 - c) / 0.5) > 0.1


def test_the_power_series_has_the_known_terms() -> None:
    for p, t in ((3, 0.0), (3, 0.5), (4, 0.7)):
        series = Series(Covariance.pure(p), t, 0.0, 8)
        np.testing.assert_allclose(series.energy[:3], [0, -p / 2, p**2 / 4 * t], atol=1e-14)
        np.testing.assert_allclose(series.c[1, 0], -t, atol=1e-14)
        np.testing.assert_allclose(np.array([series.c[a, 6 - a] for a in range(7)]).sum(), 0, atol=1e-12)
    descent = Series(Covariance.pure(3), 0.0, 0.0, 8)
    np.testing.assert_allclose(descent.energy[3], 2.25)
    np.testing.assert_allclose(descent.c[2, 0], -0.75)
    still = Series(Covariance.pure(3), 0.7, 1 / 0.7, 8)
    np.testing.assert_allclose(still.energy[1:], 0, atol=1e-11)  # terms of size 10 cancel
    np.testing.assert_allclose(still.c[:3, 0], [1, -0.7, (0.49 + 1.5) / 2], atol=1e-13)


@pytest.mark.parametrize(
    "zones", [Zones(-1.0, 1.0, 0, 12, 0), Zones(-0.4, 0.5, 3, 8, 2), Zones(*zones_of(4.615, 1.2, 0.4))]
)
def test_panels_interpolate_and_integrate_polynomials_of_u(zones: Zones) -> None:
    grid = SlabGrid.at(np.array([10.0, 30.0]), zones)
    u = np.log((grid.earlier[1] + 0.3) / (grid.lag[1] + 0.3))
    weights = np.empty(NODES)
    for earlier in (0.0, 1e-3, 2.0, 17.0, 29.999, 30.0):
        panel, x = place((earlier + 0.3) / (30.3 - earlier), float(grid.half[1]), zones)
        weigh(x, PANEL.points, PANEL.weights, weights)
        here, nodes = np.log((earlier + 0.3) / (30.3 - earlier)), u[panel * DEGREE : panel * DEGREE + NODES]
        for degree in range(DEGREE + 1):
            value = weights @ (nodes / 5) ** degree
            np.testing.assert_allclose(value, (here / 5) ** degree, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(grid.weight.sum(axis=1), grid.t, rtol=1e-10)
    np.testing.assert_allclose(np.sum(grid.weight * grid.lag, axis=1), grid.t**2 / 2, rtol=1e-10)
    # The negative control: a polynomial of higher degree is not exact.
    panel, x = place(14.3 / 16.3, float(grid.half[1]), zones)
    weigh(x, PANEL.points, PANEL.weights, weights)
    steep = np.exp(40 * u[panel * DEGREE : panel * DEGREE + NODES])
    assert abs(weights @ steep / np.exp(40 * np.log(14.3 / 16.3)) - 1) > 1e-6


def test_derivatives_along_lines_of_constant_x_give_those_at_fixed_earlier_time() -> None:
    t, h = 30.0, 1e-5
    grid = SlabGrid.at(np.array([t - h, t, t + h]), Zones(-0.4, 0.5, 3, 8, 2))

    def field(k: int) -> np.ndarray:
        return np.asarray(np.cos(grid.earlier[k] / 7) * np.exp(-grid.lag[k] / 11))

    along = (field(2) - field(0)) / (2 * h)
    inside = np.arange(len(grid.x) - 1)
    first = inside - inside % DEGREE
    slopes = np.array(
        [PANEL.derivative[j - f] @ field(1)[f : f + NODES] for j, f in zip(inside, first, strict=True)]
    )
    # ∂_t at fixed t' is −1/11 of the field. Central differences: O(h²), and rounding 1e-16/h.
    np.testing.assert_allclose(along[:-1] + grid.speed[1, :-1] * slopes, -field(1)[:-1] / 11, atol=1e-8)


def _stability_angle(stages: int, known: int) -> float:
    """Return the half angle, in degrees, of the sector about −∞ where multistep collocation is stable."""
    places = (1 + radau(stages)) / 2
    rows = differentiation(np.append(np.arange(1.0 - known, 1.0), places))[known:]

    def growth(z: complex) -> float:
        step = np.linalg.solve(rows[:, known:] - z * np.eye(stages), -rows[:, :known])
        companion = np.zeros((known, known), complex)
        companion[:-1, 1:], companion[-1] = np.eye(known - 1), step[-1]
        return float(np.max(np.abs(np.linalg.eigvals(companion))))

    for angle in np.arange(0.0, 90.1, 0.5):
        if any(growth(-np.exp(1j * np.deg2rad(angle)) * x) > 1 + 1e-9 for x in np.logspace(-2.5, 5, 200)):
            return float(angle)
    return 90.0


def test_steps_are_stable_for_all_that_panels_ask_of_them() -> None:
    # Transport into a panel from its right end: y' = D y at the nodes but the last.
    spectrum = np.linalg.eigvals(PANEL.derivative[:-1, :-1])
    assert spectrum.real.max() < 0
    needed = np.rad2deg(np.max(np.abs(np.angle(-spectrum))))
    assert needed < _stability_angle(STAGES, KNOWN) - 3
    # The negative control: backward differences of the same order are not.
    assert needed > _stability_angle(1, 6)


def test_interpolation_and_differentiation_are_exact_for_their_degree() -> None:
    points = np.append(np.arange(-4.0, 1.0), (1 + radau(3)) / 2)
    at = np.array([-0.3, 0.0, 0.71, 1.0])
    for degree in range(8):
        np.testing.assert_allclose(interpolation(points, at) @ points**degree, at**degree, atol=1e-10)
        slope = degree * points ** max(degree - 1, 0)
        np.testing.assert_allclose(differentiation(points) @ points**degree, slope, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("start", [np.inf, 0.8])
def test_the_jacobian_is_the_derivative_of_the_residual(start: float) -> None:
    solver = LongTime(problem(0.5, start), 1e-3)
    solver.reach(3.0)
    history, stepper = solver.history, solver.stepper
    level = np.concatenate([history.ends()[-KNOWN:], stages_of(history.end, 0.3)])
    zones = Zones(*zones_of(float(level[-1]), 1.2, 1.2))
    grid = SlabGrid.at(np.array([time_of(x) for x in level[KNOWN:]]), zones)
    values = stepper._predict(history, level, grid)
    tables = barycentric(level), differentiation(level)[KNOWN:]
    geometry = geometry_of(grid, level, tables, (1.2, 1.2))
    memory = memory_of(history, history.size, geometry)
    size = len(grid.x) - 1
    n = 2 * STAGES * size
    residual, jacobian = np.empty(n), np.empty((n, n))
    equations(geometry, memory, solver.problem.fields(values, grid), residual, jacobian, 0, 1)
    step = 1e-5
    for unknown in range(0, n, 7):
        stage, rest = divmod(unknown, 2 * size)
        field, node = divmod(rest, size)
        shifted = []
        for sign in (1, -1):
            moved, out = values.copy(), np.empty(n)
            moved[KNOWN + stage, field, node] += sign * step
            fields = solver.problem.fields(moved, grid)
            equations(geometry, memory, fields, out, np.empty((0, 0)), 0, 1)
            shifted.append(out)
        # Central differences of a polynomial of low degree: O(step²).
        np.testing.assert_allclose(jacobian[:, unknown], (shifted[0] - shifted[1]) / (2 * step), atol=1e-7)


@pytest.mark.parametrize("t", [0.001, 0.3, 5.0])
def test_a_history_survives_saving(t: float) -> None:
    solver = LongTime(problem(0.5), 1e-5)
    size = solver.reach(t)
    again = LongTime(problem(0.5), 1e-5)
    again.load_state(solver.state_dict(size))
    assert isinstance(again.history, History)
    assert again.history.size == size
    assert again.two_time(t, t / 2, size) == solver.two_time(t, t / 2, size)
    assert again.two_time(20.0, 1.0, again.reach(20.0)) == solver.two_time(20.0, 1.0, solver.reach(20.0))


def test_the_closed_forms_hold_for_any_covariance() -> None:
    for p in (3, 4, 7):
        f = Covariance.pure(p)
        for mine, known in (
            (theory.dynamic_temperature(f), pure.dynamic_temperature(p)),
            (theory.static_temperature(f), pure.static_temperature(p)),
            (theory.edwards_anderson(f, 0.3), pure.edwards_anderson(p, 0.3)),
            (theory.fdt_ratio(f, 0.3), pure.fdt_ratio(p, 0.3)),
            (theory.asymptotic_energy(f, 0.3), pure.asymptotic_energy(p, 0.3)),
            (theory.asymptotic_energy(f, 0.0), pure.threshold_energy(p)),
            (theory.asymptotic_energy(f, 2.0), pure.asymptotic_energy(p, 2.0)),
        ):
            assert abs(mine - known) < 1e-9
    mixed = Covariance.mixed({3: 0.5, 4: 0.5})
    assert theory.static_temperature(mixed) < theory.dynamic_temperature(mixed)
    assert abs(theory.asymptotic_energy(mixed, 0.0) - theory.asymptotic_energy(mixed, 1e-6)) < 1e-5
    np.testing.assert_allclose(theory.dynamic_temperature(Covariance.pure(2)), 1.0, atol=1e-5)


def test_the_file_holds_results_and_their_errors() -> None:
    found = langevin.run(settings())
    golden = GOLDEN[0.5, np.inf]
    assert found.sizes["replica"] == 1
    np.testing.assert_allclose(found["msd"], 2 * (1 - found["correlation"]))
    for t, (energy, *_) in golden.items():
        at = found.sel(time=t, method="nearest").isel(replica=0)
        if abs(float(at["time"]) - t) < 1e-9:
            # The estimate is that of the error's size: right within a factor of three.
            assert abs(float(at["energy"]) - energy) < 3 * float(at["energy_error"]) + 1e-9
            assert float(at["energy_error"]) < 1e-5
    reached = found["correlation"].notnull()
    assert bool((found["correlation_error"].notnull() == reached).all())
    assert float(found["correlation_error"].max()) < 1e-5
    assert found["integrated_response"].attrs["temperature"] == 0.5
    np.testing.assert_allclose(found["integrated_response"].attrs["fdt_ratio"], 0.565376, atol=1e-6)
    np.testing.assert_allclose(found["integrated_response"].attrs["q_ea"], 0.638824, atol=1e-6)
    np.testing.assert_allclose(found["energy"].attrs["asymptote"], -0.886693, atol=1e-6)


def test_both_solvers_write_the_same_file() -> None:
    late, early = (
        langevin.run(settings(dynamics__solver=solver, dynamics__t_max=4.0, record__times=[1.0, 2.0]))
        for solver in ("long-time", "direct")
    )
    late, early = xr.align(late, early, join="inner")
    assert set(late.data_vars) == set(early.data_vars)
    assert late["time"].to_numpy().tolist() == [0.0, 1.0, 2.0, 4.0]
    for name in ("energy", "mu", "correlation", "response", "integrated_response"):
        np.testing.assert_allclose(late[name], early[name], atol=1e-5)


@pytest.mark.parametrize(
    "override, words",
    [
        ({"dynamics__temperature": -0.1}, ["dynamics.temperature = -0.1", "≥ 0"]),
        ({"dynamics__tolerance": 0.0}, ["dynamics.tolerance = 0.0", "≥ 1e-09"]),
        ({"dynamics__initial_temperature": 0.58}, ["0.58", "T_K = 0.586054", "inf"]),
        ({"dynamics__initial_temperature": 0.0}, ["initial_temperature = 0", "T_K"]),
        ({"dynamics__solver": "euler"}, ['"euler"', '"long-time"', '"direct"']),
        ({"system__p": 1}, ["system.p = 1", "≥ 2"]),
        ({"system__p": {"3": -1.0}}, ["system.p", "strengths > 0"]),
        ({"system__p": "three"}, ["three", "integer ≥ 2"]),
        ({"ensemble__replicas": 4}, ["ensemble.replicas = 4", "must be 1"]),
        (
            {"dynamics__solver": "direct", "dynamics__t_max": 1e5},
            ["dynamics.t_max = 100000", "GB", 'solver = "long-time"'],
        ),
        ({"dynamics__solver": "direct", "record__lags": [0.01]}, ["record.lags: 0.01", "grid_step = 0.05"]),
        ({"dynamics__dt": 0.01}, ["dynamics.dt", "unknown key"]),
    ],
)
def test_bad_input_is_one_clear_line(override: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        run_files.load(settings(**override))
    (line,) = caught.value.faults
    for word in words:
        assert word in line


def test_lost_control_is_said_and_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from langevin.systems.cugliandolo_kurchan import longtime

    take = longtime.LongTime.take

    def unsolved(self: LongTime, step: float, width: float) -> Any:
        taken, width = take(self, step, width)
        return (taken if time_of(self.history.end) < 3 else taken._replace(in_time=np.inf)), width

    monkeypatch.setattr(longtime.LongTime, "take", unsolved)
    path = tmp_path / "lost.nc"
    with pytest.raises(Diverged, match=r"lost control of its error at t = .*tolerance"):
        langevin.run(settings(output__path=str(path)))
    with xr.open_dataset(path) as kept:
        assert kept.attrs["status"].startswith("diverged")
        assert float(kept["energy"].min()) < -0.5


@pytest.mark.parametrize("late", [1e4, pytest.param(1e6, marks=pytest.mark.slow)])
def test_short_lags_are_right_at_late_waiting_times(late: float) -> None:
    """Δ/(2Tτ) = 1 − μτ/2 + O(τ²) where C has reached quasi-equilibrium: there C'' = Tμ at τ = 0.

    Out of equilibrium C'' differs by what still violates the fluctuation-dissipation theorem: 1/t_w or so.
    """
    lags = [1e-8, 6e-6, 1e-5, 1e-4, 1e-3]
    found = langevin.run(
        settings(
            dynamics__t_max=1.1 * late,
            dynamics__tolerance=1e-4,
            record__times=[late],
            record__waiting_times=[1.0, late],
            record__lags=lags,
        )
    ).isel(replica=0)
    assert found["lag"].to_numpy().tolist() == lags
    mu = float(found["mu"].sel(time=late))
    for w, within in ((1.0, 0.2), (late, 1 / late**0.5)):
        at = found.sel(waiting_time=w)
        ratio, error = (at[name].to_numpy() / found["lag"].to_numpy() for name in ("msd", "msd_error"))
        # T = 0.5: Δ/(2Tτ) is Δ/τ. Then the term in τ², a third of (μτ)² at most.
        expected = 1 - mu * np.array(lags) / 2
        assert np.all(
            np.abs(ratio - expected) < error + within * mu * np.array(lags) + (mu * np.array(lags)) ** 2
        )
        # What is stated is still small, beside the companion's tolerance of 8e-4.
        assert np.all(error < (1e-3 if w < 10 else 2e-4))


def test_a_guide_that_runs_ahead_gives_the_same_bits() -> None:
    """However far it has come when the companion asks, and wherever it was stopped."""
    plain = LongTime(problem(0.5), 1e-5)
    alone = Companion(plain)
    guide = LongTime(problem(0.5), 1e-5)
    beside = Companion(guide, until=200.0)
    for t in (0.01, 3.0, 40.0, 41.0, 200.0, 500.0):
        sizes = alone.reach(t), plain.reach(t)
        assert (beside.reach(t), guide.reach(t)) == sizes
        for mine, other, size in ((alone, beside, sizes[0]), (plain, guide, sizes[1])):
            saved, again = mine.state_dict(size), other.state_dict(size)
            assert all(np.array_equal(saved[name], again[name]) for name in saved)
        if t == 40.0:
            beside.halt()
    # A guide without its companion goes on by itself.
    del beside
    assert guide.reach(2000.0) == plain.reach(2000.0)
    assert time_of(guide.history.end) >= 2000.0


def test_what_ends_a_guide_ends_its_companion(monkeypatch: pytest.MonkeyPatch) -> None:
    take = LongTime.take

    def unsolved(self: LongTime, step: float, width: float) -> Any:
        taken, width = take(self, step, width)
        lost = not isinstance(self, Companion) and time_of(self.history.end) > 3
        return (taken._replace(in_time=np.inf) if lost else taken), width

    monkeypatch.setattr(LongTime, "take", unsolved)
    beside = Companion(LongTime(problem(0.5), 1e-4), until=200.0)
    with pytest.raises(Diverged, match="lost control of its error at t = "):
        beside.reach(100.0)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_the_stated_errors_of_pairs_cover(temperature: float) -> None:
    exact = LongTime(problem(temperature), 1e-8)
    solution = LongTime(problem(temperature), 1e-5)
    pair = solution, Companion(solution)
    tight = []
    for w in (0.0, 0.03, 0.3, 1.0, 3.0, 10.0):
        for lag in 10.0 ** np.arange(-10, 1.3, 0.5):
            sizes = [solver.reach(w + lag) for solver in (*pair, exact)]
            values, errors = two_time(pair, (sizes[0], sizes[1]), TimePair(w + lag, w, lag))
            off = np.abs(values - exact.two_time(w + lag, w, sizes[2], lag))
            assert np.all(off <= 2 * errors), (w, lag)
            tight.append(off / errors)
    assert np.mean(np.array(tight) <= 1) > 0.95
    # They are no empty promise either: a factor of thirty at most, typically. (Where the power series
    # holds, both are
    # rounding.)
    wrong = np.array(tight)
    assert np.median(wrong[wrong > 0]) > 1 / 30


def test_a_pair_of_rounded_times_is_that_of_its_lag() -> None:
    solver = LongTime(problem(0.5), 1e-7)
    size = solver.reach(2e4)
    later, lag = 1e4 + 1e-7, 1e-7
    exact = [(1 - solver.two_time(t + lag, t, size, lag)[0]) / (0.5 * lag) for t in (1e4, 1.1e4)]
    np.testing.assert_allclose(exact, 1, atol=1e-6)
    # The negative control: the difference of the two times is off by 1e-12/1e-7.
    assert abs((1 - solver.two_time(later, 1e4, size)[0]) / (0.5 * lag) - 1) > 1e-6
