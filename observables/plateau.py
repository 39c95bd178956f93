r"""The plateau q_EA of an aging correlation follows from the inflection of C(t_w + t, t_w) in ln t.

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
from functools import partial

import numpy as np
import xarray as xr

from .pairs import ordered, positive_lags, require_dimensions
from .statistics import Array, Mask, Resampled, bootstrap, replica_mean, tabulate

#: A plateau is flatter than the steps on both sides by this part of the steepest slope.
_FAINT = 0.02

#: Resamples from which errors come.
_RESAMPLES = 200

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
    correlation: xr.DataArray,
    *,
    decades: float = 1.0,
    exponents: tuple[float, float] | None = None,
    confidence: float = 0.95,
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
    confidence : float
        Confidence of the intervals.

    Returns
    -------
    Dataset
        For each waiting time correlation, slope S and lag (`inflection`) of the inflection; q_ea and
        `correction`, 1/a − 1/b. Each with its standard error over samples as `<name>_error` (NaN for a
        single replica) and the ends of its interval, `<name>_low` and `<name>_high`, from a bootstrap of the
        whole analysis: noise moves the window, too, and decides which waiting times have an inflection.
        `q_ea_share` is the part of the resamples with a value; where it is well below 1, noise makes or hides
        the plateau, and the others say little. The error of the limit t_w → ∞ is another: `q_ea_shift` is by
        how much q_ea differs from that of all waiting times, the early ones included. Three times this shift
        have held the truth where it is known. From the Cugliandolo-Kurchan equations at T = 0.5, p = 3, where
        q_EA = 0.639, with t_w only up to 70 and S down to 0.056: q_ea = 0.596, shift 0.019, correction 1.98
        instead of 1.23; with the exponents given 0.641, shift −0.005. NaN where there is no inflection, or
        fewer than two (q_ea_shift: three) of them.
    """
    if not decades > 0:
        raise ValueError(f"decades = {decades}: must be > 0 (width of the window in log10 of the lag)")
    if exponents is not None and not all(v > 0 for v in exponents):
        raise ValueError(f"exponents = {exponents}: must be (a, b), both > 0, or None")
    require_dimensions(correlation, "waiting_time", "lag")
    correlation = ordered(positive_lags(correlation), "waiting_time")
    mean = replica_mean(correlation)
    x = np.log(mean["lag"].to_numpy())
    cubics = [_Cubics(x, np.isfinite(c), decades * math.log(10)) for c in mean.to_numpy()]
    known = None if exponents is None else 1 / exponents[0] - 1 / exponents[1]

    def analysis(c: Array) -> Array:
        """Return for each of many averages the inflections, then q_EA, correction and shift in a row."""
        curves = np.stack([cubic.inflections(c[:, i]) for i, cubic in enumerate(cubics)], -1)
        limits = np.array([_limit(row[0], row[1], known) for row in curves])
        return np.concatenate([curves.reshape(len(c), -1), limits], axis=1)

    rows = bootstrap(analysis, correlation, resamples=_RESAMPLES)
    return _table(rows, mean.isel(lag=0, drop=True), confidence)


def _table(rows: Resampled, curves: xr.DataArray, confidence: float) -> xr.Dataset:
    """Return the dataset of `plateau` from the rows of its analysis."""
    count = curves.sizes["waiting_time"]
    parts = [
        rows.apply(partial(_columns, first=k * count, last=(k + 1) * count)) for k in range(len(_CURVES))
    ]
    by_curve = {name: _with_interval(part, confidence) for name, part in zip(_CURVES, parts, strict=True)}
    limits = [rows.apply(partial(_columns, first=3 * count + k)) for k in range(3)]
    scalars = {name: _with_interval(limit, confidence) for name, limit in zip(_LIMIT, limits, strict=False)}
    table = tabulate(by_curve, curves, _CURVES, rows.samples)
    table = table.merge(tabulate(scalars, curves.isel(waiting_time=0, drop=True), _LIMIT, rows.samples))
    about = {"long_name": "q_ea minus that of all waiting times", "units": "1"}
    share = {"long_name": "part of the resamples that give q_ea", "units": "1"}
    return table.assign(q_ea_shift=((), limits[2].value, about), q_ea_share=((), limits[0].share(), share))


