r"""Gaussian mixtures in the shape of images: classes that overlap, with a known best accuracy.

Each class c has K prototypes μ_ck: images whose blocks of 4 × 4 pixels hold one standard normal number each.
An example of class c takes one of them at random, and noise of its own in every pixel:

    x = (μ_ck + σ η) / √(1 + σ²),        η standard normal,

so that a pixel has mean 0 and variance 1 over the disorder. No classifier of x does better than the largest
posterior, P(c | x) ∝ Σ_k exp(−|√(1 + σ²) x − μ_ck|² / 2σ²). Two prototypes are about √(2d) apart, d the
number of pixels: for a given overlap σ grows as √d. With the defaults (d = 784, K = 4, σ = 5) the best
accuracy is 99 %, but 2000 examples are not enough to find it. Trained on them by SGD until it knows them all,
logistic regression has some 60 % on new ones, a perceptron of 30 hidden units as many, a small convolutional
net 70 %; all learn gradually, over some thousand steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import key
from langevin.core.capabilities import ChecksSettings
from langevin.core.ensemble import Ensemble
from langevin.core.system import DataSet
from langevin.machine.memory import room_faults

from .base import Data, DataKeys, Examples

if TYPE_CHECKING:
    from langevin.config.settings import Settings

#: Name of a data set → shape of its images (channels, height, width), and its classes.
SHAPES = {
    "mnist": ((1, 28, 28), 10),
    "fashion_mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
}

#: Side of the blocks of equal pixels of a prototype: something that a convolution can average over.
BLOCK = 4


class Synthetic(DataSet, ChecksSettings):
    """Gaussian mixtures in the shape of images: nothing to download, each quenched sample its own."""

    class Parameters(DataKeys):
        """What stands under [data]."""

        like: Literal["mnist", "fashion_mnist", "cifar10", "cifar100"] = key(
            "data set whose shape and number of classes to take", default="mnist"
        )
        train: int = key("training examples of each quenched sample", default=2000, ge=1)
        test: int = key("test examples of each quenched sample", default=500, ge=1)
        noise: float = key(
            "standard deviation σ of a pixel around its prototype, whose pixels have variance 1",
            default=5.0,
            gt=0,
        )
        clusters: int = key("prototypes K of each class", default=4, ge=1)
        scaling: Literal["standard"] = key("drawn with mean 0 and variance 1", default="standard")

    shape: tuple[int, int, int]
    classes: int

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.shape, self.classes = SHAPES[parameters.like]

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield that the examples, or the prototypes, do not fit in memory."""
        keys = settings.data
        shape, classes = SHAPES[keys.like]
        images = settings.ensemble.samples * (keys.train + keys.test) + classes * keys.clusters
        said = f"data.train = {keys.train}, data.test = {keys.test}, data.clusters = {keys.clusters}"
        yield from room_faults(
            4.0 * math.prod(shape) * images, f"{said}, ensemble.samples = {settings.ensemble.samples}"
        )

    def prototypes(self, ensemble: Ensemble, sample: int) -> NDArray[np.float32]:
        """Return μ of a quenched sample, shape (classes, K, channels, height, width)."""
        channels, height, width = self.shape
        coarse = (self.classes, self.parameters.clusters, channels, height // BLOCK, width // BLOCK)
        drawn = ensemble.quenched("prototypes", sample).standard_normal(coarse, dtype=np.float32)
        return drawn.repeat(BLOCK, axis=3).repeat(BLOCK, axis=4)

    def examples(self, ensemble: Ensemble, sample: int, role: str, count: int) -> Examples:
        """Draw examples of a quenched sample; fewer are the beginning of more. Labels take turns.

        Parameters
        ----------
        ensemble : Ensemble
        sample : int
        role : str
            "data" for training, "test data" for test examples.
        count : int
        """
        noise, keys = self.parameters.noise, ensemble.quenched(f"{role}: cluster", sample)
        labels = np.arange(count) % self.classes
        clusters = keys.integers(self.parameters.clusters, size=count)
        inputs = ensemble.quenched(role, sample).standard_normal((count, *self.shape), dtype=np.float32)
        inputs *= np.float32(noise)
        inputs += self.prototypes(ensemble, sample)[labels, clusters]
        inputs /= np.float32(np.sqrt(1 + noise**2))
        return Examples(inputs, labels)

    def load(self, ensemble: Ensemble) -> Data:
        """Draw the examples of every quenched sample of the ensemble, one sample after the other."""
        keys, channels = self.parameters, self.shape[0]
        samples = sorted({int(s) for s in ensemble.sample})
        train, rows = self._joined(ensemble, samples, "data", keys.train)
        test, test_rows = self._joined(ensemble, samples, "test data", keys.test)
        one, zero = np.ones(channels, dtype=np.float32), np.zeros(channels, dtype=np.float32)
        attributes = {
            "source": f"drawn: Gaussian mixture like {keys.like}, the prototypes of each sample its own",
            "train_examples": str(keys.train),
            "test_examples": str(keys.test),
        }
        return Data("synthetic", train, test, self.classes, one, zero, rows, test_rows, attributes)

    def _joined(
        self, ensemble: Ensemble, samples: list[int], role: str, count: int
    ) -> tuple[Examples, dict[int, NDArray[np.int64]]]:
        parts = [self.examples(ensemble, s, role, count) for s in samples]
        inputs = np.concatenate([part.inputs for part in parts])
        labels = np.concatenate([part.labels for part in parts])
        rows = {s: np.arange(count) + i * count for i, s in enumerate(samples)}
        return Examples(inputs, labels), rows
