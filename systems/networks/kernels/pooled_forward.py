"""Compiled forward pass of max(0, max-pool(convolution)) for networks with few channels.

max(0, ·) and the maximum over 2×2 windows commute, so a window's four sums are pooled in registers and the
dense output of the convolution is never stored. The lanes are samples: images lie as (channel, line, pixel,
sample), so any shape and any number of channels fills the vectors.

Everything is serial and releases the GIL.
"""

from __future__ import annotations

import numba
import numpy as np

from langevin.systems.compiling import fingerprint, njit

from . import pooled_tiles
from .pooled_tiles import CHANNELS, LANES, OPTIONS, float_at, pooled_tile, tag

# Half a vector serves a last block that is short.
_LANES_TAG, _HALF_TAG = tag(LANES), tag(LANES // 2)


def group_size(channels: int) -> int:
    """Return the number of channels per `pooled_tile` that leaves the fewest empty places."""
    return min(CHANNELS, key=lambda size: -channels % size)


@numba.njit(**OPTIONS)
def _to_lanes(x, step, count, padding, image):
    """Copy `count` images from address `x` on to samples as lanes, except for the frame."""
    channels, height, width, _ = image.shape
    pixel = np.uintp(4 * step[3])
    for c in range(channels):
        for line in range(height - 2 * padding):
            for b in range(count):
                source = x + np.uintp(4 * (b * step[0] + c * step[1] + line * step[2]))
                target = image[c, line + padding, padding:, b]
                for i in range(width - 2 * padding):
                    target[i] = float_at(source)
                    source += pixel


@numba.njit(**OPTIONS)
def _pool_block(x, count, steps, w, bias, y, code, channels):
    """Compute the pooled maxima of a block of images at address `x`, and their codes."""
    size, inputs = len(channels), w.shape[1:4]
    y_step, code_step = y.strides[0] // 4, code[0].size
    for row in range(code.shape[1]):
        for group in range(w.shape[0]):
            weights, biases = w[group].ctypes.data, bias[group * size :].ctypes.data
            for column in range(code.shape[2]):
                pixels = x + np.uintp(8 * (row * steps[1] + column * steps[2]))
                maxima = y[group * size, row, column].ctypes.data
                which = code[group * size, row, column].ctypes.data
                if count <= LANES // 2:
                    pooled_tile(
                        pixels, weights, biases, maxima, which,
                        inputs, steps, y_step, code_step, channels, _HALF_TAG,
                    )  # fmt: skip
                else:
                    pooled_tile(
                        pixels, weights, biases, maxima, which,
                        inputs, steps, y_step, code_step, channels, _LANES_TAG,
                    )  # fmt: skip


def _compile(version):
    @njit(**OPTIONS)
    def forward(x, samples, step, padding, image, w, bias, y, code, channels):
        """Compute max(0, max-pool(convolution + bias)) and remember where the maxima are.

        Parameters
        ----------
        x : int
            Address of the images, float32.
        samples : int
            Number of samples.
        step : tuple of 4 int
            Floats between samples, channels, lines and pixels of `x`.
        padding : int
            Width of the frame of zeros around an image.
        image : ndarray, shape (inputs, framed height, framed width, LANES), float32
            Room for a block of images, zero on entry. Without elements: the samples of `x` are innermost,
            LANES to a block, the last one filled up, and there is no frame.
        w : ndarray, shape (groups, inputs, rows, columns, size), float32
            Weights, the output channels in groups.
        bias : ndarray, shape (groups * size,), float32
            Biases.
        y : ndarray, shape (groups * size, height, width, blocks * LANES), float32
            Written: the pooled maxima. Lanes without a sample are of no meaning.
        code : ndarray, shape (blocks, groups * size, height, width, LANES), uint8
            Written: the pixel 2 row + column of the maximum in its window, 4 where it is not positive.
        channels : tuple
            `tag` of the size of a group, from `CHANNELS`.
        """
        if version == 0:
            return
        steps = step[1:]
        if image.size > 0:
            steps = image[0].size, image[0, 0].size, LANES
        for block in range(code.shape[0]):
            first = block * LANES
            count = LANES if first + LANES < samples else samples - first
            images = np.uintp(x) + np.uintp(4 * first * step[0])
            if image.size > 0:
                _to_lanes(images, step, count, padding, image)
                images = image.ctypes.data
            _pool_block(images, count, steps, w, bias, y[:, :, :, first:], code[block], channels)

    return forward


forward = _compile(fingerprint(__file__, pooled_tiles.__file__))
