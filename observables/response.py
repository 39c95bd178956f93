r"""Response against correlation: fluctuation-dissipation ratio, effective temperature, the break at q_EA.

χ(t_w + t, t_w) is the response at t_w + t to a constant field switched on at t_w, C(t_w + t, t_w) the
correlation. In equilibrium χ = (1 − C)/T for C(t, t) = 1, the fluctuation-dissipation theorem (FDT). Where
it fails, its ratio X and the effective temperature are read from the parametric plot of χ against C along
the lag (Cugliandolo & Kurchan 1993, PRL 71, 173; Cugliandolo, Kurchan & Peliti 1997, PRE 55, 3898),

    X(t_w, t) = −T dχ/dC,    T_eff = T/X = −dC/dχ,

the second of which has no T in it and holds at T = 0, too. For t_w → ∞ and one step of replica symmetry
breaking, such as the p-spin model, χ(C) is two straight lines that meet at C = q_EA: (1 − C)/T above, and
(1 − q_EA)/T + X (q_EA − C)/T below.

All this is of a response that is conjugate to C. Files in which it is conjugate to displacements say so (the
attribute `conjugate` of the response, `kind` of the correlation), and are refused.

At finite t_w a slope along the lag is not yet the ratio of R to ∂C/∂t_w, which takes t_w + t fixed
(Fielding & Sollich 2002, PRL 88, 050603): χ is a function of C alone only in the limit.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from .pairs import ordered
from .regression import inverse, line, near, three_points
from .statistics import Array, Mask, average, jackknife, tabulate

_ABOUT = {
    "fdt_ratio": {"long_name": "fluctuation-dissipation ratio X"},
    "effective_temperature": {"long_name": "effective temperature T/X"},
    "correlation": {"long_name": "correlation at which X is taken"},
    "q_ea": {"long_name": "correlation at which the aging line leaves the FDT line"},
}


def fdt_ratio(
    correlation: xr.DataArray,
    integrated_response: xr.DataArray,
    temperature: float,
    *,
    width: float | None = None,
) -> xr.Dataset:
    """Return X(t_w, t) = −T dχ/dC and T_eff = T/X, the local slopes of χ against C along the lag.

    Parameters
    ----------
    correlation, integrated_response : DataArray
        Dimensions lag and any others, the same for both; averaged over replica where there is one, before
        slopes are taken. Pairs that are not known are NaN.
    temperature : float
        T ≥ 0 of the bath. At T = 0, X = 0, and T_eff is what says something.
    width : float, optional
        Of the window in C for noisy data: the slope at a lag is that of a straight line through all lags
        whose C is within width/2 of its C. A bend of χ(C) is smeared over `width`; noise σ in C lowers the
        slope by a factor 1 − 12σ²/width², so that width ≫ σ is needed. Without it, three-point derivatives,
        for data without noise.

    Returns
    -------
    Dataset
        fdt_ratio, effective_temperature (unit: that of T) and the correlation they belong to (in a window
        at the end of a curve the mean of C, not its middle), each with its standard error over samples as
        `<name>_error` (jackknife). Dimensions of the arguments but replica; NaN at the first and the last
        lag without `width`, where C does not fall, and where fewer than three lags are in a window.
    """
    _check_temperature(temperature)
    if width is not None and not width > 0:
        raise ValueError(f"width = {width}: must be > 0 (window in C), or None")
    c, chi = _matching(correlation, integrated_response)
    mean_c, mean_chi = (_mean(v) for v in (c, chi))
    known = np.isfinite(mean_c.to_numpy()) & np.isfinite(mean_chi.to_numpy())
    inside = None if width is None else near(mean_c.to_numpy(), known, width / 2)
    chosen = _falls(mean_c.to_numpy()) & known if inside is None else inside.sum(-1) >= 3

    def ratio(c: Array, chi: Array) -> Array:
        if inside is None:
            slope, at = three_points(c, chi), c
        else:
            slope, at, _ = line(c[..., None, :], chi[..., None, :], inside)
        return np.array([-temperature * slope, inverse(-slope), at])

    values, errors = (np.where(chosen, found, np.nan) for found in jackknife(ratio, c, chi))
    names = ("fdt_ratio", "effective_temperature", "correlation")
    pairs = {name: (values[k], errors[k]) for k, name in enumerate(names)}
    return tabulate(pairs, mean_c, _ABOUT)


def aging_line(
    correlation: xr.DataArray,
    integrated_response: xr.DataArray,
    temperature: float,
    *,
    between: tuple[float, float],
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
    correlation, integrated_response, temperature
        As for `fdt_ratio`, T > 0.
    between : (float, float)
        Lags with mean C in this interval are fitted. It should lie well below q_EA: at C near q_EA the
        curve is rounded, and the line too steep.

    Returns
    -------
    Dataset
        fdt_ratio, effective_temperature, q_ea, each with its standard error over samples as `<name>_error`
        (jackknife). Dimensions of the arguments but replica and lag; NaN where fewer than three lags are in
        the interval, and q_ea also where 1 − X is not larger than twice its error: there is no break.
    """
    _check_temperature(temperature, zero=False)
    low, high = between
    if not low < high:
        raise ValueError(f"between = {between}: must be (low, high) with low < high (interval of C)")
    c, chi = _matching(correlation, integrated_response)
    mean_c, mean_chi = (_mean(v) for v in (c, chi))
    inside = ((mean_c >= low) & (mean_c <= high) & mean_chi.notnull()).to_numpy()
    chosen = inside.sum(-1) >= 3

    def fit(c: Array, chi: Array) -> Array:
        slope, at, height = line(c, chi, inside)
        x = -temperature * slope
        intercept = height - slope * at
        return np.array([x, inverse(-slope), (1 - intercept * temperature) * inverse(1 - x)])

    values, errors = (np.where(chosen, found, np.nan) for found in jackknife(fit, c, chi))
    # Without samples the error is unknown; a break below rounding is none, either.
    no_break = ~(1 - values[0] > np.maximum(2 * np.nan_to_num(errors[0]), 1e-6))
    values[2, no_break] = errors[2, no_break] = np.nan
    names = ("fdt_ratio", "effective_temperature", "q_ea")
    pairs = {name: (values[k], errors[k]) for k, name in enumerate(names)}
    return tabulate(pairs, mean_c.isel(lag=0, drop=True), _ABOUT)


