"""Sequences: tokens in, a class at every position or of the whole; nets for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from langevin.config.keys import Section, key
from langevin.core.system import DataSet
from langevin.systems.networks.data.base import Data, Examples


class Tokens(DataSet):
    """Cyclic sums of tokens: the class at a position is the sum of all tokens so far, modulo 3."""

    class Parameters(Section):
        """What stands under [data]."""

        train: int = key("training examples", default=40, ge=1)
        labels: str = key('"position", "whole" or "none"', default="position")

    def __init__(self, parameters):
        self.parameters = parameters

    def load(self, ensemble):
        rng, keys = np.random.default_rng(3), self.parameters
        parts = []
        for count in (keys.train, 24):
            inputs = rng.integers(5, size=(count, 4))
            labels = np.cumsum(inputs, axis=1) % 3
            which = {"position": labels, "whole": labels[:, -1].copy(), "none": None}
            parts.append(Examples(inputs, which[keys.labels]))
        rows = {int(s): np.arange(keys.train) for s in ensemble.sample}
        test_rows = {int(s): np.arange(24) for s in ensemble.sample}
        one = np.ones(1, np.float32)
        classes = 0 if keys.labels == "none" else 3
        return Data("tokens", *parts, classes, one, 0 * one, rows, test_rows, {}, 5)


class Reader(nn.Module):
    """torch's own GRU, which torch.func does not know; a class at every position."""

    def __init__(self, tokens, classes):
        super().__init__()
        self.embedding, self.gru = nn.Embedding(tokens, 3), nn.GRU(3, 4, batch_first=True)
        self.out = nn.Linear(4, classes)

    def forward(self, x):
        assert x.dtype == torch.int64
        return self.out(self.gru(self.embedding(x))[0])


class Bag(nn.Module):
    """A class of the whole, or of every position, from embeddings alone."""

    def __init__(self, tokens, classes, whole=False):
        super().__init__()
        self.embedding, self.out, self.whole = nn.Embedding(tokens, 3), nn.Linear(3, classes), whole

    def forward(self, x):
        assert x.dtype == torch.int64
        h = torch.tanh(self.embedding(x))
        return self.out(h.mean(1) if self.whole else h)


def own(outputs, labels, reduction):
    """As cross_entropy; its values are of every position."""
    each = nn.functional.cross_entropy(outputs.movedim(-1, 1), labels, reduction="none")
    return each if reduction == "none" else each.mean()


def weighted(outputs, labels, reduction):
    weights = torch.tensor([0.1, 1.0, 3.0], dtype=outputs.dtype)
    return nn.functional.cross_entropy(outputs.movedim(-1, 1), labels, weight=weights, reduction=reduction)


def perplexity(outputs, tokens, reduction):
    """Of nothing but the inputs: the first 3 tokens against the outputs."""
    each = nn.functional.cross_entropy(outputs.movedim(-1, 1), tokens % 3, reduction="none").mean(1)
    return each if reduction == "none" else each.mean()
