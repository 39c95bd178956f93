"""Error bars hold from some number of independent samples on, which stands here for each quantity.

An error that is estimated from few samples, or of a number that is far from linear in them, covers less than
it claims. tests/error_bars measures how much: many small virtual runs are taken from a large one, and it is
counted how often the interval of 68 and of 95 % holds the value of the large one. `LEAST` is the smallest
number of samples from which both hold within the error of that count. Below it figures and summaries say "too
few samples".
"""

from __future__ import annotations

import math

#: Samples from which the errors of a quantity hold; `DEFAULT` for those that are not named.
LEAST: dict[str, int] = {
    # A square that may be negative, with the long tail of squares.
    "gradient_square": 16,
    # Random vectors of one replica: at 8 the interval of 95 % holds 89 %.
    "hessian_probes": 32,
    # Where units die the ensemble is skew: at 4 and 6 the intervals of 95 % hold 89 %; at 2 where none do.
    **dict.fromkeys(("gradient_noise", "msd_over_noise"), 8),
    **dict.fromkeys(("hessian_trace", "hessian_lowest", "hessian_highest", "hessian_negative_fraction"), 8),
    **dict.fromkeys(("hessian_eigenvalue", "ritz_value"), 8),
    # Runs at each size, or in each file: with Student's quantiles, and for extrapolations weights of a
    # smooth law (`extrapolation`).
    "extrapolation": 2,
    **dict.fromkeys(("comparison", "power_law", "local_exponent", "t1", "t2", "collapse"), 4),
    # For the plateau of C with a window of two decades; with one, 6.
    "q_ea_plateau": 12,
    # From 12 the interval of 95 % holds 91 %.
    **dict.fromkeys(("chi4", "chi4_thermal", "chi4_disorder"), 32),
    **dict.fromkeys(("overlap_moment_1", "overlap_moment_2"), 12),
    "overlap_moment_4": 32,
    "overlap_density": 32,
    # Examples whose mean losses a barrier is the maximum of; and curves, of which some may have none.
    "barrier of examples": 100,
    "barrier": 8,
    # Shells of a rare species hold few pairs.
    "pair_correlation": 8,
    # From fewer, no exponent of aging is said at all.
    "aging_exponent": 6,
    "relaxation_time": 6,
    "collapse_spread": 6,
    "collapse_exponent": 6,
    # A median of samples is one of them: at 8 the interval of 68 % holds 45 %, at 12 72, at 24 57 %.
    "steps_to": 12,
    # T_eff of networks from displacements: the slope, and the chord, which has all the skewness of Δ.
    "displacement_temperature": 4,
    "chord_temperature": 32,
}
#: Samples for means, and for numbers that are nearly linear in them, with Student's quantiles.
DEFAULT = 4


def least(quantity: str) -> int:
    """Return the number of independent samples from which the errors of a quantity hold."""
    return LEAST.get(quantity, DEFAULT)


def too_few(quantity: str, samples: int) -> str:
    """Return "too few samples: n of at least m", or "" where there are enough."""
    needed = least(quantity)
    return "" if samples >= needed else f"too few samples: {samples} of at least {needed}"


def stated(quantity: str, value: float, error: float, samples: int, digits: int = 4) -> str:
    """Return "value ± error", or the value and why its error is not said.

    Parameters
    ----------
    quantity : str
        Its name in `LEAST`.
    value, error : float
    samples : int
        Independent samples behind them.
    digits : int
        Significant digits of the value.
    """
    number = f"{value:.{digits}g}"
    if not math.isfinite(error):
        return number
    lacking = too_few(quantity, samples)
    return f"{number} ({lacking})" if lacking else f"{number} ± {error:.2g}"
