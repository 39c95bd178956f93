r"""Whether outputs, labels and loss fit: tried at the start, with outputs of the module itself.

The trial is of a few real outputs and of labels in which every class occurs, some more often than others, so
that weights of classes, or a class that is ignored, show. With f the loss of a batch and ℓ its values for
`reduction="none"`, the loss is separable if, for the whole trial, for parts of it and for single examples,

    f(batch) = ⟨ℓ_i⟩,    f({i}) = ℓ_i,

to rounding: within 10⁻⁹ of its size in double precision, within 10⁻⁵ where the loss computes in single. If
not, or if there is no ℓ, it is a function of the whole batch (`whole`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.errors import FOREIGN, LangevinError, UserError, first_line

from ..data import base
from ..data.examples import OnDevice
from ..kernels.pointwise import protected
from ..nets.layout import generators, kept_generators
from ..nets.losses import DOMAINS, Loss
from ..nets.targets import Target

#: Real outputs in the trial; numbers of them that it may hold; examples that are tried alone.
REAL, NUMBERS, ALONE = 8, 2**20, 64
#: The trial holds two batches of B, so that what begins at some size shows; of at most so many examples.
MOST = 4096
#: Part of a loss by which two ways of computing it may differ.
SAME = {torch.float64: 1e-9}
COARSE = 1e-5
#: An output of a network that is sure.
FAR = 6.0
#: By which the sum of probabilities may miss 1.
ONE = 1e-3


def require_outputs(name: str, outputs: object, target: Target) -> int:
    """Return how many outputs a network has for each class, or for all numbers of an example.

    Parameters
    ----------
    name : str
        Of the network.
    outputs : Tensor
        Of two examples.
    target : Target

    Raises
    ------
    UserError
        If they are no tensor of floating point numbers, or their shape is not that of what they are compared
        with.
    """
    if not isinstance(outputs, Tensor):
        raise UserError(
            f"system: {name} gives a {type(outputs).__name__} as output; needed: one tensor of shape "
            f"{target.wanted}"
        )
    shape = tuple(outputs.shape)
    if target.classified:
        enough = shape[-1] == 1 if target.signed else shape[-1] >= target.classes
        fits = shape[:-1] == (2, *target.shape) and enough
    else:
        # A loss of the user's own may want more outputs than labels, or others.
        fits = outputs.ndim >= 1 and shape[0] == 2
    if not fits:
        raise UserError(
            f"system: {name} gives outputs of shape {shape} for a batch of 2; needed: {target.wanted}"
        )
    if not outputs.is_floating_point():
        raise UserError(f"system: {name} gives outputs of {outputs.dtype}; needed: floating point numbers")
    return shape[-1] if target.classified else max(1, outputs[0].numel())


def require_values(loss: Loss, data: base.Data) -> None:
    """Make sure that real numbers, or inputs, are such as the loss compares with.

    Raises
    ------
    UserError
    """
    domain = DOMAINS.get(loss.known, "any")
    if loss.classified or domain == "any":
        return
    for which, part in (("training", data.train), ("test", data.test)):
        whole: NDArray[np.generic] = part.inputs if part.labels is None else part.labels
        for first in range(0, len(whole), base.BLOCK):
            block: NDArray[np.generic] = whole[first : first + base.BLOCK]
            values = data.scaled(part.inputs[first : first + base.BLOCK]) if part.labels is None else block
            wrong = values[~_inside(domain, values)]
            if wrong.size:
                what = "inputs" if part.labels is None else "labels"
                raise UserError(
                    f"system.loss = {loss.name!r}: the {which} {what} must be {domain}; there is {wrong[0]:g}"
                )


def _inside(domain: str, values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return which values lie in a domain of `DOMAINS`."""
    x = np.asarray(values, dtype=np.float64)
    if domain == "≥ 0":
        return np.asarray(x >= 0)
    if domain == "between 0 and 1":
        return np.asarray((x >= 0) & (x <= 1))
    if domain == "−1 or 1":
        return np.asarray(np.abs(x) == 1)
    of_sum_one = np.abs(x.sum(axis=-1, keepdims=True) - 1) < ONE
    return np.asarray((x >= 0) & of_sum_one)


