r"""Barriers along curves are measured here, in spite of noise: the highest mean less that of the higher end.

Let μ_t be the mean loss at position t of a curve, 0 and 1 its ends. The barrier is

    b = max_t μ_t − max(μ_0, μ_1) ≥ 0,

which is 0 if an end is the highest. Where a loss is a mean over n examples, the highest position and the
higher end are chosen by the same examples. A maximum of noisy means is too high: of k positions that are
equally high by σ m_k, m_k the mean of the largest of k normals. Three things follow.

**The value.** All of the analysis is repeated with examples drawn with replacement: both choices, and the
parabola between positions. The mean of these barriers is higher than that of the examples by about as much as
that is higher than the truth; this is taken off (Efron 1982, ch. 5). Where the maximum is smooth, its bias is
proportional to the variance σ²/n, and nothing of the order 1/n is left. Where positions are equally high it
is proportional to σ/√n; the resamples have twice the variance, and show √2 − 1 of it. So up to 0.6 of the
bias may be left, less than the standard error; the interval holds it. An estimate without bias may be
negative where the barrier is 0.

**The interval** is not that of the value ± an error: at 0 there is nothing below, and of equally high
positions one does not know which is the highest. With d_te = μ_t − μ_e, s_te its standard error, and T the
positions that may be the highest (E the ends that may be the higher),

    max_{t in T} min_{e in E} (d_te − c s_te)  ≤  b  ≤  max_t min_{e in E} (d_te + c' s_te).

The left side holds if no d_te is too high by c s_te: c is the quantile of the largest such excess over T and
E, taken from the resamples. The right side holds if the one highest position is not too low: c' is the
quantile for one position and both ends. (Chernozhukov, Lee, Rosen 2013, Econometrica 81, 667, bound a maximum
of means so.) An end itself has d = s = 0: b ≥ 0 in any case, and if a curve falls from both ends, the upper
end says how high a rise the examples may have missed.

**Means over curves.** Curves that were measured with the same examples have their errors in common: see
`mean_barrier`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from ..statistics import Array, average, independent, interval
from ..sufficiency import too_few

#: Resamples of the examples: they give an error to 5 %, the end of a 95 % interval to a tenth of an error.
RESAMPLES = 400

#: Standard errors of a difference below the highest up to which a position may be the highest. That the true
#: one is left out, 0.3 %, is small beside the 5 % of an interval.
CONTENDS = 3.0


def heights(energy: Array) -> tuple[Array, Array, Array]:
    """Return the barriers along curves: the highest energy minus that of the higher end.

    Between positions the maximum is that of the parabola through the highest position and its neighbours. It
    never lies further than half a spacing from the highest position. An end that is the highest gives 0.

    Parameters
    ----------
    energy : ndarray, shape (R, T)
        At T ≥ 3 positions of equal distance, the ends among them.

    Returns
    -------
    height : ndarray, shape (R,)
        In units of `energy`.
    place : ndarray, shape (R,)
        Where the maximum is, 0 at one end and 1 at the other.
    refinement : ndarray, shape (R,)
        Height of the parabola above the highest position. Where it is not small compared with the height, the
        positions are too few; at a kink the parabola may miss by as much.
    """
    count = energy.shape[1]
    rows, top = np.arange(len(energy)), np.argmax(energy, axis=1)
    inside = (top > 0) & (top < count - 1)
    at = np.clip(top, 1, count - 2)
    before, here, after = (energy[rows, at + k] for k in (-1, 0, 1))
    slope, bend = (after - before) / 2, after - 2 * here + before
    # A maximum of three equal values has no parabola: nothing to refine.
    shift = np.divide(-slope, bend, out=np.zeros(len(energy)), where=inside & (bend < 0))
    refinement = np.where(inside, slope * shift / 2, 0.0)
    highest = energy[rows, top] + refinement
    return highest - np.maximum(energy[:, 0], energy[:, -1]), (top + shift) / (count - 1), refinement


class Barrier(NamedTuple):
    """A barrier of mean losses.

    Attributes
    ----------
    value : float
        With the bias of a maximum taken off.
    bias : float
        The part that was taken off.
    place, refinement : float
        As `heights` returns them.
    error : float
        Half of the 68 % interval; NaN for a single example.
    low, high : float
        The 95 % interval. Where `low` is 0, `high` is an upper limit.
    again : ndarray, shape (resamples,)
        Barriers of the resampled examples, bias not taken off. Curves that were measured with the same
        examples and the same seed have the same resamples.
    """

    value: float
    bias: float
    place: float
    refinement: float
    error: float
    low: float
    high: float
    again: Array


def of_losses(losses: Array, rng: np.random.Generator, resamples: int = RESAMPLES) -> Barrier:
    """Return the barrier of mean losses of the same examples at every position.

    Parameters
    ----------
    losses : ndarray, shape (T, n)
        Losses of n examples at T ≥ 3 positions of equal distance, the ends among them.
    rng : Generator
        Draws the resamples: multinomial numbers of each example.
    resamples : int
    """
    means = losses.mean(1)
    height, place, refinement = (float(part[0]) for part in heights(means[None]))
    count = losses.shape[1]
    if count == 1:
        unknown = np.full(resamples, np.nan)
        return Barrier(height, 0.0, place, refinement, np.nan, np.nan, np.nan, unknown)
    drawn = _resampled(losses, rng, resamples)
    again = heights(drawn)[0]
    bias = float(again.mean()) - height
    narrow, wide = (_ends(losses, drawn, level) for level in (0.68, 0.95))
    low, high = (max(0.0, end + refinement * (end > 0)) for end in wide)
    return Barrier(height - bias, bias, place, refinement, (narrow[1] - narrow[0]) / 2, low, high, again)


def interval_of_losses(
    losses: Array, rng: np.random.Generator, confidence: float, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the ends of the interval of any confidence; parameters as for `of_losses`."""
    refinement = float(heights(losses.mean(1)[None])[2][0])
    ends = _ends(losses, _resampled(losses, rng, resamples), confidence)
    low, high = (max(0.0, end + refinement * (end > 0)) for end in ends)
    return low, high


