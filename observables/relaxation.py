"""The powers with which an energy relaxes are measured here."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from .fits.regression import line, three_points, windows
from .pairs import ordered, require_dimensions, slack
from .statistics import Array, jackknife, replica_mean, tabulate

#: Powers |ν| that `power_law` looks for.
_SLOWEST, _FASTEST = 0.02, 5.0


class Exponential(NamedTuple):
    """E(t) = end + (start − end)·exp(−t/τ)."""

    start: float
    end: float
    tau: float

    def __call__(self, t: ArrayLike) -> Array:
        """Evaluate at times t."""
        decay: Array = self.end + (self.start - self.end) * np.exp(-np.asarray(t) / self.tau)
        return decay


def matching_exponential(
    time: ArrayLike, energy: ArrayLike, *, end: float | None = None
) -> Exponential | None:
    """Return the exponential with the same first value, end and 1/e time.

    A system with a single relaxation time would follow it: aging shows as the slow tail beside it (Fig. 1 of
    Baity-Jesi et al. 2018).

    Parameters
    ----------
    time, energy : array_like, shape (time,)
        `time` ascending from 0.
    end : float, optional
        What the energy tends to, where that is known, in its unit (default: its last value).

    Returns
    -------
    Exponential or None
        None if the energy does not fall, or has not come to 1/e of the way.
    """
    t, e = np.asarray(time, dtype=float), np.asarray(energy, dtype=float)
    known = np.isfinite(e)
    t, e = t[known], e[known]
    last = float(e[-1]) if end is None and e.size else end
    if t.size < 3 or last is None or last >= e[0]:
        return None
    left = (e - last) / (e[0] - last)
    if not (left <= np.exp(-1)).any():
        return None
    below = int(np.argmax(left <= np.exp(-1)))
    # Linear between the two times that enclose the crossing.
    fraction = (left[below - 1] - np.exp(-1)) / (left[below - 1] - left[below])
    tau = t[below - 1] + fraction * (t[below] - t[below - 1])
    return Exponential(float(e[0]), last, float(tau))


def local_exponent(energy: xr.DataArray, limit: float, *, decades: float | None = None) -> xr.Dataset:
    r"""Return d ln|E(t) − E_∞| / d ln t, the local power of a relaxation.

    The energy of the 3-spin model at T = 0 tends to its threshold with the power −2/3.

    Parameters
    ----------
    energy : DataArray
        Dimension time, and replica where there is one, over which the energy is averaged first. NaN where
        unknown.
    limit : float
        E_∞, in the unit of the energy. An error δ of it changes the power by the fraction δ/|E − E_∞|.
    decades : float, optional
        For noisy data: the slope of a straight line through the times of a window this wide in log10 t,
        centred on each time (in ln t). Without it, three-point derivatives. The logarithm of a mean with
        error σ is off by −σ²/2(E − E_∞)².

    Returns
    -------
    Dataset
        exponent(time), negative where the energy approaches its limit, and its standard error over samples
        exponent_error(time) (jackknife; the limit taken as exact). NaN at t = 0, where the window reaches
        beyond the data, and where E − E_∞ changes its sign inside it.
    """
    if not np.isfinite(limit):
        raise ValueError(f"limit = {limit}: must be finite (E(t → ∞), unit: energy)")
    if decades is not None and not decades > 0:
        raise ValueError(f"decades = {decades}: must be > 0 (window in log10 t), or None")
    energy, mean = _positive_times(energy)
    x, excess = np.log(mean["time"].to_numpy()), mean.to_numpy() - limit
    known = np.isfinite(excess) & (excess != 0)
    if decades is None:
        inside = np.abs(np.subtract.outer(np.arange(x.size), np.arange(x.size))) <= 1
        full = np.isin(np.arange(x.size), np.arange(1, x.size - 1)) & (inside <= known).all(-1)
    else:
        inside, full = windows(x, known, decades * math.log(10) / 2)
    signs = np.sign(excess)
    full &= ~(inside & (signs[None, :] != signs[:, None])).any(-1)

    def slope(e: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            y = np.log(np.where(np.sign(e - limit) == signs, np.abs(e - limit), np.nan))
        return three_points(x, y) if decades is None else line(x[None, :], y[None, :], inside)[0]

    value, error = (np.where(full, part, np.nan) for part in jackknife(slope, energy))
    about = {"exponent": {"long_name": "local power d ln|E - limit| / d ln t", "limit": limit}}
    return tabulate({"exponent": (value, error)}, mean, about)


def power_law(energy: xr.DataArray, *, start: float, stop: float = math.inf) -> xr.Dataset:
    r"""Fit E(t) = E_∞ + A t^α, α < 0, by least squares in start ≤ t ≤ stop, every time with the same weight.

    Three parameters on a slow curve go together: a power that is too steep makes up for a limit that is too
    high. Corrections to scaling do the same, hence the second error, `_shift`.

    Parameters
    ----------
    energy : DataArray
        Dimension time, and replica where there is one, over which the energy is averaged first. NaN where
        unknown.
    start, stop : float
        First and last time of the fit, in the unit of time.

    Returns
    -------
    Dataset
        limit (unit: energy), exponent, amplitude, each with its standard error over samples as
        `<name>_error` (jackknife), and as `<name>_shift` its change when only the later half of the times
        (in ln t) is fitted, an estimate of the corrections to scaling. The shift is NaN where that
        half has fewer than four times. All is NaN where no power between −5 and −0.02 fits better than
        those bounds.
    """
    if not 0 < start < stop:
        raise ValueError(f"start = {start}, stop = {stop}: must be 0 < start < stop (times)")
    energy, mean = _positive_times(energy)
    t = mean["time"].to_numpy()
    chosen = (t >= start) & (t <= stop) & np.isfinite(mean.to_numpy())
    if chosen.sum() < 4:
        raise ValueError(
            f"start = {start}, stop = {stop}: {chosen.sum()} known energies; needed: four or more"
        )
    middle = math.sqrt(t[chosen][0] * t[chosen][-1])
    value, error = jackknife(lambda e: _fit_power(t[chosen], e[chosen]), energy)
    late = chosen & (t >= middle - slack(t))
    shift = _fit_power(t[late], mean.to_numpy()[late]) - value if late.sum() >= 4 else np.full(3, np.nan)
    names = {
        "limit": "E(t → ∞)",
        "exponent": "power of t in E - limit",
        "amplitude": "factor of the power of t",
    }
    about = names | {f"{name}_shift": f"change of {name} in the later half" for name in names}
    numbers: dict[str, tuple[float, float | None]] = {
        name: (value[k], error[k]) for k, name in enumerate(names)
    }
    numbers |= {f"{name}_shift": (shift[k], None) for k, name in enumerate(names)}
    return tabulate(numbers, mean.isel(time=0, drop=True), about)


def _positive_times(energy: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the energy at t > 0, and its average over replicas."""
    require_dimensions(energy, "time")
    energy = ordered(energy, "time")
    energy = energy.sel(time=energy["time"] > 0)
    return energy, replica_mean(energy)


