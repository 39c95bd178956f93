"""Forty images of 1×4×4 in three overlapping classes: what odd modules learn from."""

from __future__ import annotations

from typing import Any

import numpy as np

from langevin.config.keys import Section, key
from langevin.core.ensemble import Ensemble
from langevin.core.system import DataSet
from langevin.systems.networks.data.base import Data, Examples

CLASSES, SHAPE = 3, (1, 4, 4)


class TinyImages(DataSet):
    """Gaussian images; one sample."""

    class Parameters(Section):
        """What stands under [data]."""

        train: int = key("training examples", default=40, ge=1)
        test: int = key("test examples", default=20, ge=1)

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Return labelled images."""
        labels = rng.integers(CLASSES, size=count)
        means = np.random.default_rng(5).standard_normal((CLASSES, *SHAPE))
        images = 0.6 * means[labels] + rng.standard_normal((count, *SHAPE))
        return Examples(images.astype(np.float32), labels)

    def load(self, ensemble: Ensemble) -> Data:
        """Return the images, the same for every seed."""
        rng = np.random.default_rng(7)
        train, test = self.draw(rng, self.parameters.train), self.draw(rng, self.parameters.test)
        samples = np.unique(ensemble.sample).tolist()
        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        rows, test_rows = ({s: np.arange(len(part)) for s in samples} for part in (train, test))
        return Data("tiny_images", train, test, CLASSES, one, zero, rows, test_rows)
