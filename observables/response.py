r"""Response is set against correlation here: the fluctuation-dissipation ratio, T_eff, the break at q_EA.

χ(t_w + t, t_w) is the response at t_w + t to a constant field switched on at t_w, C(t_w + t, t_w) the
correlation. In equilibrium χ = (1 − C)/T for C(t, t) = 1, the fluctuation-dissipation theorem (FDT); where
C(t, t) is another, C and χ are divided by it, at the later time (`equal_time` derives that). Where the
theorem fails, its ratio X and the effective temperature are

    X(t_w, t) = T R(t, t_w)/(∂C(t, t_w)/∂t_w),    T_eff = T/X

(Cugliandolo & Kurchan 1993, PRL 71, 173; Cugliandolo, Kurchan & Peliti 1997, PRE 55, 3898). With R =
−∂χ/∂t_w that is the slope of χ against C with the observation time t fixed and t_w the parameter
(`fdt_ratio_at`):

    X = −T dχ/dC|_t,    T_eff = −dC/dχ|_t,

the second of which has no T in it and holds at T = 0, too. The slope along the lag (`fdt_ratio`) has t_w
fixed instead. The two are equal where χ is a function of C alone, which it is for t_w → ∞; at finite t_w they
are not (Fielding & Sollich 2002, PRL 88, 050603). For t_w → ∞ and one step of replica symmetry breaking, such
as the p-spin model, χ(C) is two straight lines that meet at C = q_EA: (1 − C)/T above, and (1 − q_EA)/T +
X (q_EA − C)/T below.

All this needs a response that is conjugate to C. Files in which it is conjugate to displacements say so (the
attribute `conjugate` of the response, `kind` of the correlation), and are refused.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from .fits.ratios import RatioCovariance, likeliest, within
from .fits.regression import inverse, line, near, three_points
from .fixed_time import at_observation_time
from .pairs import check_coordinates, check_same_axes, lag_last
from .statistics import Array, Mask, average, interval, jackknife, replica_mean, sample_count, tabulate

_ABOUT = {
    "fdt_ratio": {"long_name": "fluctuation-dissipation ratio X"},
    "effective_temperature": {"long_name": "effective temperature T/X"},
    "correlation": {"long_name": "correlation at which X is taken"},
    "q_ea": {"long_name": "correlation at which the aging line leaves the FDT line"},
}
#: How far C + T χ at the shortest lag may be from the C(t, t) that is assumed.
_BEGINS = 0.1
#: A break of less than this is rounding, where there is no error to compare it with.
_ROUNDING = 1e-6


def fdt_ratio(
    correlation: xr.DataArray,
    integrated_response: xr.DataArray,
    temperature: float,
    *,
    width: float | None = None,
    equal_time: xr.DataArray | float = 1.0,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return X(t_w, t) = −T dχ/dC and T_eff = T/X, the local slopes of χ against C along the lag.

    Parameters
    ----------
    correlation, integrated_response : DataArray
        Dimensions lag and any others, the same for both; averaged over replica where there is one, before
        slopes are taken. Pairs that are not known are NaN.
    temperature : float
        T ≥ 0 of the bath. At T = 0, X = 0, and only T_eff is of use.
    width : float, optional
        Width of the window in C for noisy data: the slope at a lag is that of a straight line through all
        lags whose C is within width/2 of its C. A bend of χ(C) is smeared over `width`; noise σ in C lowers
        the slope by a factor 1 − 12σ²/width², so that width ≫ σ is needed. Without it, three-point
        derivatives, for data without noise.
    equal_time : DataArray or float
        C(t_w + t, t_w + t), by which C and χ are divided: `equal_time.equal_time` has it from the msd. A
        constant changes no slope, but the unit of `width` and of the correlation that is returned.
    confidence : float
        Confidence of the intervals.

    Returns
    -------
    Dataset
        fdt_ratio, effective_temperature (unit: that of T) and the correlation they belong to (in a window
        at the end of a curve the mean of C, not its middle), each with its standard error over samples as
        `<name>_error` (jackknife; its attribute `samples` counts them), the first two with the ends of their
        intervals as `<name>_low` and `<name>_high`: Student's of X, and for T_eff, which is 1 over a noisy
        slope, Fieller's (`ratios`) without the negative part, open to infinity where X may be 0. Dimensions
        of the arguments but replica; NaN at the first and the last lag without `width`, where C does not
        fall, and where fewer than three lags are in a window.
    """
    _check_temperature(temperature)
    if width is not None and not width > 0:
        raise ValueError(f"width = {width}: must be > 0 (window in C), or None")
    curves = _matching(correlation, integrated_response, equal_time)
    (mean_c, mean_chi), samples = _means(*curves), sample_count(curves[0].isel(lag=0))
    known = np.isfinite(mean_c.to_numpy()) & np.isfinite(mean_chi.to_numpy())
    inside = None if width is None else near(mean_c.to_numpy(), known, width / 2)
    chosen = _falls(mean_c.to_numpy()) & known if inside is None else inside.sum(-1) >= 3

    def ratio(c: Array, chi: Array, full: Array) -> Array:
        c, chi = c / full, chi / full
        if inside is None:
            slope, at = three_points(c, chi), c
        else:
            slope, at, _ = line(c[..., None, :], chi[..., None, :], inside)
        return np.array([-slope, inverse(-slope), at])

    values, errors = (np.where(chosen, part, np.nan) for part in jackknife(ratio, *curves))
    numbers = _slopes(values, errors, temperature, samples, confidence)
    return tabulate({**numbers, "correlation": (values[2], errors[2])}, mean_c, _ABOUT, samples)