def trial(loss: Loss, module: nn.Module, examples: OnDevice, data: base.Data, size: int) -> None:
    """Find out whether the loss is separable, and set it so; make sure that it is a loss at all.

    Parameters
    ----------
    loss : Loss
    module : Module
        In training mode, as it is left.
    examples : OnDevice
        The training set, of `data`.
    data : Data
    size : int
        Examples B in a batch.

    Raises
    ------
    UserError
        If the loss fails, gives no number, or not the same twice, has no gradient, or changes what it is
        given; or if outputs are no probabilities where it takes them for such.
    """
    require_values(loss, data)
    index = torch.arange(min(REAL, len(examples)), device=examples.inputs.device)
    inputs, labels = examples.gather(index)
    module.eval()
    try:
        with torch.no_grad(), protected(module):
            real = module(inputs)
    finally:
        module.train()
    name = type(module).__name__
    if loss.known and not loss.classified and real[0].numel() != loss.target.numbers:
        raise UserError(
            f"system: {name} gives outputs of shape {(2, *real.shape[1:])} for a batch of 2; needed: "
            f"{loss.target.wanted}"
        )
    outputs, labels = _tried(real, labels, data, min(2 * size, MOST))
    with kept_generators():
        f = _Checked(loss, name)
        f.require_gradient(outputs, labels)
        f.number(*_some(outputs, labels, min(size, len(outputs))))
        if loss.known in ("nll_loss", "kl_div") and loss.classified:
            _require_logarithms(loss, name, real)
        exact = f.in_double(outputs, labels)
        loss.separable = f.is_separable(*exact if exact is not None else (outputs, labels))
        if loss.separable and not loss.known:
            loss.separable = f.is_separable_elsewhere(*exact if exact is not None else (outputs, labels))