def _check_temperature(temperature: float, zero: bool = True) -> None:
    if not (np.isfinite(temperature) and (temperature > 0 or (zero and temperature == 0))):
        raise ValueError(f"temperature = {temperature}: must be finite and {'≥' if zero else '>'} 0")


def _matching(correlation: xr.DataArray, response: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return both with lag last, replica (where there is one) first."""
    if set(correlation.dims) != set(response.dims) or "lag" not in correlation.dims:
        raise ValueError(
            f"dimensions {correlation.dims} of the correlation and {response.dims} of the response: "
            "must be the same, lag among them"
        )
    conjugate, kind = response.attrs.get("conjugate", "correlation"), correlation.attrs.get("kind")
    if conjugate != "correlation" or kind == "self_intermediate_scattering":
        raise ValueError(
            f"the response is conjugate to {conjugate!r}, the correlation of kind {kind!r}: "
            "χ = (1 − C)/T does not hold for them; take χ against msd (`langevin plot`)"
        )
    for dim in correlation.dims:
        if not np.array_equal(correlation[dim], response[dim]):
            raise ValueError(f"coordinate {dim!r} differs between correlation and response")
    correlation, response = ordered(correlation, "lag"), ordered(response, "lag")
    order = [d for d in correlation.dims if d not in ("replica", "lag")]
    first = ["replica"] if "replica" in correlation.dims else []
    return correlation.transpose(*first, *order, "lag"), response.transpose(*first, *order, "lag")


def _mean(values: xr.DataArray) -> xr.DataArray:
    return average(values).mean if "replica" in values.dims else values


def _falls(c: Array) -> Mask:
    """Say where C falls from the lag before and to the lag after; never at the ends."""
    inside = np.zeros(c.shape, bool)
    inside[..., 1:-1] = (c[..., :-2] > c[..., 1:-1]) & (c[..., 1:-1] > c[..., 2:])
    return inside