def _fit_power(t: Array, energy: Array) -> Array:
    """Return limit, power and amplitude; for a given power the other two are a straight line in t^α."""
    known = np.isfinite(energy)
    t, energy = t[known], energy[known]
    x, scale = np.log(t), math.sqrt(t[0] * t[-1])
    e = energy - energy.mean()

    def unexplained(log_nu: ArrayLike) -> Array:
        """Return the squared residual of the best line, less the part that no power explains."""
        f = np.exp(-np.exp(np.asarray(log_nu))[..., None] * (x - math.log(scale)))
        f -= f.mean(-1, keepdims=True)
        return -((f @ e) ** 2) / (f * f).sum(-1)

    grid = np.linspace(math.log(_SLOWEST), math.log(_FASTEST), 40)
    best = int(np.argmin(unexplained(grid)))
    if best in (0, grid.size - 1):
        return np.full(3, np.nan)
    from scipy.optimize import minimize_scalar

    minimum = minimize_scalar(
        unexplained, bounds=(grid[best - 1], grid[best + 1]), method="bounded", options={"xatol": 1e-8}
    )
    nu = math.exp(minimum.x)
    slope, centre, height = line((t / scale) ** -nu, energy, np.full(t.shape, True))
    return np.array([height - slope * centre, -nu, slope * scale**nu])
