"""Figures and summaries say an exponent of aging with all parts of its error, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

#: Parts of the error of μ → the word for each.
_PARTS = {
    "exponent_error": "statistics",
    "exponent_threshold_error": "threshold",
    "exponent_drift_error": "drift",
}


def accuracy(dataset: xr.Dataset) -> xr.DataArray | None:
    """Return the numerical error of msd, if the file holds a solution and no samples; else None."""
    return dataset.get("msd_error")


def reason(fit: xr.Dataset) -> str:
    """Return why `observables.aging.aging_exponent` gives no exponent, or ""."""
    return str(fit["exponent"].attrs.get("reason", ""))


def exponent(fit: xr.Dataset) -> str:
    """Return "0.417 ± 0.081", the total error."""
    error = float(fit["exponent_total_error"])
    return f"{float(fit['exponent']):.3f}" + f" ± {_digits(error)}" * bool(np.isfinite(error))


def parts(fit: xr.Dataset, numerical: bool) -> str:
    """Return "statistics 0.022, threshold 0.028, drift 0.073"; of a solution the first is numerical."""
    said = []
    for name, word in _PARTS.items():
        if np.isfinite(fit[name]):
            said.append(
                f"{'numerical' if numerical and word == 'statistics' else word} {_digits(float(fit[name]))}"
            )
    return ", ".join(said)


def halves(fit: xr.Dataset) -> str:
    """Return the exponents of both halves of the waiting times."""
    return f"{float(fit['exponent_early']):.2f}, {float(fit['exponent_late']):.2f}"


def local(fit: xr.Dataset) -> str:
    """Return the local exponents of t* from the first waiting time that has one to the last, or ""."""
    slopes = fit["local_exponent"].to_numpy()
    known = slopes[np.isfinite(slopes)]
    if not known.size:
        return ""
    # Of many, evenly chosen ones tell the course.
    chosen = np.unique(np.linspace(0, known.size - 1, min(known.size, 5)).round().astype(int))
    return ", ".join(f"{value:.2f}" for value in known[chosen])


def _digits(error: float) -> str:
    return f"{error:.3f}" if error >= 5e-4 or error == 0 else f"{error:.0e}"