def _resampled(losses: Array, rng: np.random.Generator, resamples: int) -> Array:
    """Return the means of resampled examples, shape (resamples, T)."""
    count = losses.shape[1]
    parts = []
    # So many numbers at once that those of 10,000 examples take 8 MB.
    for first in range(0, resamples, 100):
        size = min(100, resamples - first)
        weight = rng.multinomial(count, np.full(count, 1 / count), size=size)
        parts.append(weight.astype(float) @ losses.T / count)
    return np.concatenate(parts)


def _ends(losses: Array, drawn: Array, confidence: float) -> tuple[float, float]:
    """Return the ends of the interval on the grid of positions; `drawn` has shape (resamples, T)."""
    means, count = losses.mean(1), losses.shape[1]
    # The deviation of resamples is that of a population of n: small by √((n − 1)/n).
    noise = (drawn - means) * np.sqrt(count / (count - 1))
    tail = (1 - confidence) / 2
    ends = [0, -1]
    apart = np.std(noise[:, 0] - noise[:, -1])
    if abs(means[0] - means[-1]) > CONTENDS * apart:
        ends = [0 if means[0] > means[-1] else -1]
    # Shapes (T, E) and (resamples, T, E).
    difference = means[:, None] - means[ends]
    off = noise[:, :, None] - noise[:, None, ends]
    spread = off.std(0)
    known = spread > 0
    off = np.divide(off, spread, out=np.zeros_like(off), where=known)
    top = int(np.argmax(means))
    below = np.std(noise - noise[:, top, None], axis=0)
    contends = means[top] - means <= CONTENDS * below
    lower = float(np.quantile(off[:, contends].max((1, 2)), 1 - tail))
    upper = np.quantile(-off.min(2), 1 - tail, axis=0)
    bottom = np.max(np.min(difference - lower * spread, axis=1)[contends])
    return max(0.0, float(bottom)), max(0.0, float(np.max(np.min(difference + upper[:, None] * spread, 1))))


