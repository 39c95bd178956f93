r"""Losses that are functions of a whole batch: what is measured of them.

The loss of n examples is that of all n as one batch, L. It has no values of single examples; what one example
adds follows from leaving it out, the jackknife's pseudo-values (Tukey 1958; Efron and Stein 1981),

    ℓ_i = L + (n − 1)(⟨L_(·)⟩ − L_(i)),    L_(i) the loss without example i, ⟨L_(·)⟩ its mean over i.

Their mean is L, and S²/n with S² their variance is the jackknife's estimate of the variance of L over the
choice of examples. If L is a mean of losses of single examples, ℓ_i is exactly the loss of example i.

To leave out each of thousands is too much. With G groups of n/G examples, u_g = (G − 1)(⟨L_(·)⟩ − L_(g)),
L_(g) without group g, the variance of L is Σ_g u_g²/(G(G − 1)) (delete-group jackknife). Every example of
group g then has the value

    ℓ_i = L + √((n − 1)/(G − 1)) u_g(i),

whose mean is L, too, and whose variance over n is again that of L: Σ_i (ℓ_i − L)²/(n(n − 1)) =
(n/G) Σ_g u_g² (n − 1)/(G − 1)/(n(n − 1)). So means, standard errors and resamples of examples say of these
values what they say of losses, to first order in 1/n; a value alone says nothing of its example. The variance
is known to √(2/(G − 1)), 20 % for G = 50. Groups are cut from the examples in the order given, which has to
be random.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from langevin.core.system import Array
from langevin.errors import FOREIGN

if TYPE_CHECKING:
    from ..nets.losses import Loss

#: Groups of examples that are left out.
GROUPS = 50


def values(loss: Loss, outputs: Tensor, labels: Tensor) -> tuple[float, Array]:
    """Return the loss of all these examples as one batch, and a value for each whose mean it is, shape (n,).

    The values are NaN where the loss is not known without some of the examples: then it has no error.

    Parameters
    ----------
    loss : Loss
    outputs, labels : Tensor, shape (n, …)
        In random order.
    """
    total, n = float(loss.mean(outputs, labels)), len(outputs)
    groups = min(GROUPS, n)
    if groups < 2:
        return total, np.full(n, total)
    cuts = [n * g // groups for g in range(groups + 1)]
    without = np.empty(groups)
    for g, (first, last) in enumerate(pairwise(cuts)):
        without[g] = _of(loss, outputs, labels, first, last)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.sqrt((n - 1) * (groups - 1)) * (without.mean() - without)
        each = np.repeat(moved, np.diff(cuts))
        # Groups that differ by one example.
        return total, total + each - each.mean()


def _of(loss: Loss, outputs: Tensor, labels: Tensor, first: int, last: int) -> float:
    """Return the loss without the examples first … last − 1, NaN where there is none."""
    parts = (torch.cat([part[:first], part[last:]]) for part in (outputs, labels))
    try:
        return float(loss.mean(*parts))
    except FOREIGN:
        return float("nan")