def aging_line(
    correlation: xr.DataArray,
    integrated_response: xr.DataArray,
    temperature: float,
    *,
    between: tuple[float, float],
    equal_time: xr.DataArray | float | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    r"""Return X, T_eff and q_EA of a straight line χ = A − (X/T) C through the aging part of the curves.

    The line meets χ = (1 − C)/T where (1 − q)/T = A − X q/T, that is at

        q_EA = (1 − A T)/(1 − X).

    Both are statements about t_w → ∞. The error bars are statistical only; how far t_w is from its limit
    shows in the drift of the results from one t_w to the next. In the 3-spin model at T = 0.5 (N → ∞, C
    from 0.3 to 0.5, Cugliandolo-Kurchan equations) q_EA comes out as 0.72, 0.68, 0.65, 0.64 at t_w = 3, 8,
    24, 70, from above, where the limit is 0.639, and X as 0.541, 0.534, 0.531, 0.531 where it is 0.565: X
    has yet to turn, so that no law is at hand to extrapolate with. An offset δ of χ, of a finite time step
    for instance, moves q_EA by −T δ/(1 − X).

    Parameters
    ----------
    correlation, integrated_response, temperature, confidence
        As for `fdt_ratio`, T > 0. At a fixed observation time: `fixed_time.at_observation_time` of both.
    between : (float, float)
        Lags with mean C in this interval are fitted. It should lie well below q_EA: at C near q_EA the
        curve is rounded, and the line too steep.
    equal_time : DataArray or float, optional
        C(t_w + t, t_w + t), by which C and χ are divided; `between` and q_EA are then parts of it. Without
        it, 1, which is refused where C + T χ is something else at the shortest lag.

    Returns
    -------
    Dataset
        fdt_ratio, effective_temperature, q_ea, each with its standard error over samples as `<name>_error`
        (jackknife), and the ends of its interval as `<name>_low` and `<name>_high`. Dimensions of the
        arguments but replica and lag; NaN where fewer than three lags are in the interval.

        q_ea is a ratio of two correlated noisy numbers, and where its denominator may be 0 no error ±σ is
        right. Its interval is that of Fieller's theorem (`ratios`), cut to the range of q_EA: from the upper
        end of `between`, below which the line is fitted, to 1. If it is all of this, the data say nothing of
        a break; if it lies beyond, they contradict one there. q_ea itself is the value in this range that
        agrees best. Data without errors have no interval, and without a break (1 − X < 10⁻⁶) no q_ea.
    """
    _check_temperature(temperature, zero=False)
    low, high = between
    if not low < high:
        raise ValueError(f"between = {between}: must be (low, high) with low < high (interval of C)")
    curves = _matching(correlation, integrated_response, 1.0 if equal_time is None else equal_time)
    (mean_c, mean_chi), samples = _means(*curves), sample_count(curves[0].isel(lag=0))
    if equal_time is None:
        _check_beginning(curves[0], curves[1], temperature)
    inside = ((mean_c >= low) & (mean_c <= high) & mean_chi.notnull()).to_numpy()
    chosen = inside.sum(-1) >= 3

    def fit(c: Array, chi: Array, full: Array) -> Array:
        c, chi = c / full, chi / full
        slope, at, height = line(c, chi, inside)
        above, broken = 1 - (height - slope * at) * temperature, 1 + temperature * slope
        return np.array([-slope, inverse(-slope), above, broken, above + broken])

    values, errors = (np.where(chosen, part, np.nan) for part in jackknife(fit, *curves))
    numbers = _slopes(values, errors, temperature, samples, confidence)
    q_ea = _meeting(values[2:4], errors[2:], (high, 1.0), _quantile(samples, confidence))
    return tabulate({**numbers, "q_ea": q_ea}, mean_c.isel(lag=0, drop=True), _ABOUT, samples)


def fdt_ratio_at(
    correlation: xr.DataArray,
    integrated_response: xr.DataArray,
    temperature: float,
    observation_time: float,
    *,
    width: float | None = None,
    equal_time: xr.DataArray | float = 1.0,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return X(t_w, t) = T R/∂_{t_w}C and T_eff at one observation time t: slopes with t_w the parameter.

    The waiting times should lie densely enough that χ(C) is smooth from one to the next; at each its lag t −
    t_w should be in the file, or lie between two that are close (`fixed_time`).

    Parameters
    ----------
    correlation, integrated_response, temperature, width, equal_time, confidence
        As for `fdt_ratio`, with waiting_time among the dimensions.
    observation_time : float
        t > 0.

    Returns
    -------
    Dataset
        That of `fdt_ratio`, with the dimension waiting_time (those before t, ascending) in place of
        waiting_time and lag; lag(waiting_time) is a coordinate.

    Raises
    ------
    ValueError
        If fewer than three waiting times have a pair at t.
    """
    at = [at_observation_time(v, observation_time) for v in (correlation, integrated_response)]
    common = np.intersect1d(at[0]["lag"], at[1]["lag"])
    full = equal_time
    if isinstance(full, xr.DataArray) and {"waiting_time", "lag"} <= set(full.dims):
        full = at_observation_time(full, observation_time).sel(lag=common)
    elif isinstance(full, xr.DataArray) and "waiting_time" in full.dims:
        raise ValueError("equal_time: must have lag, too, to be that of the later time")
    c, chi = (v.sel(lag=common) for v in at)
    ratios = fdt_ratio(c, chi, temperature, width=width, equal_time=full, confidence=confidence)
    waiting = at[0]["waiting_time"].sel(lag=common).to_numpy()
    ratios = ratios.assign_coords(waiting_time=("lag", waiting)).swap_dims(lag="waiting_time")
    return ratios.sortby("waiting_time").assign_attrs(observation_time=observation_time)


def _meeting(
    values: Array, errors: Array, allowed: tuple[float, float], t: float
) -> tuple[Array, Array, Array, Array]:
    """Return q_EA, its error and the ends of its interval, from 1 − AT and 1 − X.

    Parameters
    ----------
    values : ndarray, shape (2, …)
        1 − AT and 1 − X.
    errors : ndarray, shape (3, …)
        Errors of these, and of their sum.
    allowed : (float, float)
        Smallest and largest q_EA that may be.
    t : float
        Student's quantile.
    """
    above, broken = values
    spread = RatioCovariance.polarised(*errors)
    q, error = likeliest(above, broken, spread, allowed)
    # Without samples the error is unknown.
    exact = ~np.isfinite(errors[1])
    q = np.where(exact, np.where(broken > _ROUNDING, above * inverse(broken), np.nan), q)
    return q, np.where(exact, np.nan, error), *within(above, broken, spread, t, allowed)


def _slopes(
    values: Array, errors: Array, temperature: float, samples: int, confidence: float
) -> dict[str, tuple[Array, ...]]:
    """Return X and T_eff with errors and intervals, from −dχ/dC and its inverse (first two rows)."""
    slope, error = values[0], errors[0]
    ends = interval(slope, error, max(samples - 1, 1), confidence)
    none = np.zeros(slope.shape)
    inverted = within(
        none + 1, slope, RatioCovariance(none, none, error**2), _quantile(samples, confidence), (0.0, np.inf)
    )
    return {
        "fdt_ratio": tuple(temperature * v for v in (slope, error, *ends)),
        "effective_temperature": (values[1], errors[1], *inverted),
    }


def _quantile(samples: int, confidence: float) -> float:
    """Return Student's quantile for the error of a mean; NaN where there is no error."""
    return float(interval(0.0, 1.0, samples - 1, confidence)[1]) if samples > 1 else np.nan


def _check_temperature(temperature: float, zero: bool = True) -> None:
    if not (np.isfinite(temperature) and (temperature > 0 or (zero and temperature == 0))):
        raise ValueError(f"temperature = {temperature}: must be finite and {'≥' if zero else '>'} 0")


def _check_beginning(c: xr.DataArray, chi: xr.DataArray, temperature: float) -> None:
    """Refuse curves that do not begin on the line (1 − C)/T: at short lags the theorem holds for all."""
    total = c + temperature * chi
    mean, error = average(total) if "replica" in total.dims else (total, xr.zeros_like(total))
    values, errors = (v.to_numpy().reshape(-1, c.sizes["lag"]) for v in (mean, error))
    known = np.isfinite(values)
    first = np.argmax(known, axis=1)
    begin, off = (v[np.arange(len(v)), first][known.any(1)] for v in (values, np.nan_to_num(errors)))
    # Curves of the same replicas err together: the mean of their errors bounds that of their mean.
    if begin.size and not abs(float(begin.mean()) - 1) <= max(_BEGINS, 5 * float(off.mean())):
        raise ValueError(
            f"correlation + temperature · integrated_response = {begin.mean():.3g} at the shortest lag: "
            "that is C(t, t), which is assumed to be 1; give equal_time (`equal_time.equal_time` has it from "
            "the msd)"
        )


def _matching(
    correlation: xr.DataArray, response: xr.DataArray, equal_time: xr.DataArray | float
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return all three with lag last, replica (where there is one) first."""
    check_same_axes(correlation, response, ("correlation", "response"))
    conjugate, kind = response.attrs.get("conjugate", "correlation"), correlation.attrs.get("kind")
    if conjugate != "correlation" or kind == "self_intermediate_scattering":
        raise ValueError(
            f"the response is conjugate to {conjugate!r}, the correlation of kind {kind!r}: "
            "χ = (1 − C)/T does not hold for them; take χ against msd, as figures do"
        )
    if not isinstance(equal_time, xr.DataArray):
        if not (np.isfinite(equal_time) and equal_time > 0):
            raise ValueError(f"equal_time = {equal_time}: must be finite and > 0 (C at equal times)")
        equal_time = xr.full_like(correlation, equal_time)
    elif not set(equal_time.dims) <= set(correlation.dims):
        raise ValueError(
            f"dimensions {equal_time.dims} of equal_time: must be among {correlation.dims} of the correlation"
        )
    check_coordinates(correlation, equal_time, ("correlation", "equal_time"))
    full = equal_time.broadcast_like(correlation).where(correlation.notnull())
    c, chi, a = lag_last(correlation, response, full)
    return c, chi, a


def _means(c: xr.DataArray, chi: xr.DataArray, full: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return mean C and χ, in units of C(t, t)."""
    unit = replica_mean(full)
    return replica_mean(c) / unit, replica_mean(chi) / unit


def _falls(c: Array) -> Mask:
    """Say where C falls from the lag before and to the lag after; never at the ends."""
    inside = np.zeros(c.shape, bool)
    inside[..., 1:-1] = (c[..., :-2] > c[..., 1:-1]) & (c[..., 1:-1] > c[..., 2:])
    return inside
