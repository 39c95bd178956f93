r"""Response is set against displacement here: this needs no fixed norm, and gives an effective temperature.

χ(t_w + t, t_w) is the response to a constant force switched on at t_w, of one coordinate to its own,
Δ(t_w, t_w + t) the mean square displacement of one coordinate. In equilibrium at temperature T, in the time
of a Langevin equation or in steps of gradient descent,

    χ = Δ/(2T),

the fluctuation-dissipation theorem for displacements: it is χ = (C(t_w, t_w) − C)/T where C is stationary,
and holds for free diffusion, too, where C is not. Where it fails, an effective temperature is read off the
plot of Δ/2 against χ along the lag (Cugliandolo, Kurchan & Peliti 1997, PRE 55, 3898),

    T_eff(t_w, t) = dΔ/(2 dχ)   (slope),      Δ/(2χ)   (chord from the origin).

They agree where the plot is straight. The slope belongs to the lag t alone; the chord has less
noise, and remembers all shorter lags. Neither is a temperature where Δ is drift and not fluctuation: a
descent with velocity v adds v² t² to Δ and nothing to χ, so that both grow with the lag.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from .fits.regression import inverse, line, near, three_points
from .pairs import check_same_axes, lag_last, ordered
from .statistics import Array, jackknife, replica_mean, sample_count, tabulate

#: Responses to +h and −h may differ by so much of their sum; beyond that χ is not used.
MOST = 0.1

_ABOUT = {
    "effective_temperature": {"long_name": "effective temperature dΔ/(2 dχ)"},
    "chord_temperature": {"long_name": "effective temperature Δ/(2χ)"},
}


def effective_temperature(
    msd: xr.DataArray,
    integrated_response: xr.DataArray,
    *,
    decades: float | None = 1.0,
    nonlinearity: xr.DataArray | None = None,
    most: float = MOST,
) -> xr.Dataset:
    """Return T_eff(t_w, t) = dΔ/(2 dχ), the local slope along the lag, and the chord Δ/(2χ).

    Parameters
    ----------
    msd, integrated_response : DataArray
        Δ and χ per coordinate; dimensions lag and any others, the same for both. Both are averaged over
        replica, where there is one, before slopes are taken: T_eff is a ratio of averages. Pairs that are
        not known are NaN. If Δ is per particle (`spatial_dimensions` d of the response), it is divided by d.
    decades : float, optional
        Width of the window in the logarithm of the lag: the slope at a lag is that of a straight line of Δ/2
        against χ through all lags within half of it. Noise σ of χ about its mean lowers it, relatively, by σ²
        over the variance of χ in the window. None: three-point derivatives, for data without noise.
    nonlinearity : DataArray, optional
        `response_nonlinearity` of the file: pairs where its mean exceeds `most` are left out.
    most : float

    Returns
    -------
    Dataset
        effective_temperature and chord_temperature, in the unit of msd over that of χ, each with its standard
        error over samples as `<name>_error` (jackknife). The attribute `samples` of an error is the number n
        of independent samples: intervals are those of Student's distribution with n − 1 degrees of freedom
        (`statistics.interval`), symmetric in ln T_eff. Dimensions of the arguments but replica; NaN where
        fewer than three lags are in a window, or χ is not positive.

    Raises
    ------
    ValueError
        If the arguments do not belong together, or χ is conjugate to something else.
    """
    if decades is not None and not decades > 0:
        raise ValueError(f"decades = {decades}: must be > 0 (window in the logarithm of the lag), or None")
    delta, chi = _matching(msd, integrated_response)
    scale = 2.0 * float(integrated_response.attrs.get("spatial_dimensions", 1))
    mean = [replica_mean(v) for v in (delta, chi)]
    known = np.isfinite(mean[0].to_numpy()) & np.isfinite(mean[1].to_numpy()) & (mean[1].to_numpy() > 0)
    if nonlinearity is not None:
        known &= (ordered(replica_mean(nonlinearity), "lag").transpose(*mean[1].dims) <= most).to_numpy()
    lag = np.log10(chi["lag"].to_numpy().astype(float))
    inside = None if decades is None else near(np.broadcast_to(lag, known.shape), known, decades / 2)
    enough = known if inside is None else known & (inside.sum(-1) >= 3)

    def temperatures(delta: Array, chi: Array) -> Array:
        half = np.where(known, delta / scale, np.nan)
        if inside is None:
            slope = three_points(chi, half)
        else:
            slope, _, _ = line(chi[..., None, :], half[..., None, :], inside)
        return np.array([slope, half * inverse(chi)])

    values, errors = jackknife(temperatures, delta, chi)
    pairs = {}
    for k, (name, shown) in enumerate(zip(_ABOUT, (enough, known), strict=True)):
        pairs[name] = np.where(shown, values[k], np.nan), np.where(shown, errors[k], np.nan)
    return tabulate(pairs, mean[1], _ABOUT, sample_count(delta))


def _matching(msd: xr.DataArray, response: xr.DataArray) -> list[xr.DataArray]:
    """Return both with lag last, replica (where there is one) first."""
    check_same_axes(msd, response, ("msd", "response"))
    if response.attrs.get("centre_of_mass_mobility"):
        raise ValueError("the response has a part of the centre of mass, which is not in msd: take it off")
    return lag_last(msd, response)
