"""The Cugliandolo-Kurchan equations with a temperature that changes: power series, closed forms, grids."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr

import langevin
from langevin.config import run_files
from langevin.core.protocol import Protocol
from langevin.core.system import Array
from langevin.errors import ConfigError
from langevin.systems.cugliandolo_kurchan.direct import Lattice

ORDER = 10

JUMP = [[0, 1.0], [0.6, 0.3], [1.2, 0.8]]
RAMP = {"protocol": "linear", "points": [[0, 0.4], [2.0, 1.0]]}
LOG = {"protocol": "logarithmic", "points": [[0, 1.0], [0.4, 1.0], [2.0, 0.2]]}


def equations(temperature: Any, p: Any = 3, step: float = 0.1, t_max: float = 2.0, **further: Any) -> Any:
    """A run of the direct solver, with every pair of the waiting times and lags below."""
    return langevin.run(
        {
            "system": {"name": "cugliandolo_kurchan", "p": p},
            "dynamics": {
                "temperature": temperature,
                "solver": "direct",
                "grid_step": step,
                "t_max": t_max,
                **further,
            },
            "record": {
                "times": {"start": step, "per_decade": 10},
                "waiting_times": [0.0, 0.6, 1.0] if t_max > 1 else [0.0, 0.1],
                "lags": [0.2, 0.6, 1.0] if t_max > 1 else [0.1],
            },
        }
    )


# Power series in both times, of a solver of its own: polynomials Σ x_ij t^i t'^j up to a total degree.


def product(a: Array, b: Array) -> Array:
    found = np.zeros_like(a)
    for i, j in itertools.product(range(ORDER + 1), repeat=2):
        if a[i, j] and i + j <= ORDER:
            found[i:, j:] += a[i, j] * b[: ORDER + 1 - i, : ORDER + 1 - j]
    degree = np.add.outer(np.arange(ORDER + 1), np.arange(ORDER + 1))
    return np.where(degree <= ORDER, found, 0.0)


def folded(a: Array, b: Array, between: bool) -> Array:
    """∫_0^{t'} ds a(t,s) b(t',s), or with `between` ∫_{t'}^t ds a(t,s) b(s,t')."""
    found = np.zeros((2 * ORDER + 2, 2 * ORDER + 2))
    for (i, j), (k, m) in itertools.product(np.argwhere(a).tolist(), np.argwhere(b).tolist()):
        if i + j + k + m >= ORDER:
            continue
        value = a[i, j] * b[k, m]
        if between:
            power = j + k + 1
            found[i + power, m] += value / power
            found[i, m + power] -= value / power
        else:
            power = j + m + 1
            found[i, k + power] += value / power
    return found[: ORDER + 1, : ORDER + 1]


def on_the_diagonal(a: Array) -> Array:
    """a(t, t), as a polynomial of t alone."""
    found = np.zeros_like(a)
    for i, j in np.argwhere(a).tolist():
        if i + j <= ORDER:
            found[i + j, 0] += a[i, j]
    return found


def integrated(rhs: Array) -> Array:
    """1 + ∫_{t'}^t du rhs(u, t')."""
    found = np.zeros((ORDER + 2, ORDER + 2 + ORDER))
    for i, j in np.argwhere(rhs).tolist():
        found[i + 1, j] += rhs[i, j] / (i + 1)
        found[0, i + j + 1] -= rhs[i, j] / (i + 1)
    found[0, 0] += 1
    return found[: ORDER + 1, : ORDER + 1]


def series(temperature: list[float]) -> tuple[Array, Array, Array]:
    """C, R and E of the 3-spin model from a random start, T(t) = Σ T_k t^k."""
    one, bath = np.zeros((2, ORDER + 1, ORDER + 1))
    one[0, 0] = 1
    bath[: len(temperature), 0] = temperature
    # Up to t the integrals over 0 … t are those over 0 … t' at t' = t.
    c, r = one, one
    for _ in range(ORDER + 1):
        first, kernel = 1.5 * product(c, c), 3 * product(c, r)
        whole = product(first, r) + product(kernel, c)
        mu = bath + on_the_diagonal(folded(whole, one, between=False))
        for_c = folded(first, r, False) + folded(kernel, c, False) + folded(kernel, c, True) - product(mu, c)
        for_r = folded(kernel, r, True) - product(mu, r)
        c, r = integrated(for_c), integrated(for_r)
    energy = -on_the_diagonal(folded(1.5 * product(product(c, c), r), one, between=False))
    return c, r, energy


def at(polynomial: Array, t: float, earlier: float = 0.0) -> float:
    return float(np.polynomial.polynomial.polyval2d(t, earlier, polynomial))


@pytest.mark.parametrize("slope", [0.0, 0.3, -0.4])
def test_a_ramp_begins_as_its_power_series(slope: float) -> None:
    ramp = {"protocol": "linear", "points": [[0, 0.9], [2.0, 0.9 + 2 * slope]]}
    c, r, energy = series([0.9, slope])
    ds = equations(ramp, step=0.05, t_max=0.2)
    # The last terms of the series, of order 10, are 3·10⁻⁵ at 0.2 and 3·10⁻⁸ at 0.1.
    for t, allowed in ((0.1, 3e-8), (0.2, 3e-5)):
        assert float(ds["energy"].sel(time=t)[0]) == pytest.approx(at(energy, t), abs=allowed)
    for name, known in (("correlation", c), ("response", r)):
        value = float(ds[name].sel(waiting_time=0.1, lag=0.1)[0])
        assert value == pytest.approx(at(known, 0.2, 0.1), abs=3e-5), name
        value = float(ds[name].sel(waiting_time=0.0, lag=0.1)[0])
        assert value == pytest.approx(at(known, 0.1), abs=3e-8), name
    # What the ramp changes is far more than that.
    if slope:
        assert abs(at(series([0.9])[0], 0.2) - at(c, 0.2)) > 1e-3


@pytest.mark.parametrize("given", [JUMP, RAMP, LOG])
def test_without_couplings_c_is_the_integral_of_t(given: Any) -> None:
    # f → 0: μ = T(t), and C = R = exp(−∫T) whatever the protocol.
    ds, protocol = equations(given, p={"3": 1e-14}, step=0.1), Protocol.parse(given)
    for w, lag in itertools.product([0.0, 0.6, 1.0], [0.2, 0.6, 1.0]):
        known = np.exp(-lag * protocol.mean(w, w + lag))
        for name in ("correlation", "response"):
            found = ds[name].sel(waiting_time=w, lag=lag)[0]
            allowed = float(ds[f"{name}_error"].sel(waiting_time=w, lag=lag)[0])
            # The stated error is one of estimates: a factor of 3 for those that are a little low.
            assert abs(float(found) - known) < 3 * allowed, (name, w, lag)
            assert allowed < 1e-6
    # At a jump μ is that of the later temperature.
    np.testing.assert_allclose(ds["mu"][0], ds["temperature"], atol=1e-12)


@pytest.mark.parametrize("p", [3, {"3": 1.0, "4": 1.0}])
@pytest.mark.parametrize("given", [JUMP, RAMP, LOG])
def test_errors_are_those_that_are_stated(given: Any, p: Any) -> None:
    coarse, fine = equations(given, p, 0.2), equations(given, p, 0.1)
    for name in ("energy", "mu", "correlation", "response", "integrated_response"):
        common = coarse[name].notnull() & fine[name].notnull()
        distance = np.abs(coarse[name] - fine[name]).where(common)
        stated = coarse[f"{name}_error"].where(common)
        assert float((distance / stated).max()) < 3, name
        # Of order dt⁶: a grid of half the step is at least 16 times as good at the same times.
        assert float(fine[f"{name}_error"].where(common).max()) < float(stated.max()) / 16, name


def test_the_wrong_side_of_a_jump_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    # The step that ends on a jump with the temperature after it: the error is O(dt), and extrapolation of
    # even powers does not see it.
    monkeypatch.setattr(Lattice, "_until", Lattice._from)
    ds = equations(JUMP, p={"3": 1e-14})
    found = ds["correlation"].sel(waiting_time=0.0, lag=1.0)
    error = abs(float(found[0]) - np.exp(-Protocol.parse(JUMP).mean(0.0, 1.0)))
    assert error > 100 * float(ds["correlation_error"].sel(waiting_time=0.0, lag=1.0)[0]) or error > 1e-3


def test_one_temperature_written_as_a_protocol_changes_no_bit() -> None:
    found, known = (equations(t) for t in ([[0, 0.7], [1.0, 0.7]], 0.7))
    for name in known.data_vars:
        np.testing.assert_array_equal(found[name], known[name], err_msg=str(name))


def test_an_equilibrium_start_stays_until_the_jump() -> None:
    ds = equations([[0, 0.8], [1.0, 0.4]], initial_temperature=0.8)
    before = ds["energy"][0].sel(time=slice(0, 1.0))
    np.testing.assert_allclose(before, -1 / (2 * 0.8), atol=1e-9)
    assert float(ds["energy"][0, -1]) < -0.64
    assert "asymptote" not in ds["energy"].attrs


@pytest.mark.parametrize(
    ("dynamics", "words"),
    [
        ({"temperature": JUMP}, ['solver = "long-time"', 'solver = "direct"', "its course changes at t = "]),
        (
            {"temperature": [[0, 1.0], [0.33, 0.5]], "solver": "direct"},
            ["jump at t = 0.33", "dynamics.grid_step = 0.05"],
        ),
        (
            {"temperature": {"protocol": "anneal", "from": 1.0, "to": 0.5, "rate": 0.3}, "solver": "direct"},
            ["course changes at t = 1.6666", "grid_step = 0.05"],
        ),
    ],
)
def test_what_is_wrong_is_one_line(dynamics: dict[str, Any], words: list[str]) -> None:
    given = {"system": {"name": "cugliandolo_kurchan", "p": 3}, "dynamics": {"t_max": 3.0, **dynamics}}
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    (line,) = caught.value.faults
    assert line.startswith("dynamics.temperature")
    for word in words:
        assert word in line, line


@pytest.mark.parametrize("p", [3, {3: 1.0, 4: 1.0}])
@pytest.mark.parametrize(
    ("temperature", "start"),
    [(RAMP, np.inf), ({"protocol": "anneal", "from": 1.0, "to": 0.2, "rate": 0.2}, 1.0)],
)
def test_both_solvers_agree_along_a_ramp(temperature: Any, start: float, p: Any) -> None:
    direct = equations(temperature, p, 0.05, initial_temperature=start)
    late = equations(temperature, p, 0.05, initial_temperature=start, solver="long-time", tolerance=1e-8)
    still = equations(0.5, p, 0.05, initial_temperature=start, solver="long-time", tolerance=1e-5)
    # The times of the direct solver are multiples of its step.
    late, direct, still = xr.align(late, direct, still, join="inner")
    assert late.sizes["time"] >= 4
    for name in ("energy", "mu", "correlation", "response", "integrated_response"):
        # The direct solver is within 2·10⁻⁹ of the truth here (docs), the other within its tolerance.
        np.testing.assert_allclose(late[name], direct[name], atol=3e-8, err_msg=name)
    # The negative control: at the ramp's mean temperature all along they differ.
    assert float(abs(still["energy"] - late["energy"]).max()) > 1e-3
