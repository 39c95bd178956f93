r"""What is measured of a network at one time, and how well a subset of the examples knows it.

energy, test_loss, accuracies
    Means over seeded subsets (`record.energy_examples`) of the training and the test set, in evaluation mode.
    The penalty of weight decay is not part of the energy. Of n of N examples the standard error is
    σ √((1/n)(1 − n/N)), σ² the variance over examples. A loss that is no mean over examples (class weights,
    sums, contrasts within a batch: `losses`) is that of all n as one batch, and the σ of its error that of
    the jackknife's values (`whole`). The accuracy of a sequence is the part of its positions that are right.
gradient_noise
    D = (1/M) Σ_i [⟨(∂_i ℓ)²⟩ − ⟨∂_i ℓ⟩²], the variance of the per-sample gradient, per weight: eq. (4) of
    Baity-Jesi et al. 2018, here with N − 1 in its denominator: S²/M, S² = Σ_a |g_a − G|²/(N − 1), which a
    subset estimates without bias. Frozen noise of this size moves the weights by Δ = α² D t/B in t steps.
    The error is the scatter over `PARTS` parts of the subset.
gradient_norm, gradient_square
    |g|, the Euclidean norm over all M weights of the mean gradient g of the subset, and |G|², the squared
    norm of that of all N examples. With G the mean over all, ⟨|g|²⟩ = |G|² + S²(1/n − 1/N), at the bottom of
    a landscape mostly the second term: |g| is then the noise of the subset. From the square it is taken off,
    with S² from the means of the parts: of K parts of n_p examples, with sums s_p,
    Σ_p |s_p|²/n_p − |Σ_p s_p|²/n is (K − 1) S² on average. What is left has the mean |G|², and may be
    negative by chance. Its root, with 0 for what is negative, would have another mean, and no error.

With batch-norm, or with a loss of the whole batch, the loss of one example is not defined; the gradient of a
mini-batch of B is, in training mode. G is its mean over all batches, and D is what the difference of two
disjoint batches says,

    D = B ⟨|g_1 − g_2|²⟩/(2M),

an average over all pairs of disjoint batches of the training set. Of gradients that are means over examples
it is the D above, exactly, whatever B/N is: drawn without replacement, ⟨|g|²⟩ = |G|² + S²(1/B − 1/N) and
⟨g_1·g_2⟩ = |G|² − S²/N. K disjoint batches have K(K − 1)/2 pairs: with s = Σ_k g_k their mean square
difference is 2 (Σ_k |g_k|² − |s|²/K)/(K − 1). T rounds of K batches (`subsets`) are independent of each
other, so that |G|² = ⟨s·s'⟩/K² over pairs of rounds. The error of D is that of leaving out each batch
(jackknife), or the scatter of the rounds where there are more than two. Where 2B > N no two batches are
disjoint, and K = 1;
D = B V/((1 − B/N) M), V the variance of the gradient of a batch; with B = N it has none, and D is NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vmap

from langevin.machine.interruption import heed

from ..data.examples import OnDevice
from ..data.subsets import Subset
from ..descent.training import Alone
from ..nets.losses import Loss
from . import whole

#: What is measured at every time, in this order.
MEASURED = (
    "energy",
    "train_accuracy",
    "energy_error",
    "train_accuracy_error",
    "test_loss",
    "test_accuracy",
    "test_loss_error",
    "test_accuracy_error",
    "gradient_norm",
    "gradient_square",
)
#: Of these there are none where the data have no classes.
ACCURACIES = tuple(name for name in MEASURED if "accuracy" in name)
#: Parts of the subset from whose scatter the error of D follows.
PARTS = 10
#: Numbers in the per-sample gradients that are held at once; on a GPU.
HELD, HELD_THERE = 2**23, 2**28
# Of operations that torch.func carries out one example after the other. The numbers are right.
warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")


#: Sums of squares, of all tensors together (`squared`), or of each by itself: numbers, or arrays of them.
Squares: TypeAlias = Callable[[list[Tensor]], Any]


class GradientNoise(NamedTuple):
    """D of one replica and its standard error."""

    value: float
    error: float


def loss_and_accuracy(unit: Alone, examples: OnDevice, subset: Subset) -> NDArray[np.float64]:
    """Return the loss and the accuracy on a subset, and their standard errors, shape (4,).

    Accuracies are NaN where there are no classes. A loss that is not separable is that of the whole subset as
    one batch, its error that of `whole.values`.
    """
    loss, kept = unit.problem.loss, list[tuple[Tensor, Tensor]]()
    # Sums of losses and of right answers, and of their squares.
    total = torch.zeros(4, dtype=torch.float64, device=examples.device)
    with unit.evaluating(), torch.no_grad():
        # A loss of the whole subset needs all outputs.
        pieces = unit.shares if loss.separable else torch.split
        for piece in pieces(subset.index, examples.evaluated):
            heed()
            inputs, labels = unit.gather(piece, examples)
            outputs = unit.module(inputs)
            if loss.separable:
                losses = loss.each(outputs, labels).double()
                loss.require_mean(outputs, labels, losses)
                total[0] += losses.sum()
                total[2] += (losses**2).sum()
            else:
                kept.append((outputs, labels))
            if loss.classified:
                part = loss.right(outputs, labels)
                total[1] += part.sum()
                total[3] += (part**2).sum()
        total = unit.summed(total) if loss.separable else total
        n, left_out = len(subset), subset.left_out
        mean, accuracy, *squares = total.cpu().numpy()
        errors = [
            float(standard_error(s, q, n, left_out)) for s, q in zip((mean, accuracy), squares, strict=True)
        ]
        measured = np.array([mean / n, accuracy / n, *errors])
        if kept:
            measured[[0, 2]] = _of_whole(loss, kept, left_out)
    if not loss.classified:
        measured[[1, 3]] = math.nan
    return measured


def _of_whole(loss: Loss, kept: list[tuple[Tensor, Tensor]], left_out: float) -> tuple[float, float]:
    """Return the loss of all these outputs and labels as one batch, and its standard error."""
    outputs, labels = (torch.cat(parts) for parts in zip(*kept, strict=True))
    if left_out == 0:
        return float(loss.mean(outputs, labels)), 0.0
    total, each = whole.values(loss, outputs, labels)
    error = standard_error(each.sum(), (each**2).sum(), len(each), left_out)
    return total, float(error) if len(each) > 1 else math.nan


def standard_error(total: Any, squares: Any, n: Any, left_out: Any) -> NDArray[np.float64]:
    """Return the standard error of a mean over n of N values, NaN if there is one.

    Parameters
    ----------
    total, squares : array_like
        Sum of the values, and of their squares.
    n : array_like of int
    left_out : array_like
        1 − n/N.
    """
    # The losses of a run that diverges have squares that no number holds.
    with np.errstate(over="ignore", invalid="ignore"):
        scatter = np.maximum(squares - total**2 / n, 0.0)
        degrees = np.where(np.asarray(n) > 1, np.asarray(n) - 1, np.nan)
        return np.asarray(np.sqrt(scatter / degrees / n * left_out))


def squared(gradients: list[Tensor]) -> float:
    """Return Σ_i g_i²; the sum over the parameters' own sums is in double precision."""
    if gradients[0].device.type == "cuda":
        # In a few calls, and one wait.
        return float(torch.stack(torch._foreach_norm(gradients)).double().square().sum())
    return float(sum(torch.linalg.vector_norm(g).double() ** 2 for g in gradients))


