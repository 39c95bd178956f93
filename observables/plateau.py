r"""The plateau q_EA of an aging correlation, from the inflection of C(t_w + t, t_w) in ln t.

Near its plateau C = q + A t^{−a} − B t^b, where B falls with t_w (Bouchaud, Cugliandolo, Kurchan & Mézard
1996, Physica A 226, 243). The inflection in x = ln t is where a² A t^{−a} = b² B t^b. There

    S = −dC/dx = a A t^{−a} + b B t^b = A t^{−a} a(a + b)/b,
    C − q = A t^{−a} − B t^b = A t^{−a} (b² − a²)/b² = S (1/a − 1/b):

it lies on the plateau only for a = b, and by how much it misses follows from the slope there. S falls with
t_w. On the straight line through C against S at the inflections of several t_w, the intercept at S = 0 is
q_EA, whatever the exponents, and the slope is 1/a − 1/b. Where a and b are known each t_w gives a value: in
the aging p-spin model Γ(1 − a)²/Γ(1 − 2a) = X Γ(1 + b)²/Γ(1 + 2b) = T f‴/(2 f″^{3/2}) with f = q^p/2 at q_EA,
and f″(1 − q)² = T² makes the last X/2: b = 1, and for p = 3 at T = 0.5, a = 0.448.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .statistics import Array, average, jackknife, tabulate

#: A plateau is flatter than the steps on both sides by this part of the steepest slope.
_FAINT = 0.02

_CURVES = {
    "correlation": {"long_name": "correlation at its inflection in ln t"},
    "slope": {"long_name": "S = -dC/d ln t at the inflection"},
    "inflection": {"long_name": "lag of the inflection"},
}
_LIMIT = {
    "q_ea": {"long_name": "plateau of the correlation"},
    "correction": {"long_name": "1/a - 1/b, the slope of C against S"},
}


def plateau(
    correlation: xr.DataArray, *, decades: float = 1.0, exponents: tuple[float, float] | None = None
) -> xr.Dataset:
    """Return q_EA from the inflections of C(t_w + t, t_w) in ln t, extrapolated to a flat plateau.

    At each t_w a cubic in ln t is fitted in a window about the lag where C is flattest between two
    steeper parts. The later half of the waiting times that have one (two at least) give q_EA as the intercept
    of C against S.

    Parameters
    ----------
    correlation : DataArray
        Dimensions waiting_time (ascending), lag, and replica where there is one. Pairs that are not known
        are NaN.
    decades : float
        Width of the window in log10 of the lag. Noise asks for a wide one, a short plateau for a narrow
        one: try two.
    exponents : (float, float), optional
        a and b, where theory knows them: the correction is then not fitted, and q_EA the mean over t_w.

    Returns
    -------
    Dataset
        For each waiting time correlation, slope S and lag (`inflection`) of the inflection; q_ea and
        `correction`, 1/a − 1/b. Each with its standard error over samples as `<name>_error` (jackknife; NaN
        for a single replica; too small, 50 % of cases within it instead of 67, where the window is so
        narrow that noise moves it). The error of the limit t_w → ∞ is another: `q_ea_shift` is by how much
        q_ea differs from that of all waiting times, the early ones included. Three times this shift have held
        the truth where it is known. From the Cugliandolo-Kurchan equations at T = 0.5, p = 3, where q_EA =
        0.639, with t_w only up to 70 and S down to 0.056: q_ea = 0.596, shift 0.019, correction 1.98
        instead of 1.23; with the exponents given 0.641, shift −0.005. NaN where there is no inflection, or
        fewer than two (q_ea_shift: three) of them.
    """
    if not decades > 0:
        raise ValueError(f"decades = {decades}: must be > 0 (width of the window in log10 of the lag)")
    if exponents is not None and not all(v > 0 for v in exponents):
        raise ValueError(f"exponents = {exponents}: must be (a, b), both > 0, or None")
    if not {"waiting_time", "lag"} <= set(correlation.dims) <= {"replica", "waiting_time", "lag"}:
        raise ValueError(f"dimensions {correlation.dims}: needed: waiting_time, lag, and replica or not")
    correlation = correlation.sel(lag=correlation["lag"] > 0).transpose(..., "waiting_time", "lag")
    mean = average(correlation).mean if "replica" in correlation.dims else correlation
    x = np.log(mean["lag"].to_numpy())
    fits = [_fit_at_the_plateau(x, c, decades * math.log(10)) for c in mean.to_numpy()]
    known = None if exponents is None else 1 / exponents[0] - 1 / exponents[1]

    def curves(c: Array) -> Array:
        return np.array([_inflection(c[i], fit) for i, fit in enumerate(fits)]).T

    def limit(c: Array) -> Array:
        height, slope, _ = curves(c)
        found = np.flatnonzero(np.isfinite(height))
        late, every = (_intercept(slope[k], height[k], known) for k in (_late(found), found))
        return np.array([*late, late[0] - every[0] if found.size > 2 else np.nan])

    per_curve, whole = jackknife(curves, correlation), jackknife(limit, correlation)
    pairs = {name: (per_curve[0][k], per_curve[1][k]) for k, name in enumerate(_CURVES)}
    made = tabulate(pairs, mean.isel(lag=0, drop=True), _CURVES)
    scalars = {name: (whole[0][k], whole[1][k]) for k, name in enumerate(_LIMIT)}
    made = made.merge(tabulate(scalars, mean.isel(lag=0, waiting_time=0, drop=True), _LIMIT))
    about = {"long_name": "q_ea minus that of all waiting times", "units": "1"}
    return made.assign(q_ea_shift=((), whole[0][2], about))


def _late(found: NDArray[np.intp]) -> NDArray[np.intp]:
    return found[-max(2, math.ceil(found.size / 2)) :]


def _intercept(slope: Array, height: Array, known: float | None) -> tuple[float, float]:
    """Return C at S = 0 and dC/dS; with dC/dS known, the mean of C − S dC/dS."""
    if slope.size < 2:
        return math.nan, math.nan
    if known is None:
        known = float(np.polyfit(slope, height, 1)[0])
    return float(np.mean(height - known * slope)), known


class _Cubic:
    """Least-squares cubic in x about x[at], through the points `window`: `weights` @ c[window]."""

    def __init__(self, x: Array, window: NDArray[np.intp], at: int) -> None:
        self.window, self.start, self.reach = window, x[at], np.max(np.abs(x[window] - x[at]))
        self.weights = np.linalg.pinv(np.vander(x[window] - self.start, 4, increasing=True))


def _fit_at_the_plateau(x: Array, c: Array, width: float) -> _Cubic | None:
    """Return the cubic about the flattest point between two steeper parts of C; None if there is none."""
    known = np.flatnonzero(np.isfinite(c))
    slope = np.full(x.size, np.nan)
    cubics: dict[int, _Cubic] = {}
    for j in known.tolist():
        window = known[np.abs(x[known] - x[j]) <= width / 2]
        # Both sides: at the end of a curve a cubic is free to bend.
        if min(np.sum(window < j), np.sum(window > j)) >= 3:
            cubics[j] = _Cubic(x, window, j)
            slope[j] = cubics[j].weights[1] @ c[window]
    have = np.flatnonzero(np.isfinite(slope))
    if not have.size:
        return None
    # Cubics ring where C falls faster than any power: too faint to be a plateau.
    from scipy.signal import find_peaks

    peaks, about = find_peaks(slope[have], prominence=_FAINT * np.max(np.abs(slope[have])))
    if not peaks.size:
        return None
    return cubics[int(have[peaks[np.argmax(about["prominences"])]])]


def _inflection(c: Array, fit: _Cubic | None) -> tuple[float, float, float]:
    """Return C, −dC/dx and the lag where the cubic's second derivative vanishes; NaN if not in its window."""
    if fit is None:
        return math.nan, math.nan, math.nan
    c0, c1, c2, c3 = fit.weights @ c[fit.window]
    if not c3 < 0 or abs(c2) > -3 * c3 * fit.reach:
        return math.nan, math.nan, math.nan
    x = -c2 / (3 * c3)
    height, slope = c0 + x * (c1 + x * (c2 + x * c3)), c1 + x * (2 * c2 + 3 * x * c3)
    return float(height), float(-slope), float(math.exp(fit.start + x))
