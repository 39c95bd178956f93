r"""Where constraints can no longer all be satisfied: the jamming point r_J of a sweep over r, with its error.

Of nets, or of any solvers, at n ratios r = P/N it is known which are jammed: which have unsatisfied patterns
at the end. The fraction of those that are is taken for a logistic function,

    p(r) = 1/(1 + exp(−(r − r_J)/w)),

and r_J and w are where the likelihood of all nets is largest. No threshold is read off by eye, and no net is
left out. Where all nets below some r are satisfied and all above are jammed, every r_J between is as likely:
the middle is taken.

The error is the larger of two. One comes from nets drawn with replacement: a net has the same disorder at
every r, and is drawn with all its ratios. The other is the standard deviation of r_J under the likelihood,
flat in r_J and ln w before: of few nets the first may be 0, and the second knows that between two ratios
nobody looked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, log_expit, logsumexp

#: Places of r_J, and widths, among which the likelihood is searched.
PLACES, WIDTHS = 301, 25
#: The least width, in parts of the least spacing of ratios: a step, for data that cannot tell.
LEAST = 0.02
#: Log-likelihoods that differ by no more are the same.
SAME = 1e-6
#: Unsatisfied patterns for each weight from which on a net counts as jammed, as in the authors' protocol
#: (Spigler et al. 2018): fewer are nets that rounding, or the end of the run, kept from the last of them.
JAMMED = 0.1

Array = NDArray[np.float64]


class JammingPoint(NamedTuple):
    """The ratio at which half of the nets are jammed.

    Attributes
    ----------
    value, error : float
        r_J and its standard error.
    width : float
        w of the logistic function, of a few nets no more than a rough number.
    nets : int
        Nets at each ratio.
    """

    value: float
    error: float
    width: float
    nets: int

    def fraction(self, ratios: ArrayLike) -> Array:
        """Return the fraction p(r) that the logistic function has at these ratios."""
        return np.exp(log_expit((np.asarray(ratios, dtype=float) - self.value) / self.width))


def jamming_point(
    ratios: ArrayLike, jammed: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> JammingPoint:
    """Return r_J by maximum likelihood, with an error from nets drawn again.

    Parameters
    ----------
    ratios : array_like, shape (n,)
        r = P/N, in any order, at least two.
    jammed : array_like of bool, shape (n, nets)
        Whether each net is jammed. A column is one net, or one disorder, at all ratios.
    resamples : int
    seed : int
        The same seed, the same resamples.

    Raises
    ------
    ValueError
        If all nets are jammed, or none is: the transition is not among these ratios.
    """
    r, known = np.asarray(ratios, dtype=float), np.asarray(jammed, dtype=bool)
    if r.ndim != 1 or known.ndim != 2 or len(known) != len(r) or len(np.unique(r)) < 2:
        raise ValueError("needs at least two ratios, and for each of them whether every net is jammed")
    if known.all() or not known.any():
        raise ValueError(
            f"{'all' if known.all() else 'none'} of the nets are jammed from r = {r.min():g} to {r.max():g}: "
            "r_J is not among these ratios"
        )
    order = np.argsort(r)
    r, known = r[order], known[order]
    likely = _Likelihood(r)
    nets = known.shape[1]
    counts = known.sum(1)[None].astype(float)
    value, width = (float(found[0]) for found in likely.best(counts, nets))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(nets, np.full(nets, 1 / nets), size=resamples)
    again, _ = likely.best(drawn @ known.T.astype(float), nets)
    return JammingPoint(value, max(float(again.std(ddof=1)), likely.deviation(counts, nets)), width, nets)


class _Likelihood:
    """The likelihood of counts of jammed nets on a grid of (r_J, w)."""

    def __init__(self, ratios: Array) -> None:
        span, spacing = np.ptp(ratios), np.diff(np.unique(ratios)).min()
        self.places = np.linspace(ratios[0] - spacing, ratios[-1] + spacing, PLACES)
        self.widths = np.geomspace(LEAST * spacing, span, WIDTHS)
        scaled = (ratios - self.places[:, None, None]) / self.widths[:, None]
        self._yes, self._no = (log_expit(sign * scaled).reshape(-1, len(ratios)) for sign in (1, -1))

    def best(self, counts: Array, nets: int) -> tuple[Array, Array]:
        """Return r_J and w of the largest likelihood, of counts (any number, n); ties are averaged."""
        found = self._logarithms(counts, nets)
        top = found.max((1, 2), keepdims=True)
        alike = found >= top - SAME
        share = alike / alike.sum((1, 2), keepdims=True)
        return share.sum(2) @ self.places, np.exp(share.sum(1) @ np.log(self.widths))

    def deviation(self, counts: Array, nets: int) -> float:
        """Return the standard deviation of r_J under the likelihood of counts, shape (1, n)."""
        logs = logsumexp(self._logarithms(counts, nets)[0], axis=1)
        # Of a thousand nets the largest itself is below the smallest number.
        share = np.exp(logs - logs.max())
        share /= share.sum()
        mean = share @ self.places
        return float(np.sqrt(share @ (self.places - mean) ** 2))

    def _logarithms(self, counts: Array, nets: int) -> Array:
        found = counts @ self._yes.T + (nets - counts) @ self._no.T
        return found.reshape(-1, PLACES, WIDTHS)


def separable(patterns: ArrayLike, dimension: int) -> Array:
    """Return the probability that a linear classifier without bias satisfies all patterns, exactly.

    Of P patterns in general position in d dimensions C(P, d) = 2 Σ_{k<d} binom(P − 1, k) of the 2^P
    labellings are separable (Cover, IEEE Trans. Electron. Comput. EC-14, 326 (1965)). Where all labellings
    are as likely, C/2^P is 1/2 at P = 2d, and becomes a step at r = 2 as d grows. A margin does not change
    it: weights may be multiplied by what meets it.

    Parameters
    ----------
    patterns : array_like of int
        P ≥ 1.
    dimension : int
        d ≥ 1.
    """
    counts = np.atleast_1d(np.asarray(patterns, dtype=float))
    k = np.arange(dimension, dtype=float)
    rest = counts[:, None] - 1 - k
    with np.errstate(invalid="ignore"):
        logs = gammaln(counts)[:, None] - gammaln(k + 1) - gammaln(rest + 1)
    total = logsumexp(np.where(rest >= 0, logs, -np.inf), axis=1)
    found = np.exp(total - (counts - 1) * np.log(2))
    return np.minimum(found, 1.0).reshape(np.shape(patterns))