class MeanBarrier(NamedTuple):
    """A mean barrier over curves.

    Attributes
    ----------
    value, error : DataArray
        One independent curve has the error of its examples, NaN where there are none.
    low, high : DataArray
        The 95 % interval; never below 0. Where `low` is 0, `high` is an upper limit.
    samples : int
        Independent curves, n.
    """

    value: xr.DataArray
    error: xr.DataArray
    low: xr.DataArray
    high: xr.DataArray
    samples: int


def mean_barrier(dataset: xr.Dataset, name: str = "barrier") -> MeanBarrier:
    r"""Return the mean of barriers over replicas, with the errors of curves and of examples.

    A barrier is y_k = b_k + ε_k, b_k of the landscape and ε_k from the examples, of variance v, and of
    covariance c between curves that were measured with the same examples. The mean of n has the variance
    (Var b + v)/n + (1 − 1/n) c, the spread of the values is Var b + v − c, thus

        Var(mean) = spread/n + c.

    The spread says nothing of c. It is taken from the resamples, which are the same ones for all such curves:
    with V the variance of their mean, V = v/n + (1 − 1/n) c. The bias that was taken off is uncertain by
    about itself (see the module), and is alike for all curves: it is added as a systematic error.

    Parameters
    ----------
    dataset : Dataset
        Results of curves, or a sweep of them.
    name : {"barrier", "shortest_barrier"}

    Returns
    -------
    MeanBarrier
        Without the dimension replica. Where energies are exact, the error is that of `average`.
    """
    values = dataset[name]
    over_curves = average(values)
    count = int(over_curves.error.attrs["samples"])
    if count == 1:
        own = [f"{name}_{part}" for part in ("error", "low", "high")]
        parts = [average(dataset[n]).mean if n in dataset else over_curves.error for n in own]
        return MeanBarrier(over_curves.mean, parts[0], parts[1], parts[2], 1)
    spread, known = over_curves.error**2, xr.zeros_like(over_curves.error)
    if f"{name}_resampled" in dataset:
        again, dim = independent(dataset[f"{name}_resampled"])
        whole, single = again.mean(dim).var("resample"), again.var("resample").mean(dim)
        shared = ((count * whole - single) / (count - 1)).clip(min=0.0)
        known = shared + average(dataset[f"{name}_bias"]).mean ** 2
    error = (spread + known) ** 0.5
    # Welch and Satterthwaite: the spread has n - 1 degrees of freedom, the other part as good as all.
    degrees = (count - 1) * (error**4 / spread**2).where(spread > 0, 1.0)
    low, high = (
        over_curves.mean.copy(data=np.maximum(end, 0.0))
        for end in interval(over_curves.mean, error, degrees, 0.95)
    )
    return MeanBarrier(over_curves.mean, error, low, high, count)


def barrier_in_words(dataset: xr.Dataset, name: str = "barrier") -> str:
    """Return the barrier of a result in words: value ± error, an upper limit, or why neither is said."""
    barrier = mean_barrier(dataset, name)
    value, error, low, high = (float(part) for part in barrier[:4])
    if barrier.samples == 1:
        if not np.isfinite(error):
            return f"{value:.4g}"
        examples = int(dataset["curve_energy"].attrs.get("examples", 0))
        if lacking := too_few("barrier of examples", examples):
            return f"{value:.4g} ({lacking.replace('samples', 'examples')})"
    elif not np.any(dataset[name]):
        return f"0: an end is the highest of all {dataset.sizes['replica']} curves"
    elif lacking := too_few("barrier", barrier.samples):
        return f"{value:.4g} ({lacking})"
    # Files of earlier releases have no interval.
    if low > 0 or not np.isfinite(high):
        return f"{value:.4g} ± {error:.2g}"
    return f"none is seen; below {high:.2g} (95 %)" if high > 0 else "0: an end is the highest"
