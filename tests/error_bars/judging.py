"""How often a quoted error holds: virtual runs from a large one, judged by the value of the large one.

`judge` takes what many small runs say of one quantity, and the true value, and counts. `Row.faults` says what
does not hold within the statistical error of the count. A row is a line of the table in docs/observables.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langevin.observables.statistics import interval

Array = NDArray[np.float64]

#: A coverage may be short by so many standard errors √(p(1 − p)/runs) of its count. One-sided, twice a row: a
#: right error bar is refused once in 370 rows. Seeds are fixed.
SIGMAS = 3.0


class Row(NamedTuple):
    """How the errors of one quantity did.

    Attributes
    ----------
    quantity : str
        What it is, as in the table.
    key : str
        Its name in `observables.sufficiency.LEAST`.
    samples, runs : int
        Independent samples in a virtual run; number of virtual runs.
    bias : float
        Mean of the runs minus the truth, in units of the spread of one run.
    ratio : float
        Spread of the runs over the rms of their quoted errors: 1 for a right error.
    inside_68, inside_95 : float
        Part of the runs whose interval holds the truth.
    missing : float
        Part of the runs without a number.
    """

    quantity: str
    key: str
    samples: int
    runs: int
    bias: float
    ratio: float
    inside_68: float
    inside_95: float
    missing: float

    def faults(self) -> list[str]:
        """Return what does not hold: a coverage below its level by more than its statistical error.

        Intervals that hold more than they say (bounds, systematic errors) are no fault.
        """
        known = self.runs * (1 - self.missing)
        said = []
        for level, inside in ((0.68, self.inside_68), (0.95, self.inside_95)):
            allowed = SIGMAS * math.sqrt(level * (1 - level) / max(known, 1))
            if not inside >= level - allowed:
                said.append(f"{self.quantity}, {self.samples} samples: {inside:.0%} within {level:.0%}")
        return said


def judge(
    quantity: str,
    key: str,
    samples: int,
    truth: ArrayLike,
    values: ArrayLike,
    errors: ArrayLike,
    degrees: ArrayLike | None = None,
    intervals: dict[float, tuple[ArrayLike, ArrayLike]] | None = None,
) -> Row:
    """Return how the errors of many runs did.

    Parameters
    ----------
    quantity, key, samples
        As in `Row`.
    truth : array_like
        A number, or one for each run.
    values, errors : array_like, shape (runs,)
        NaN where a run gives none.
    degrees : array_like, optional
        Degrees of freedom of the errors; by default samples − 1.
    intervals : mapping, optional
        level (0.68, 0.95) → (low, high), shape (runs,) each, where the quantity has intervals of its own.
    """
    value, error = (np.asarray(v, dtype=float) for v in (values, errors))
    true = np.broadcast_to(np.asarray(truth, dtype=float), value.shape)
    known = np.isfinite(value) & np.isfinite(error)
    off = (value - true)[known]
    spread = float(np.std(off, ddof=1))
    inside = {}
    for level in (0.68, 0.95):
        if intervals is None:
            ends = interval(value, error, samples - 1 if degrees is None else degrees, level)
        else:
            ends = tuple(np.asarray(end, dtype=float) for end in intervals[level])
        inside[level] = float(np.mean(((ends[0] <= true) & (true <= ends[1]))[known]))
    quoted = float(np.sqrt(np.mean(error[known] ** 2)))
    return Row(
        quantity,
        key,
        samples,
        value.size,
        float(off.mean()) / spread,
        spread / quoted,
        inside[0.68],
        inside[0.95],
        1 - float(known.mean()),
    )


def virtual_runs(replicas: int, samples: int) -> list[slice]:
    """Return slices of a large run's replicas, one for each sample: disjoint runs of so many samples."""
    return [slice(first, first + samples) for first in range(0, replicas - samples + 1, samples)]