def _added(sums: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    """Return sums with what is to be added, which is only read and may change afterwards."""
    if not more or more[0].device.type == "cuda":
        return list(torch._foreach_add(sums, more)) if sums else [g.clone() for g in more]
    return [s + g for s, g in zip(sums, more, strict=True)] if sums else more


def gradient_norm(unit: Alone, subset: Subset) -> tuple[float, float]:
    """Return |g| of a subset's mean gradient g, and |∇L|² of all examples, which may come out negative."""
    if subset.batches is not None:
        batched = _from_batches(unit, subset, squared, with_error=False)
        return float(batched.norm), batched.square
    total: list[Tensor] = []
    between, parts = 0.0, (subset.index,) if subset.whole else parts_of(subset.index)
    with unit.descending():
        for part in parts:
            sums: list[Tensor] = []
            for piece in torch.split(part, unit.examples.piece):
                heed()
                sums = _added(sums, unit.gradient(piece[None])[1])
            if len(parts) > 1:
                between += squared(sums) / len(part)
            total = _added(total, sums)
    # The unit divides by B.
    size, n, square = unit.problem.batch_size, len(subset), squared(total)
    return math.sqrt(square) * size / n, size**2 * unbiased(square, between, len(parts), n, subset.left_out)


def unbiased(square: Any, between: Any, parts: int, n: int, left_out: float) -> Any:
    """Return |G|² from |Σ_p s_p|² and Σ_p |s_p|²/n_p, s_p the sums of gradients over parts of a subset."""
    variance = (between - square / n) / (parts - 1) if parts > 1 else 0.0
    return square / n**2 - variance * left_out / n


def gradient_noise(unit: Alone, subset: Subset) -> GradientNoise:
    """Return D and its standard error, that of the subset as a sample of all examples."""
    dof = unit.layout.dof
    if subset.batches is not None:
        return GradientNoise(*noise_from_batches(unit, subset, squared, dof))
    value, parts = variances(unit, subset, squared)
    return noise_of_parts(value / dof, np.array(parts) / dof, subset.left_out)


def noise_of_parts(value: float, parts: NDArray[np.float64], left_out: float) -> GradientNoise:
    """Return D and its standard error, from that of a subset and those of its parts."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = parts.std(ddof=1) / math.sqrt(len(parts)) if len(parts) > 1 else math.nan
    return GradientNoise(value, 0.0 if left_out == 0 else float(error) * math.sqrt(left_out))


def parts_of(index: Tensor) -> tuple[Tensor, ...]:
    """Return the parts of a subset, shape (…, n), from whose scatter the error of D follows."""
    return index.tensor_split(max(1, min(PARTS, index.shape[-1] // 2)), dim=-1)


def per_sample(unit: Alone) -> Callable[[Tensor], list[Tensor]]:
    """Return what gives the gradients of single examples, (n, …) for each parameter, by their index, (n,)."""
    weights = [p.detach() for p in unit.module.parameters() if p.requires_grad]

    def loss(weights: list[Tensor], inputs: Tensor, label: Tensor) -> Tensor:
        outputs = unit.problem.arithmetic.passed(unit.layout.call, unit.module, weights, inputs[None])
        return unit.problem.loss.mean(outputs, label[None])

    together = vmap(grad(loss), in_dims=(None, 0, 0))

    def each(piece: Tensor) -> list[Tensor]:
        if unit.problem.traits.vectorises:
            return list(together(weights, *unit.examples.gather(piece)))
        rows = [of_batch(unit.by_itself, example) for example in torch.split(piece, 1)]
        # The unit divides by B.
        return [torch.stack(same) * unit.problem.batch_size for same in zip(*rows, strict=True)]

    return each


def zeros(unit: Alone) -> list[Tensor]:
    """Return zeros in double precision, with the shapes of the parameters."""
    return [w.new_zeros(w.shape, dtype=torch.float64) for w in unit.layout.views(unit.weights[0])]


def of_batch(unit: Alone, piece: Tensor) -> list[Tensor]:
    """Return the gradient of a mini-batch, from the buffers that the unit has."""
    if not unit.problem.traits.remembers:
        return unit.of_batch(piece)
    with unit.scratch_buffers():
        return unit.of_batch(piece)


def variances(unit: Alone, subset: Subset, squares: Squares) -> tuple[Any, list[Any]]:
    """Return S² of a subset, and those of its parts, by per-sample gradients."""
    room = HELD_THERE if unit.weights.device.type == "cuda" else HELD
    gradients_of, held = per_sample(unit), max(1, room // unit.layout.dof)
    values, total, totals = [], 0.0, zeros(unit)
    with unit.descending(), unit.plain():
        for part in parts_of(subset.index):
            square, sums = 0.0, zeros(unit)
            for piece in unit.shares(part, held):
                heed()
                gradients = gradients_of(piece)
                square = square + squares(gradients)
                for own, g in zip(sums, gradients, strict=True):
                    own += g.sum(0)
            square, sums = unit.added(square, sums, squares)
            values.append(_variance(square, squares(sums), len(part)))
            total, totals = total + square, _added(totals, sums)
    return _variance(total, squares(totals), len(subset)), values


def _variance(squares: Any, square: Any, n: int) -> Any:
    """Return S² from Σ|g|² and |Σ g|² over n examples, NaN of one."""
    return (squares - square / n) / (n - 1) if n > 1 else math.nan * squares


class _Batches(NamedTuple):
    """What T rounds of K mini-batches give.

    Attributes
    ----------
    pairs, error
        Half of the mean square difference of the gradients of two batches, and its error.
    norm, square
        Of the mean gradient of all these batches; |G|², which may come out negative.
    """

    pairs: Any
    error: Any
    norm: Any
    square: Any


def _from_batches(unit: Alone, subset: Subset, squares: Squares, with_error: bool) -> _Batches:
    assert subset.batches is not None
    rounds, each, _ = subset.batches.shape
    values, errors, total = [], [], list[Tensor]()
    all_squares, own_squares = 0.0, 0.0
    with unit.scratch_buffers():
        for own in subset.batches:
            square, sums = 0.0, list[Tensor]()
            for piece in own:
                heed()
                g = of_batch(unit, piece)
                square, sums = square + squares(g), _added(sums, g)
            of_sum = squares(sums)
            all_squares, own_squares, total = all_squares + square, own_squares + of_sum, _added(total, sums)
            if each > 1:
                values.append(_of_pairs(square, of_sum, each))
            if with_error and rounds == 2 and each > 2:
                errors.append(_left_out(unit, own, sums, square, squares))
        if with_error and each == 1 < rounds:
            batches = subset.batches.flatten(0, 1)
            errors.append(_left_out(unit, batches, total, all_squares, squares))
    if rounds == 1:
        # The whole set is one batch.
        return _Batches(math.nan, math.nan, np.sqrt(own_squares), own_squares)
    of_total = squares(total)
    norm = np.sqrt(of_total) / (rounds * each)
    mean = (of_total - own_squares) / (rounds * (rounds - 1) * each**2)
    if each == 1:
        pairs = _of_pairs(all_squares, of_total, rounds)
        return _Batches(pairs, errors[0] if errors else math.nan, norm, mean)
    with np.errstate(over="ignore", invalid="ignore"):
        if not errors:
            error = np.std(values, axis=0, ddof=1) / math.sqrt(rounds)
        elif isinstance(errors[0], float):
            error = math.hypot(*errors) / rounds
        else:
            error = np.sqrt(np.sum(np.square(errors), axis=0)) / rounds
    return _Batches(np.mean(values, axis=0), error, norm, mean)


def _of_pairs(squares: Any, square: Any, count: int) -> Any:
    """Return half of the mean square difference of `count` gradients, from Σ|g|² and |Σ g|²."""
    return (squares - square / count) / (count - 1)


def _left_out(unit: Alone, batches: Tensor, sums: list[Tensor], total: Any, squares: Squares) -> Any:
    """Return the error of `_of_pairs` by leaving out each batch; gradients are computed again, not held."""
    values, count = [], len(batches)
    for piece in batches:
        heed()
        g = of_batch(unit, piece)
        rest = squares([s - own for s, own in zip(sums, g, strict=True)])
        values.append(_of_pairs(total - squares(g), rest, count - 1))
    with np.errstate(over="ignore", invalid="ignore"):
        scatter = np.sum((np.array(values) - np.mean(values, axis=0)) ** 2, axis=0)
        return np.sqrt((count - 1) / count * scatter)


def noise_from_batches(unit: Alone, subset: Subset, squares: Squares, weights: int) -> tuple[Any, Any]:
    """Return S² over so many weights and its error, from rounds of disjoint batches; NaN of one batch."""
    assert subset.batches is not None
    _, disjoint, size = subset.batches.shape
    if size >= subset.population:
        return math.nan, math.nan
    batched = _from_batches(unit, subset, squares, with_error=True)
    scale = size / weights / (1.0 if disjoint > 1 else 1 - size / subset.population)
    return scale * batched.pairs, scale * batched.error