def _tried(real: Tensor, labels: Tensor, data: base.Data, least: int) -> tuple[Tensor, Tensor]:
    """Return outputs, real ones in turn, and labels of the trial: all that are to be met, or the extremes.

    At least so many, if they do not take too much memory.
    """
    own = data.train.labels
    most = max(REAL, NUMBERS // max(1, real[0].numel()))
    least = min(most, max(4, least))
    if own is None:
        row = torch.arange(max(len(real), least), device=real.device) % len(real)
        return real[row], labels[row]
    if own.dtype.kind == "i":
        classes = np.flatnonzero(np.bincount(own.ravel(), minlength=data.classes))
        # Each class, the first half of them once more, the first a third time.
        several = np.concatenate([classes, classes[: len(classes) // 2 + 1], classes[:1]])
        each = int(np.prod(own.shape[1:], dtype=np.int64))
        rows = min(most, max(least, -(-len(several) // each)))
        chosen = np.resize(several, (rows, *own.shape[1:]))
    else:
        order = np.argsort(own.reshape(len(own), -1)[:, 0], kind="stable")
        chosen = own[order[np.linspace(0, len(own) - 1, max(least, 4 * REAL)).round().astype(int)]]
    row = torch.arange(len(chosen), device=real.device) % len(real)
    return real[row], torch.from_numpy(chosen).to(labels)


def _some(outputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return outputs[:count], labels[:count]


def _require_logarithms(loss: Loss, name: str, outputs: Tensor) -> None:
    """Make sure that outputs are logarithms of probabilities."""
    total = outputs.double().exp().sum(-1)
    worst = float(total.flatten()[(total - 1).abs().argmax()])
    if abs(worst - 1) > ONE:
        raise UserError(
            f"system.loss = {loss.name!r}: needs logarithms of probabilities; those of {name} give "
            f"probabilities of sum {worst:.3g}; allowed: a last layer LogSoftmax, or cross_entropy"
        )


class _Checked:
    """A loss whose results are looked at before they are believed."""

    def __init__(self, loss: Loss, network: str) -> None:
        self.loss, self.network = loss, network

    def _refuse(self, what: str) -> UserError:
        return UserError(f"system.loss = {self.loss.name!r}: {what}, with outputs of {self.network}")

    def number(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch; it has to be a number, and to leave outputs and labels as they are."""
        given, before = (outputs.clone(), labels.clone()), generators()
        try:
            value = self.loss.mean(outputs, labels)
        except FOREIGN as error:
            said = f"{type(error).__name__}: {first_line(error)}"
            shapes = f"outputs {tuple(outputs.shape)} and labels {tuple(labels.shape)}"
            raise self._refuse(f'fails for {shapes}, reduction = "mean": {said}') from None
        if generators() != before:
            raise self._refuse("draws random numbers; allowed: a loss that follows from outputs and labels")
        if not isinstance(value, Tensor) or value.ndim:
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise self._refuse(f'gives {what} for reduction = "mean"; needed: a tensor that is one number')
        if not bool(torch.isfinite(value)):
            raise self._refuse(f'is {float(value)} for the first {len(outputs)} examples, reduction = "mean"')
        if not all(torch.equal(a, b) for a, b in zip(given, (outputs, labels), strict=True)):
            raise self._refuse("changes its outputs or labels in place; allowed: a loss that does not")
        return value.detach()

    def require_gradient(self, outputs: Tensor, labels: Tensor) -> None:
        """Make sure that the loss is a function, without memory or noise, and has a gradient."""
        with torch.no_grad():
            first, second = (self.number(outputs, labels) for _ in range(2))
        if not torch.equal(first, second):
            raise self._refuse(f"gives {float(first):.9g}, then {float(second):.9g} for the same batch")
        leaf = outputs.detach().requires_grad_()
        if not self.loss.mean(leaf, labels).requires_grad:
            raise self._refuse("has no gradient; allowed: losses that torch can differentiate")

    def is_separable_elsewhere(self, outputs: Tensor, labels: Tensor) -> bool:
        """Return whether the loss is separable at outputs that training may lead to, too.

        What begins at a threshold (flooding, hard examples alone, terms that are active) does not show at the
        outputs of a start. Outputs for which the loss is not known say nothing.
        """
        states = [0.1 * outputs, 10 * outputs]
        if self.loss.classified:
            right = torch.nn.functional.one_hot(labels, outputs.shape[-1]).to(outputs)
            states += [FAR * right, FAR * right.roll(1, -1)]
        elif outputs.shape == labels.shape:
            states += [labels + 0.01 * outputs, labels - 0.01 * outputs]
        mixed = torch.stack([states[k % len(states)][k] for k in range(len(outputs))])
        return all(
            self.is_separable(state, labels) for state in (*states, mixed) if self._knows(state, labels)
        )

    def _knows(self, outputs: Tensor, labels: Tensor) -> bool:
        try:
            return bool(torch.isfinite(self.loss.mean(outputs, labels)))
        except FOREIGN:
            return False

    def in_double(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the trial in double precision, None if the loss does not know it."""
        exact = outputs.double(), labels.double() if labels.is_floating_point() else labels
        try:
            return exact if self.loss.mean(*exact).dtype == torch.float64 else None
        except FOREIGN:
            return None

    def is_separable(self, outputs: Tensor, labels: Tensor) -> bool:
        """Return whether the loss is the mean of what each example has alone."""
        try:
            each = self._each(outputs, labels)
            if each is None:
                return False
            n = len(each)
            same = _same(SAME.get(each.dtype, COARSE), each)
            starts = (0, n // 3, n // 2)
            parts = [slice(first, n) for first in starts] + [slice(0, few) for few in (2, 3, 10)]
            singles = sorted(set(np.linspace(0, n - 1, min(n, ALONE)).round().astype(int).tolist()))
            for part in [*parts, *(slice(i, i + 1) for i in singles)]:
                if len(each[part]) and not same(self.loss.mean(outputs[part], labels[part]), each[part]):
                    return False
        except LangevinError:
            raise
        except FOREIGN:
            # It needs more examples than these.
            return False
        return True

    def _each(self, outputs: Tensor, labels: Tensor) -> Tensor | None:
        """Return the values for reduction = "none", shape (n,); None if there are none."""
        n = len(outputs)
        try:
            values = self.loss._call(outputs, labels, "none")
        except FOREIGN:
            return None
        if not isinstance(values, Tensor) or values.ndim == 0:
            return None
        if values.numel() % n or (values.shape[0] != n and values.ndim > 1) or values.numel() == 0:
            raise self._refuse(
                f'gives shape {tuple(values.shape)} for reduction = "none" and {n} examples; needed: ({n},), '
                "or a loss that refuses it"
            )
        return self.loss.each(outputs, labels)


def _same(part: float, each: Tensor) -> Callable[[Tensor, Tensor], bool]:
    """Return what says whether a loss is the mean of some values, up to so much of their usual size."""
    size = float(each.detach().double().abs().mean())

    def same(loss: Tensor, values: Tensor) -> bool:
        mean = float(values.detach().double().mean())
        return abs(float(loss) - mean) <= part * (size + abs(mean))

    return same
