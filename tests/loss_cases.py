"""Losses of all kinds, and a small data set of four classes, some of them rare."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from langevin.config.keys import Section, key
from langevin.core.system import DataSet
from langevin.systems.networks.data.base import Data, Examples

WEIGHTS = [0.1, 0.7, 1.3, 1.9]


class Clouds(DataSet):
    """Points in the plane in four overlapping classes."""

    class Parameters(Section):
        """What stands under [data]."""

        train: int = key("training examples", default=40, ge=1)
        test: int = key("test examples", default=24, ge=1)
        targets: str = key('"class", "value", "values" or "none"', default="class")

    def __init__(self, parameters):
        self.parameters = parameters

    def draw(self, rng, count):
        share = (1.0 + np.arange(4)) ** -1.0
        labels = rng.choice(4, size=count, p=share / share.sum()).astype(np.int64)
        points = np.stack([np.cos(labels), np.sin(labels)], axis=1) + 0.5 * rng.standard_normal((count, 2))
        kind = self.parameters.targets
        if kind == "value":
            return Examples(points.astype(np.float32), (points[:, 0] * points[:, 1]).astype(np.float32))
        if kind == "values":
            both = np.stack([points.sum(1), points.prod(1), points[:, 0] ** 2], axis=1)
            return Examples(points.astype(np.float32), both.astype(np.float32))
        return Examples(points.astype(np.float32), None if kind == "none" else labels)

    def load(self, ensemble):
        keys, rng = self.parameters, np.random.default_rng(7)
        train, test = self.draw(rng, keys.train), self.draw(rng, keys.test)
        samples = sorted({int(s) for s in ensemble.sample})
        one = np.ones(2, np.float32)
        rows = {s: np.arange(keys.train) for s in samples}
        test_rows = {s: np.arange(keys.test) for s in samples}
        classes = 4 if keys.targets == "class" else 0
        return Data("clouds", train, test, classes, one, 0 * one, rows, test_rows)


def net(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 5), nn.Tanh(), nn.Linear(5, classes))


def positive(shape, classes):
    """Outputs between 0 and 1."""
    return nn.Sequential(nn.Linear(shape[0], classes), nn.Sigmoid())


def logarithms(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], classes), nn.LogSoftmax(-1))


# Means over examples.


def plain(outputs, labels, reduction):
    return F.cross_entropy(outputs, labels, reduction=reduction)


def smoothed(outputs, labels, reduction):
    return F.cross_entropy(outputs, labels, label_smoothing=0.1, reduction=reduction)


def focal(outputs, labels, reduction):
    each = F.cross_entropy(outputs, labels, reduction="none")
    each = (1 - torch.exp(-each)) ** 2 * each
    return each if reduction == "none" else each.mean()


def column(outputs, labels, reduction):
    """Values of shape (B, 1)."""
    each = F.cross_entropy(outputs, labels, reduction="none")[:, None]
    return each if reduction == "none" else each.mean()


def weighted_mean(outputs, labels, reduction):
    """Class weights, but divided by B: a mean over examples."""
    weights = torch.tensor(WEIGHTS, dtype=outputs.dtype, device=outputs.device)
    each = weights[labels] * F.cross_entropy(outputs, labels, reduction="none")
    return each if reduction == "none" else each.mean()


SEPARABLE = (plain, smoothed, focal, column, weighted_mean)

# Functions of the whole batch.


def weighted(outputs, labels, reduction):
    weights = torch.tensor(WEIGHTS, dtype=outputs.dtype, device=outputs.device)
    return F.cross_entropy(outputs, labels, weight=weights, reduction=reduction)


def single_weights(outputs, labels, reduction):
    """Weights that are of single precision: double precision is not known."""
    return F.cross_entropy(outputs, labels, weight=torch.tensor(WEIGHTS), reduction=reduction)


def ignoring(outputs, labels, reduction):
    """The rarest class is left out."""
    return F.cross_entropy(outputs, labels, ignore_index=3, reduction=reduction)


def summed(outputs, labels, reduction):
    return F.cross_entropy(outputs, labels, reduction="none" if reduction == "none" else "sum")


def negative(outputs, labels, reduction):
    """Values with the wrong sign."""
    each = F.cross_entropy(outputs, labels, reduction="none")
    return -each if reduction == "none" else each.mean()


def scalar(outputs, labels, reduction):
    """No values of examples."""
    return F.cross_entropy(outputs, labels)


def refusing(outputs, labels, reduction):
    if reduction == "none":
        raise NotImplementedError("no values of examples")
    return F.cross_entropy(outputs, labels)


def hardest(outputs, labels, reduction):
    """The mean over the half of the examples with the largest losses."""
    each = F.cross_entropy(outputs, labels, reduction="none")
    return each if reduction == "none" else each.topk(max(1, len(each) // 2)).values.mean()


def hardest_of_many(outputs, labels, reduction):
    """The same from fifteen examples on: there are none too few to see it."""
    each = F.cross_entropy(outputs, labels, reduction="none")
    return each if reduction == "none" else each.topk(min(len(each), 14)).values.mean()


def macro(outputs, labels, reduction):
    """The mean over the classes in a batch of the means of each."""
    each = F.cross_entropy(outputs, labels, reduction="none")
    if reduction == "none":
        return each
    return torch.stack([each[labels == k].mean() for k in labels.unique()]).mean()


def by_size(outputs, labels, reduction):
    each = F.cross_entropy(outputs, labels, reduction="none")
    return each if reduction == "none" else each.sum() / 10


def root(outputs, labels, reduction):
    each = F.cross_entropy(outputs, labels, reduction="none")
    return each if reduction == "none" else (each**2).mean().sqrt()


def contrast(outputs, labels, reduction):
    """Every example against the others of its batch; the mean is that of the values, for each batch."""
    direction = F.normalize(outputs, dim=1)
    other = F.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
    return F.cross_entropy(direction @ other.T, torch.arange(len(labels)), reduction=reduction)


def standardised(outputs, labels, reduction):
    """The mean over examples of outputs less those of the batch."""
    return F.cross_entropy(outputs - outputs.mean(0), labels, reduction=reduction)


def flooding(outputs, labels, reduction):
    """Not below 0.6 (Ishida et al. 2020): at the losses of a start it is a mean."""
    found = F.cross_entropy(outputs, labels, reduction=reduction)
    return found if reduction == "none" else (found - 0.6).abs() + 0.6


def above(outputs, labels, reduction):
    """The mean over the hard examples, if there are any: at a start all are hard."""
    each = F.cross_entropy(outputs, labels, reduction="none")
    hard = each[each > 0.7]
    if reduction == "none":
        return each
    return hard.mean() if len(hard) else each.mean()


def active(outputs, labels, reduction):
    """The mean over the terms that are active."""
    each = F.multi_margin_loss(outputs, labels, reduction="none")
    if reduction == "none":
        return each
    return each[each > 0].mean() if (each > 0).any() else each.sum()


WHOLE = (
    flooding,
    above,
    active,
    weighted,
    single_weights,
    ignoring,
    summed,
    negative,
    scalar,
    refusing,
    hardest,
    hardest_of_many,
    macro,
    by_size,
    root,
    contrast,
    standardised,
)

# No losses: what is said, beside the name.


def nothing(outputs, labels, reduction):
    return F.cross_entropy(outputs, labels) * float("nan")


def vector(outputs, labels, reduction):
    return F.cross_entropy(outputs, labels, reduction="none")


def number(outputs, labels, reduction):
    return 1.0


def too_many(outputs, labels, reduction):
    each = F.cross_entropy(outputs, labels, reduction="none")
    return torch.cat([each, each[:1]]) if reduction == "none" else each.mean()


def failing(outputs, labels, reduction):
    return F.cross_entropy(outputs, labels[:-1], reduction=reduction)


def noisy(outputs, labels, reduction):
    return F.cross_entropy(outputs + torch.randn_like(outputs), labels, reduction=reduction)


CALLS = []


def remembering(outputs, labels, reduction):
    """Another one at every call."""
    CALLS.append(1)
    return len(CALLS) * F.cross_entropy(outputs, labels, reduction=reduction)


def without_gradient(outputs, labels, reduction):
    each = (outputs.argmax(1) != labels).to(outputs.dtype)
    return each if reduction == "none" else each.mean()


def in_place(outputs, labels, reduction):
    with torch.no_grad():
        labels[labels == 3] = 0
    return F.cross_entropy(outputs, labels, reduction=reduction)


REFUSED = {
    nothing: "is nan",
    vector: 'gives shape .* for reduction = "mean"',
    number: 'gives float for reduction = "mean"',
    too_many: 'for reduction = "none"',
    failing: 'fails for outputs .*reduction = "mean": ValueError: ',
    noisy: "draws random numbers",
    remembering: "then .* for the same batch",
    without_gradient: "has no gradient",
    in_place: "in place",
}


# For real numbers and for inputs.


def squared(outputs, labels, reduction):
    each = (outputs - labels) ** 2
    return each if reduction == "none" else each.mean()


def gaussian(outputs, labels, reduction):
    """Mean and logarithm of the variance, two outputs for each number."""
    each = (outputs[:, 0] - labels) ** 2 * torch.exp(-outputs[:, 1]) / 2 + outputs[:, 1] / 2
    return each if reduction == "none" else each.mean()


def linear(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], classes))


def two_outputs(shape, classes):
    return nn.Linear(shape[0], 2)


def autoencoder(shape, classes):
    return nn.Sequential(nn.Linear(classes, 1), nn.Tanh(), nn.Linear(1, classes))
