r"""Random views of images: batches of crops and mirror images, made on the device.

A view is a number from 0 to 161. Of a C×H×W image, padded by 4 pixels of value 0 on every side (black, where
images are bytes), it is a window of H×W, mirrored from left to right or not: 9·9·2 views, each as likely.
View 0 is the image itself.

An index of an augmented data set of P examples says both, example + P·view, so that a plain index means the
plain image: whoever measures sees these, and only batches of the dynamics have others.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.ensemble import Ensemble

from .examples import OnDevice

#: Pixels by which an image is padded.
PADDING = 4
#: Places of a window along one side.
SHIFTS = 2 * PADDING + 1
#: Views of an image.
VIEWS = 2 * SHIFTS**2
#: Steps, and numbers, that one stream gives at most.
BLOCK, NUMBERS = 256, 2**16


class Views:
    """The views of each step's batch: they follow from (seed, replica, step), as the batch does.

    They are given as P·view, to be added to the examples' indices.

    Parameters
    ----------
    examples : int
        P, of all replicas together.
    size : int
        Examples B in a batch, if all have as many; else 0.
    ensemble : Ensemble
    """

    def __init__(self, examples: int, size: int, ensemble: Ensemble) -> None:
        self.examples, self.size, self.ensemble = examples, size, ensemble
        #: Steps of one stream.
        self.steps = max(1, min(BLOCK, NUMBERS // size)) if size else 1
        self._kept: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def of(self, replica: int, step: int, count: int) -> NDArray[np.int64]:
        """Return the views of a step's batch of `count` examples, where sizes differ, shape (count,)."""
        return self.examples * self.ensemble.driving("view", replica, step).integers(VIEWS, size=count)

    def table(self, replica: int, first: int, last: int) -> NDArray[np.int64]:
        """Return the views of the steps first … last − 1, shape (steps, B)."""
        parts = [
            self._block(replica, number)[max(first - number * self.steps, 0) : last - number * self.steps]
            for number in range(first // self.steps, -(-last // self.steps))
        ]
        return np.concatenate([*parts, np.empty((0, self.size), np.int64)])

    def _block(self, replica: int, number: int) -> NDArray[np.int64]:
        """Return those of some steps in a row; the last block is kept."""
        known, drawn = self._kept.get(replica, (-1, np.empty((0, self.size), np.int64)))
        if known != number:
            stream = self.ensemble.driving("view", replica, number)
            drawn = self.examples * stream.integers(VIEWS, size=(self.steps, self.size))
            self._kept[replica] = (number, drawn)
        return drawn


class Augmented(OnDevice):
    """Images on a device, and their views: an index is example + P·view."""

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of the views `index`, whose shape leads theirs."""
        view = torch.div(index, len(self), rounding_mode="floor").reshape(-1)
        # On a GPU to look would be to wait.
        if index.device.type == "cpu" and not bool(view.any()):
            return super().gather(index)
        example = index.reshape(-1) - len(self) * view
        inputs, labels = self.rows(example)
        inputs = self.scaled(look(inputs, view.to(self.device, non_blocking=True)))
        return self.paired(inputs, labels, index.shape)


def look(images: Tensor, view: Tensor) -> Tensor:
    """Return the views of images.

    Parameters
    ----------
    images : Tensor, shape (n, C, H, W)
        Of any type.
    view : Tensor of int64, shape (n,)
        From 0 to 161: mirrored + 2 (9 dy + dx), with the window's place modulo 9, −4 … 4 pixels down and
        right.

    Returns
    -------
    Tensor, shape (n, C, H, W)
    """
    height, width = images.shape[-2:]
    down, right = (
        torch.remainder(shift + PADDING, SHIFTS)[:, None] - PADDING
        for shift in (view // (2 * SHIFTS), view // 2 % SHIFTS)
    )
    column = torch.arange(width, device=images.device)
    mirrored = torch.where((view % 2 == 1)[:, None], width - 1 - column, column)
    y, x = torch.arange(height, device=images.device) + down, mirrored + right
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    place = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None, :]
    taken = place.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    looks = images.flatten(2).gather(2, taken).view_as(images)
    return looks.mul_(inside[:, None])