def _columns(rows: Array, first: int, last: int | None = None) -> Array:
    """Return some columns, or the one at `first`."""
    return rows[:, first] if last is None else rows[:, first:last]


def _with_interval(number: Resampled, confidence: float) -> tuple[Array, ...]:
    """Return value, error and the ends of the interval."""
    return number.value, number.error(), *number.interval(confidence)


def _limit(height: Array, slope: Array, known: float | None) -> tuple[float, float, float]:
    """Return q_EA, the correction, and the shift, from C and S at the inflections of all waiting times."""
    every = np.flatnonzero(np.isfinite(height))
    later = every[-max(2, math.ceil(every.size / 2)) :]
    (limit, correction), (of_all, _) = (_intercept(slope[k], height[k], known) for k in (later, every))
    return limit, correction, limit - of_all if every.size > 2 else math.nan


def _intercept(slope: Array, height: Array, known: float | None) -> tuple[float, float]:
    """Return C at S = 0 and dC/dS; with dC/dS known, the mean of C − S dC/dS."""
    if slope.size < 2:
        return math.nan, math.nan
    if known is None:
        apart = slope - slope.mean()
        square = float(apart @ apart)
        known = float(apart @ (height - height.mean())) / square if square else math.nan
    return float(height.mean() - known * slope.mean()), known


class _Cubics:
    """Least-squares cubics in x = ln t about every lag with enough known lags on both sides of it.

    Parameters
    ----------
    x : ndarray, shape (lag,)
    known : ndarray of bool, shape (lag,)
        Which points of the curve are known.
    width : float
        Width of the window in x.
    """

    def __init__(self, x: Array, known: Mask, width: float) -> None:
        self.known, places = known, np.flatnonzero(known)
        starts, reaches, weights = [], [], []
        for j in places.tolist():
            window = places[np.abs(x[places] - x[j]) <= width / 2]
            # Both sides: at the end of a curve a cubic is free to bend.
            if min(np.sum(window < j), np.sum(window > j)) < 3:
                continue
            of_all = np.zeros((4, x.size))
            of_all[:, window] = np.linalg.pinv(np.vander(x[window] - x[j], 4, increasing=True))
            starts.append(x[j])
            reaches.append(np.max(np.abs(x[window] - x[j])))
            weights.append(of_all)
        self.start, self.reach = np.array(starts), np.array(reaches)
        self.weights = np.array(weights).reshape(-1, x.size)

    def inflections(self, curves: Array) -> Array:
        """Return C, −dC/dx and the lag where the second derivative vanishes, shape (curves, 3).

        They are those of the cubic about the flattest point between two steeper parts. NaN where there is
        none, or its inflection is not in its window.
        """
        inflections = np.full((len(curves), 3), np.nan)
        if not self.start.size:
            return inflections
        whole = np.flatnonzero(np.isfinite(curves[:, self.known]).all(1))
        fits = (np.where(self.known, curves[whole], 0.0) @ self.weights.T).reshape(whole.size, -1, 4)
        for row, fit in zip(whole.tolist(), fits, strict=True):
            j = _flattest(fit[:, 1])
            if j is not None:
                inflections[row] = self._inflection(fit[j], j)
        return inflections

    def _inflection(self, fit: Array, j: int) -> tuple[float, float, float]:
        c0, c1, c2, c3 = fit.tolist()
        if not c3 < 0 or abs(c2) > -3 * c3 * self.reach[j]:
            return math.nan, math.nan, math.nan
        x = -c2 / (3 * c3)
        height, slope = c0 + x * (c1 + x * (c2 + x * c3)), c1 + x * (2 * c2 + 3 * x * c3)
        return height, -slope, math.exp(self.start[j] + x)


def _flattest(slope: Array) -> int | None:
    """Return where a falling curve is flattest between two steeper parts; None if it is nowhere."""
    # Cubics ring where C falls faster than any power: too faint to be a plateau.
    from scipy.signal import find_peaks

    peaks, about = find_peaks(slope, prominence=_FAINT * np.max(np.abs(slope)))
    return int(peaks[np.argmax(about["prominences"])]) if peaks.size else None
