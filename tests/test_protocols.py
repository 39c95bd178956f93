"""Temperatures that change with time: against closed forms of oscillators, and single temperatures."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SIGMAS, z_score
from scipy.integrate import quad
from scipy.special import expi

import langevin
from langevin import plotting
from langevin.config import run_files
from langevin.config.build import build
from langevin.config.shards import ensemble as ensemble_of
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.protocol import Protocol, Temperature
from langevin.core.schemes import SchemeName
from langevin.core.system import Array
from langevin.errors import ConfigError
from langevin.systems.harmonic import Harmonic

EM: SchemeName = "euler_maruyama"
LM: SchemeName = "leimkuhler_matthews"
K, T_I, END = 1.3, 0.4, 2.0

#: What run files say; every break is a multiple of 0.1.
GIVEN: dict[str, Any] = {
    "jump": [[0, 1.0], [0.8, 0.3]],
    "from zero": [[0, 0.0], [0.5, 1.0], [1.0, 0.0], [1.5, 0.6]],
    "linear": {"protocol": "linear", "points": [[0, 1.0], [1.5, 0.2], [2.0, 0.9]]},
    "logarithmic": {"protocol": "logarithmic", "points": [[0, 1.0], [0.2, 1.0], [2.5, 0.1]]},
    "both": {"protocol": "linear", "points": [[0, 1.0], [0.5, 0.8], [0.5, 0.3], [1.1, 0.7]]},
    "anneal": {"protocol": "anneal", "from": 1.0, "to": 0.25, "rate": 0.5, "hold": 0.1},
    "cycle": {
        "protocol": "cycle",
        "first": 0.9,
        "second": 0.2,
        "first_time": 0.4,
        "second_time": 0.3,
        "cycles": 2,
    },
}
KINDS = list(GIVEN)


def by_quadrature(protocol: Protocol, weight: Any, a: float, b: float) -> float:
    """∫_a^b w(s) T(s) ds, of a general routine, from break to break."""
    ends = [a, *(t for t in protocol.breaks if a < t < b), b]
    return float(
        sum(quad(lambda s: weight(s) * protocol.at(s), *pair, epsabs=1e-13)[0] for pair in pairwise(ends))
    )


# The protocol itself.


@pytest.mark.parametrize("kind", KINDS)
def test_means_are_integrals(kind: str) -> None:
    protocol = Protocol.parse(GIVEN[kind])
    for a, b in [(0.0, 0.01), (0.19, 0.21), (0.55, 0.57), (0.3, 0.30001), (0.0, 3.0), (2.4, 9.0)]:
        known = by_quadrature(protocol, lambda s: 1.0, a, b) / (b - a)
        # The quadrature's own error, over the interval.
        assert protocol.mean(a, b) == pytest.approx(known, abs=1e-9), (a, b)


def test_the_mean_of_a_logarithm_has_all_its_digits_at_any_length() -> None:
    protocol = Protocol.parse({"protocol": "logarithmic", "points": [[0, 2.0], [1.0, 2.0], [math.e, 1.0]]})
    for h in (1e-9, 1e-3, 0.0499, 0.0501, 0.5):
        # The Taylor series of the mean of 2 − ln(1 + x), summed the other way.
        known = 2 + sum((-h) ** n / (n * (n + 1)) for n in range(120, 0, -1))
        assert protocol.mean(1.0, 1.0 + h) == pytest.approx(known, rel=4e-16, abs=2e-16 + 1e-16 / h**0.5 * h)


def test_values_at_a_jump_are_one_sided() -> None:
    protocol = Protocol.parse(GIVEN["both"])
    assert (protocol.before(0.5), protocol.at(0.5)) == (pytest.approx(0.8), 0.3)
    assert protocol.jumps == [0.5]
    assert protocol.breaks == [0.5, 1.1]
    assert protocol.bounds(0.5) == (pytest.approx(0.8), 1.0)
    assert protocol.bounds(2.0) == (0.3, 1.0)


def test_named_protocols_are_what_they_say() -> None:
    anneal, cycle = Protocol.parse(GIVEN["anneal"]), Protocol.parse(GIVEN["cycle"])
    assert anneal.along([0.0, 0.1, 1.1, 1.6, 9.0]).tolist() == pytest.approx([1.0, 1.0, 0.5, 0.25, 0.25])
    assert cycle.breaks == [0.4, 0.7, 1.1, 1.4]
    assert cycle.along([0.0, 0.4, 0.7, 1.1, 1.4, 5.0]).tolist() == [0.9, 0.2, 0.9, 0.2, 0.9, 0.9]
    slow = {"protocol": "anneal", "from": 1.0, "to": 0.5, "rate": 0.1, "hold": 2.0, "between": "logarithmic"}
    down = Protocol.parse(slow)
    # T falls by the rate in each e-fold.
    assert down.at(2 * math.e) == pytest.approx(0.9)
    assert down.breaks == [2.0, pytest.approx(2 * math.exp(5))]


@pytest.mark.parametrize("late", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_no_temperature_depends_on_how_steps_are_grouped(kind: str, late: float) -> None:
    protocol, dt, count = Protocol.parse(GIVEN[kind]), 0.02, 140
    alone = [leg.temperature for n in range(count) for leg in protocol.legs(n, n + 1, dt, late)]
    cuts = [0, 3, 41, 42, 100, count]
    legs = [leg for a, b in pairwise(cuts) for leg in protocol.legs(a, b, dt, late)]
    grouped = [leg.temperature for leg in legs for _ in range(leg.first, leg.last)]
    assert grouped == alone
    for n in (0, 19, 20, 39, 40, 55, 139):
        ends = (n + late) * dt, (n + 1 + late) * dt
        assert alone[n] == pytest.approx(by_quadrature(protocol, lambda s: 1.0, *ends) / dt, abs=1e-9), n


# Oscillators, without statistics: noise that is a unit vector in every step gives the transfer from each
# kick to each coordinate, and second moments of the scheme are sums of their squares.


class UnitKicks:
    """Stands in for `Noise`: the n-th normals that are drawn are the n-th unit vector."""

    def __init__(self, count: int) -> None:
        self.rows = iter(np.eye(count))

    def normal(self, dof: int) -> Array:
        return next(self.rows)[None]


def transfers(protocol: Temperature, dt: float, scheme: SchemeName, times: list[float]) -> list[Array]:
    """How x(t) depends on each normal of the run, shape (normals,), at ascending times; x(0) = 0."""
    steps = round(times[-1] / dt)
    count = steps + (scheme == LM)
    keys = Harmonic.Dynamics(temperature=0.0, initial_temperature=0.0, dt=dt, t_max=END)
    model = Harmonic(Harmonic.Parameters(n=count, stiffness=K), keys, Ensemble.regular(1, 1, 1))
    system, noise = Langevin(model, protocol, dt, scheme=scheme), UnitKicks(count)
    state, now, found = system.initial_state(noise), 0.0, []  # type: ignore[arg-type]
    for t in times:
        state, now = system.advance(state, now, t, noise), t  # type: ignore[arg-type]
        found.append(state.x[0])
    return found


def variance(protocol: Protocol, t: float) -> float:
    """2 ∫_0^t e^{−2k(t − s)} T(s) ds: ⟨x²⟩ of an oscillator that starts at 0."""
    return by_quadrature(protocol, lambda s: 2 * math.exp(-2 * K * (t - s)), 0.0, t)


@pytest.mark.parametrize("kind", KINDS)
def test_the_step_is_the_exact_process_of_its_scheme(kind: str) -> None:
    # x_{n+1} = a x_n + k_n with ⟨k_n²⟩ = 2∫T over the step. Where T = 0 nothing is drawn.
    protocol, dt = Protocol.parse(GIVEN[kind]), 0.1
    (found,) = transfers(protocol, dt, EM, [END])
    kicks = [2 * by_quadrature(protocol, lambda s: 1.0, n * dt, (n + 1) * dt) for n in range(20)]
    known = [k * (1 - K * dt) ** (2 * (19 - n)) for n, k in enumerate(kicks)]
    assert np.sum(found**2) == pytest.approx(sum(known), rel=1e-9)


@pytest.mark.parametrize("scheme", [EM, LM])
@pytest.mark.parametrize("kind", KINDS)
def test_moments_tend_to_the_closed_forms_as_dt(kind: str, scheme: SchemeName) -> None:
    protocol, early = Protocol.parse(GIVEN[kind]), 1.1
    known = np.array([variance(protocol, END), variance(protocol, early) * math.exp(-K * (END - early))])
    values = []
    for dt in (0.02, 0.01, 0.005):
        middle, end = transfers(protocol, dt, scheme, [early, END])
        # ⟨x²(t)⟩, and C(t, t').
        values.append(np.array([end @ end, middle @ end]))
    # What is of first order goes in an extrapolation: (k dt)² = 4·10⁻⁵ is left, times numbers near 1.
    for (coarse, fine), dt in zip(pairwise(values), (0.01, 0.005), strict=True):
        np.testing.assert_allclose(fine, known, rtol=3 * K * dt)
        np.testing.assert_allclose(2 * fine - coarse, known, rtol=3 * (K * dt) ** 2)


def test_in_a_slow_ramp_the_averaged_noise_stays_of_second_order() -> None:
    # ⟨x²⟩ = T/k − r/(2k²) on a ramp, after the start is forgotten: e^{−2kt} = 4·10⁻¹⁴.
    protocol, t = Protocol.parse({"protocol": "linear", "points": [[0, 1.0], [20.0, 5.0]]}), 12.0
    known = (1.0 + 0.2 * t) / K - 0.2 / (2 * K**2)
    errors = {}
    for scheme in (EM, LM):
        for dt in (0.2, 0.1):
            (end,) = transfers(protocol, dt, scheme, [t])
            errors[scheme, dt] = abs(end @ end - known)
    assert errors[EM, 0.2] / errors[EM, 0.1] == pytest.approx(2, rel=0.2)
    # Nothing of order dt is left; of the rest there is hardly anything (rounding: 10⁻¹⁴).
    assert errors[LM, 0.2] < 1e-3 * errors[EM, 0.2]


# Oscillators, with statistics.


def measured(temperature: Temperature, scheme: SchemeName, dt: float = 0.02) -> dict[str, Array]:
    """Energy at END, C and χ from 0.5 on, of 300 replicas of 250 oscillators."""
    keys = Harmonic.Dynamics(temperature=1.0, initial_temperature=T_I, dt=dt, t_max=END)
    model = Harmonic(Harmonic.Parameters(n=250, stiffness=K), keys, Ensemble.regular(300, 1, 1))
    system, noise = Langevin(model, temperature, dt, response=True, scheme=scheme), Noise(1, range(300))
    waiting = system.advance(system.initial_state(noise), 0.0, 0.5, noise)
    end = system.advance(waiting, 0.5, END, noise)
    return {**system.measure(end), **system.compare(system.reference(waiting), end)}


def closed(protocol: Protocol, scheme: SchemeName, dt: float = 0.02) -> dict[str, float]:
    """The same for the scheme at this dt, exactly, from the transfers of single kicks."""
    a, early, late = 1 - K * dt, round(0.5 / dt), round(END / dt)
    middle, end = transfers(protocol, dt, scheme, [0.5, END])
    moments = {"energy": (late, late, end @ end), "correlation": (early, late, middle @ end)}
    known = {name: T_I / K * a ** (n + m) + noise for name, (n, m, noise) in moments.items()}
    # A field moves x by dt h in each step, with LM by half of it in the first: no T in a linear system.
    whole = (1 - a ** (late - early)) / K
    half = dt / 2 * a ** (late - early - 1) if scheme == LM else 0.0
    return {"energy": K / 2 * known["energy"], "correlation": known["correlation"], "response": whole - half}


@pytest.mark.parametrize("scheme", [EM, LM])
@pytest.mark.parametrize("kind", ["jump", "both", "logarithmic", "cycle"])
def test_a_run_has_the_moments_and_the_response(kind: str, scheme: SchemeName) -> None:
    # 24 z-tests at 5 σ: one false alarm in 7·10⁴ seeds. Of the response σ is about 1 %, so that a wrong
    # temperature of the kicks, which changes by factors of 3, is far outside.
    protocol = Protocol.parse(GIVEN[kind])
    found, known = measured(protocol, scheme), closed(protocol, scheme)
    for name, key in (
        ("energy", "energy"),
        ("correlation", "correlation"),
        ("integrated_response", "response"),
    ):
        assert abs(z_score(found[name], known[key])) < SIGMAS, name


class OneUnit(Langevin):
    """Divides all kicks by the temperature of the last one."""

    def _in_units(self, state: Any, temperature: float) -> Any:
        from dataclasses import replace

        return replace(state, unit=temperature)


class AtTheBeginning(Langevin):
    """Takes for each step the temperature at its beginning, in steps that are too long for that."""

    def _legs(self, first: int, last: int) -> Any:
        assert self.protocol is not None
        return [
            leg._replace(temperature=self.protocol.at(n * self.dt))
            for n in range(first, last)
            for leg in self.protocol.legs(n, n + 1, self.dt)
        ]


def test_one_temperature_for_all_kicks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Langevin, "_in_units", OneUnit._in_units)
    protocol = Protocol.parse(GIVEN["jump"])
    found = measured(protocol, EM)["integrated_response"]
    assert abs(z_score(found, closed(protocol, EM)["response"])) > 2 * SIGMAS


def test_the_temperature_at_the_beginning_of_a_step_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = Protocol.parse(GIVEN["linear"])
    (right,) = transfers(protocol, 0.1, EM, [END])
    monkeypatch.setattr(Langevin, "_legs", AtTheBeginning._legs)
    (wrong,) = transfers(protocol, 0.1, EM, [END])
    assert abs(wrong @ wrong / (right @ right) - 1) > 0.01


# Single temperatures are the limit.


@pytest.mark.parametrize("scheme", [EM, LM])
def test_a_protocol_of_one_temperature_changes_no_bit(scheme: SchemeName) -> None:
    found, known = (measured(t, scheme) for t in (Protocol.parse([[0, 0.7], [0.8, 0.7]]), 0.7))
    for name in ("energy", "msd", "correlation"):
        np.testing.assert_array_equal(found[name], known[name])
    # Sums are divided by T one by one.
    np.testing.assert_allclose(found["integrated_response"], known["integrated_response"], rtol=1e-10)


SYSTEMS: dict[str, dict[str, Any]] = {
    "harmonic": {"system": {"name": "harmonic", "n": 20}, "dynamics": {"initial_temperature": 1.0}},
    "pspin": {"system": {"name": "pspin", "p": 3, "n": 20}, "ensemble": {"replicas": 3, "samples": 2}},
    "kob_andersen": {
        "system": {"name": "kob_andersen", "n": 300, "equilibration_time": 0.002},
        "dynamics": {"initial_temperature": 2.0, "dt": 1e-4, "t_max": 0.01},
    },
}


def system_of(name: str, temperature: Any, scheme: SchemeName, **kind: Any) -> tuple[Any, Noise, float]:
    given = SYSTEMS[name]
    dynamics = {"dt": 0.01, "t_max": 1.0, "scheme": scheme, **given.get("dynamics", {})}
    settings = run_files.load(
        {
            "system": given["system"],
            "dynamics": {**dynamics, "temperature": temperature},
            "ensemble": given.get("ensemble", {"replicas": 2}),
            "record": {"response": True, "configurations": "never"},
        }
    )
    ensemble = ensemble_of(settings, 1, 0)
    return build(settings, ensemble), Noise(1, ensemble.replica), dynamics["dt"]


def scaled(given: Any, unit: float) -> Any:
    """The jump, the ramp, at times of a run of 100 steps."""
    if given == "jump":
        return [[0, 1.0], [40 * unit, 0.3], [70 * unit, 0.6]]
    return {"protocol": "linear", "points": [[0, 1.0], [33.5 * unit, 0.3], [80 * unit, 0.6]]}


@pytest.mark.parametrize("given", ["jump", "ramp"])
@pytest.mark.parametrize("scheme", [EM, LM])
@pytest.mark.parametrize("name", list(SYSTEMS))
def test_a_run_that_is_cut_and_restored_ends_in_the_same_bits(
    name: str, scheme: SchemeName, given: str
) -> None:
    ends = []
    for cuts in ([0, 100], [0, 7, 39, 40, 41, 55, 100]):
        system, noise, dt = system_of(
            name, scaled(given, SYSTEMS[name].get("dynamics", {}).get("dt", 0.01)), scheme
        )
        state = system.initial_state(noise)
        for a, b in pairwise(cuts):
            state = system.advance(state, a * dt, b * dt, noise)
            saved, drawn = system.state_dict(state), noise.state_dict()
            system, noise, _ = system_of(name, scaled(given, dt), scheme)
            state = system.load_state({key: np.array(value) for key, value in saved.items()})
            noise.load_state(drawn)
        ends.append(system.state_dict(state))
    assert ends[0].keys() == ends[1].keys()
    for key in ends[0]:
        np.testing.assert_array_equal(ends[0][key], ends[1][key], err_msg=key)


@pytest.mark.parametrize("given", ["jump", "ramp"])
@pytest.mark.parametrize("scheme", [EM, LM])
@pytest.mark.parametrize("name", ["pspin", "kob_andersen"])
def test_kernels_take_the_plain_step(name: str, scheme: SchemeName, given: str) -> None:
    ends = []
    for kernel in (True, False):
        system, noise, dt = system_of(
            name, scaled(given, SYSTEMS[name].get("dynamics", {}).get("dt", 0.01)), scheme
        )
        if not kernel:
            system._kernel = system._carries = None
        state = system.initial_state(noise)
        ends.append(system.advance(state, 0.0, 50 * dt, noise))
    # Sums in another order, over 50 steps of dynamics that hardly amplifies them.
    np.testing.assert_allclose(ends[0].x, ends[1].x, rtol=0, atol=1e-10)
    np.testing.assert_allclose(ends[0].accumulated, ends[1].accumulated, rtol=0, atol=1e-10)


def test_the_last_kick_before_no_temperature_moves_the_next_step_only() -> None:
    # The averaged noise at a jump to T = 0: one kick of the mean temperature, its second half, then nothing.
    dt, protocol = 0.01, Protocol.parse([[0, 1.0], [0.05, 0.0]])
    found = transfers(protocol, dt, LM, [0.05, 0.06, 0.07])
    a = 1 - K * dt
    first = math.sqrt(2 * 0.5 * dt) / 2
    assert found[0][5] == pytest.approx(first)
    assert found[1][5] == pytest.approx(a * first + first)
    np.testing.assert_allclose(found[2], a * found[1], rtol=1e-13)
    assert np.count_nonzero(found[2]) == 6


# Run files.

GOOD: dict[str, Any] = {
    "system": {"name": "harmonic", "n": 20},
    "dynamics": {"temperature": 0.5, "initial_temperature": 1.0, "dt": 0.01, "t_max": 3.0},
    "ensemble": {"replicas": 2},
}


def with_temperature(given: Any, **further: Any) -> dict[str, Any]:
    return {**GOOD, "dynamics": {**GOOD["dynamics"], "temperature": given}, **further}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[0, 1.0], [0.505, 0.3]], ["jump at t = 0.505", "dynamics.dt = 0.01", "0.5 and 0.51"]),
        ([[1, 1.0]], ["first time is 1", "must be 0"]),
        ([[0, 1.0], [2, 0.5], [1, 0.2]], ["time 1 comes after 2"]),
        ([[0, 1.0], [1, 0.5], [1, 0.2]], ["time 1 comes after 1", "each once"]),
        ([[0, 1.0], [1, -0.5]], ["temperature of entry 1 = -0.5", "≥ 0"]),
        ([[0, 1.0], [1, math.inf]], ["temperature of entry 1 = inf", "finite"]),
        ([[0, 1.0], [-1, 1.0]], ["time of entry 1 = -1"]),
        ([[0, 1.0], [1, True]], ["temperature of entry 1 = True"]),
        ([[0, 1.0], [1, 0.5, 2]], ["entry 1", "pair"]),
        ([0, 1.0], ["entry 0 is 0", "pair"]),
        ([], ["list of [time, temperature]"]),
        ("cold", ["number ≥ 0", "{ protocol, … }"]),
        (True, ["number ≥ 0"]),
        (-1.0, ["number ≥ 0"]),
        (math.nan, ["number ≥ 0"]),
        ({"protocol": "quench"}, ['protocol = "quench"', '"anneal", "cycle"']),
        ({"protocol": 3}, ["protocol = 3"]),
        ({"from": 1.0}, ["protocol is missing"]),
        ({"protocol": "anneal", "from": 1.0, "to": 0.5}, ["rate is missing", "from, to, rate"]),
        ({"protocol": "anneal", "from": 1.0, "to": 0.5, "rate": 0}, ["rate = 0", "> 0"]),
        ({"protocol": "anneal", "from": 1.0, "to": 0.5, "rate": "slow"}, ["rate = 'slow'"]),
        ({"protocol": "anneal", "from": 1, "to": 0.5, "rate": 1, "hald": 2}, ["unknown key 'hald'", "hold"]),
        (
            {"protocol": "anneal", "from": 1, "to": 0.5, "rate": 1, "between": "logarithmic"},
            ["hold = 0", "> 0"],
        ),
        (
            {"protocol": "anneal", "from": 1, "to": 0, "rate": 1e-5, "hold": 1, "between": "logarithmic"},
            ["rate = 1e-05", "never"],
        ),
        ({**GIVEN["cycle"], "cycles": 0}, ["cycles = 0"]),
        ({**GIVEN["cycle"], "second_time": 0}, ["second_time = 0", "> 0"]),
        ({"protocol": "linear", "points": [[0, 1], [1, 1], [1, 2], [1, 3]]}, ["at most two at one time"]),
        ({"protocol": "logarithmic", "points": [[0, 1.0], [1, 0.5]]}, ["ln t has no value", "[0, 1]"]),
    ],
)
def test_what_is_wrong_is_one_line(given: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        run_files.load(with_temperature(given))
    (line,) = caught.value.faults
    assert line.startswith("dynamics.temperature")
    assert "\n" not in line
    for word in words:
        assert word in line, line


def test_a_jump_beyond_the_end_may_lie_anywhere_and_a_kink_inside_a_step() -> None:
    run_files.load(with_temperature([[0, 1.0], [7.0001, 0.5]]))
    run_files.load(with_temperature({"protocol": "anneal", "from": 1.0, "to": 0.5, "rate": 0.777}))


def test_the_response_needs_a_temperature_at_all_times() -> None:
    with pytest.raises(ConfigError, match=r"where dynamics\.temperature reaches 0"):
        run_files.load(with_temperature([[0, 1.0], [1.0, 0.0]], record={"response": True}))
    run_files.load(with_temperature([[0, 1.0], [3.0, 0.0]], record={"response": True}))


def test_the_file_has_the_temperature_as_a_coordinate(tmp_path: Path) -> None:
    record = {"times": [0.5, 1.0, 1.5], "waiting_times": [0.0, 1.0], "lags": [0.5], "response": True}
    ds = langevin.run(with_temperature([[0, 1.0], [1.0, 0.3]], record=record))
    assert ds["temperature"].dims == ("time",)
    at = {float(t): float(v) for t, v in zip(ds["time"], ds["temperature"], strict=True)}
    assert (at[0.5], at[1.0], at[3.0]) == (1.0, 0.3, 0.3)
    assert ds["temperature_at_waiting"].values.tolist() == [1.0, 0.3]
    assert ds["temperature"].attrs["protocol"] == "[[0, 1.0], [1.0, 0.3]]"
    # No one temperature, and no limit in closed form.
    assert "temperature" not in ds["integrated_response"].attrs
    single = langevin.run(with_temperature(0.5, record=record))
    assert not {"temperature", "temperature_at_waiting"} & set(single.coords)
    assert single["integrated_response"].attrs["temperature"] == 0.5


def test_keys_of_a_protocol_are_swept_and_set() -> None:
    anneal = {"protocol": "anneal", "from": 1.0, "to": 0.2, "rate": 1.0}
    record = {"waiting_times": [], "lags": [], "times": [1.0], "configurations": "never"}
    given = with_temperature(anneal, record=record, sweep={"dynamics.temperature.rate": [1.0, 0.1]})
    ds = langevin.run(given)
    assert ds["rate"].values.tolist() == [1.0, 0.1]
    np.testing.assert_allclose(ds["temperature"].sel(time=1.0), [0.2, 0.9])
    changed = run_files.load(with_temperature(anneal), {"dynamics.temperature.rate": 0.5})
    assert changed.dynamics.temperature.at(1.0) == 0.5
    with pytest.raises(ConfigError, match=r"dynamics\.temperature has no keys"):
        run_files.load(with_temperature(0.5, sweep={"dynamics.temperature.rate": [1.0, 0.1]}))


def test_the_pressure_of_particles_is_that_of_the_temperature_at_its_time() -> None:
    system, noise, _ = system_of("kob_andersen", [[0, 1.0], [0.001, 0.3]], LM)
    start = system.initial_state(noise)
    virial = system.model.evaluate(start.x).virial / 3
    for state, temperature in ((start, 1.0), (system.advance(start, 0.0, 0.001, noise), 0.3)):
        virial = system.model.evaluate(state.x).virial / 3
        known = (300 * temperature + virial) / system.model.box**3
        np.testing.assert_allclose(system.measure(state)["pressure"], known, rtol=1e-13)


@pytest.mark.parametrize("kind", ["jump", "linear", "logarithmic", "cycle"])
def test_the_table_of_closed_forms_in_the_docs_is_right(kind: str) -> None:
    protocol, t = Protocol.parse(GIVEN[kind]), 1.9
    square = 0.5
    for stretch in protocol.stretches:
        end = min(stretch.end, t)
        if stretch.start >= t:
            break
        tau, bath = end - stretch.start, stretch.at(end)
        decayed = math.exp(-2 * K * tau)
        if stretch.course == "linear":
            r = (stretch.last - stretch.first) / (stretch.end - stretch.start)
            bend = r / (2 * K**2)
            square = bath / K - bend + (square - stretch.first / K + bend) * decayed
        elif stretch.course == "logarithmic":
            c = (stretch.last - stretch.first) / math.log(stretch.end / stretch.start)
            rise = math.exp(-2 * K * end) * (expi(2 * K * end) - expi(2 * K * stretch.start))
            square = bath / K + (square - stretch.first / K) * decayed - c / K * rise
        else:
            square = bath / K + (square - bath / K) * decayed
    assert square == pytest.approx(0.5 * math.exp(-2 * K * t) + variance(protocol, t), rel=1e-9)


def test_after_a_jump_the_grid_of_times_begins_anew() -> None:
    record = {"times": {"per_decade": 5}, "waiting_times": [], "lags": [], "configurations": "never"}
    ds = langevin.run(with_temperature([[0, 1.0], [1.0, 0.3]], record=record))
    single = langevin.run(with_temperature(1.0, record=record))
    early = [float(t) for t in single["time"] if t <= 2.0]
    known = {round(t, 9) for t in [*single["time"].values, *(1.0 + t for t in early)]}
    assert {round(float(t), 9) for t in ds["time"]} == known


@pytest.mark.parametrize("quantity", [None, "energy", "fdt"])
def test_figures_show_the_temperature(quantity: str | None) -> None:
    record = {"response": True, "waiting_times": [0.0, 0.5, 1.0], "configurations": "never"}
    given = with_temperature([[0, 1.0], [1.0, 0.3], [2.0, 0.7]], record=record, title="Steps")
    drawn = plotting.figure(langevin.run(given), quantity)
    legends = [legend for ax in drawn.axes if (legend := ax.get_legend()) is not None]
    words = [" ".join(text.get_text().split()) for legend in legends for text in legend.get_texts()]
    if quantity == "fdt":
        assert not any("FDT" in word for word in words)
    else:
        (strip,) = [ax for ax in drawn.axes if ax.get_ylabel() == "$T(t)$"]
        (line,) = strip.get_lines()
        assert set(line.get_ydata()) == {1.0, 0.3, 0.7}
        # The whole strip lies below the energy.
        energy = drawn.axes[0]
        lowest = min(float(np.min(curve.get_ydata())) for curve in energy.get_lines()[:1])
        assert energy.transData.transform((1, lowest))[1] > strip.transData.transform((1, 1.0))[1]
        assert energy.get_xscale() == "linear"
    if quantity != "energy":
        assert any("no line of the theorem" in word for word in words), words
    assert drawn.get_suptitle() == "Steps"


# Networks: a temperature for each step.


def network(temperature: Any, **record: Any) -> Any:
    return langevin.run(
        {
            "system": {"name": "mlp", "widths": [3]},
            "data": {"name": "synthetic", "train": 40, "test": 20},
            "dynamics": {
                "temperature": temperature,
                "learning_rate": 0.01,
                "batch_size": 20,
                "t_max": 30,
                "backend": "torch",
            },
            "ensemble": {"replicas": 2},
            "record": {"waiting_times": [5], "lags": [5, 25], "configurations": "always", **record},
        }
    )


def test_networks_take_a_temperature_for_each_step() -> None:
    hot, changed, cold = (network(t) for t in (0.1, [[0, 0.1], [12, 0.0], [20, 0.1]], [[0, 0.1], [12, 0.0]]))
    x = [ds["configuration"].sel(configuration_time=slice(0, 10)) for ds in (hot, changed, cold)]
    np.testing.assert_array_equal(x[0], x[1])
    np.testing.assert_array_equal(x[0], x[2])
    ends = [ds["configuration"].isel(configuration_time=-1) for ds in (hot, changed, cold)]
    assert float(np.abs(ends[0] - ends[1]).max()) > 1e-3
    assert changed["temperature"].sel(time=30).item() == 0.1
    # Ten steps of √(2Tα) = 0.045 lie between the last two, but for what the gradient makes of them.
    assert float((ends[1] - ends[2]).std()) == pytest.approx(math.sqrt(10 * 2 * 0.1 * 0.01), rel=0.25)


def test_networks_divide_each_kick_by_its_temperature() -> None:
    # Hardly any gradient in 30 steps: χ = α n for every T(t), to the noise of an estimate over all weights.
    known = network(0.1, response=True)["integrated_response"]
    found = network([[0, 0.1], [12, 0.01], [20, 0.4]], response=True)["integrated_response"]
    assert "temperature" not in found.attrs
    for lag in (5, 25):
        pair = [float(chi.sel(waiting_time=5, lag=lag).mean("replica")) for chi in (known, found)]
        assert pair[0] == pytest.approx(pair[1], rel=0.25)


def test_one_temperature_of_a_network_written_as_a_protocol_changes_no_bit() -> None:
    found, known = network([[0, 0.1], [7, 0.1]]), network(0.1)
    np.testing.assert_array_equal(
        found["configuration"].isel(configuration_time=-1), known["configuration"].isel(configuration_time=-1)
    )


def test_networks_count_jumps_in_steps_and_refuse_them_with_momentum() -> None:
    given = {
        "system": {"name": "mlp", "widths": [3]},
        "data": {"name": "synthetic", "train": 40, "test": 20},
        "dynamics": {"temperature": [[0, 0.1], [7.5, 0.2]], "t_max": 30, "batch_size": 20},
    }
    with pytest.raises(ConfigError, match=r"jump at t = 7\.5 is between two steps"):
        run_files.load(given)
    with pytest.raises(ConfigError, match=r"dynamics\.temperature = 0\.2: must be 0 with dynamics\.momentum"):
        run_files.load(given, {"dynamics.momentum": 0.9, "dynamics.temperature": [[0, 0.0], [7, 0.2]]})
