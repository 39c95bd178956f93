"""Compiled backward pass of max(0, max-pool(convolution)) for networks with few channels.

A gradient g reaches one pixel of a window at most, and none where the maximum is not positive. Each such
event (sample, channel o, position) gives, with P the patch below that pixel,

    dW_o += g P,    dP += g W_o :

a quarter of the dense operations, or less. Images are turned to channels-last, where a kernel row of a patch
is contiguous. Sums over the batch run in blocks of samples, float32 inside a block and float64 between them.

Everything is serial, in a fixed order, and releases the GIL. Memory comes from outside the compiled
functions, since numba compiles an allocation slowly.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from langevin.systems.compiling import fingerprint, njit

from . import pooled_tiles
from .pooled_tiles import DEAD, LANES, OPTIONS, WIDTH, event_tile, tag

# Samples per block, a divisor of LANES: their images stay in the second-level cache.
_BLOCK = min(8, LANES)
# Kernel rows of one tile of the weights' gradient, window rows of one of the images': chosen for 5×5 kernels.
_ROWS, _WINDOW = 5, 6
_ROWS_TAG, _WINDOW_TAG = tag(_ROWS), tag(_WINDOW)
# Images with more channels than this get pixels of whole vectors: more products, but no load crosses a cache
# line.
_UNPADDED = 8

_IMAGES = types.Array(types.float32, 4, "A")  # (sample, channel, line, pixel), any strides
_DENSE = types.Array(types.float32, 4, "C")


@numba.njit(**OPTIONS)
def _channels_last(x, first, padding, image):
    """Copy images from `first` on to (sample, line, pixel, channel), except for the frame."""
    for line in range(x.shape[2]):
        for b in range(image.shape[0]):
            for c in range(x.shape[1]):
                source = x[first + b, c, line]
                target = image[b, line + padding, padding:, c]
                for i in range(source.size):
                    target[i] = source[i]


@numba.njit(fastmath={"reassoc"}, forceinline=True, **OPTIONS)
def _sum(values, count):
    # Reassociation only lets the additions run in vector lanes.
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@numba.njit(**OPTIONS)
def _channel_events(code, g, c, first, image, jump, offsets, gradients):
    """List the events of channel c in a block: float of `image` where the patch starts, and gradient."""
    count, _, width, pitch = image.shape
    n = np.uintp(0)
    for row in range(g.shape[2]):
        for column in range(g.shape[3]):
            codes = code[first // LANES, c, row, column, first % LANES :]
            values = g[first:, c, row, column]
            start = 2 * (row * width + column) * pitch
            for b in range(count):
                # Written always, kept only if alive: no branch to predict.
                gradients[n] = values[b]
                offsets[n] = start + jump[codes[b]]
                start += image[0].size
                n += np.uintp(codes[b] < DEAD)
    return np.int64(n)


@numba.njit(**OPTIONS)
def _add_to_weights(code, g, first, image, jump, offsets, gradients, partial, total, db):
    """Add one block's gradient of the weights, (output, row, (column, input)), and of the biases."""
    line = image[0, 0].size
    rows, columns = partial.shape
    for c in range(g.shape[1]):
        n = _channel_events(code, g, c, first, image, jump, offsets, gradients)
        db[c] += _sum(gradients, n)
        for row in range(0, rows, _ROWS):
            for at in range(0, columns, WIDTH):
                pixels = image.ctypes.data + np.uintp(4 * (row * line + at))
                event_tile(
                    partial[row, at:].ctypes.data, columns, pixels, line,
                    offsets.ctypes.data, gradients.ctypes.data, n, _ROWS_TAG,
                )  # fmt: skip
        for row in range(rows):
            for at in range(columns):
                total[c, row, at] += partial[row, at]
                partial[row, at] = 0.0


@numba.njit(**OPTIONS)
def _fill_windows(w, windows):
    """Write the weights as they act on a window of (rows + 1) × (columns + 1) pixels.

    The shape of `windows`, zero on entry, is (groups, parts, 2, outputs, _WINDOW + 1, WIDTH): by group of
    window rows, part of a window row, column of the maximum, output and row. The first row precedes the
    group: to start there means the lower row of the maximum, to start one later the upper one.
    """
    outputs, inputs, rows, columns = w.shape
    for row in range(rows):
        group, place = (row + 1) // _WINDOW, (row + 1) % _WINDOW
        for shift in range(2):
            for k in range(columns):
                for i in range(inputs):
                    at = (shift + k) * inputs + i
                    for c in range(outputs):
                        value = w[c, i, row, k]
                        windows[group, at // WIDTH, shift, c, place, at % WIDTH] = value
                        if place == 0:
                            windows[group - 1, at // WIDTH, shift, c, _WINDOW, at % WIDTH] = value


@numba.njit(**OPTIONS)
def _window_events(code, g, first, jump, offsets, gradients, counts):
    """List the events of every window (position, sample) of a block: float of the windows, and gradient."""
    outputs = g.shape[1]
    last = first + _BLOCK if first + _BLOCK < g.shape[0] else g.shape[0]
    start, window = np.uintp(0), np.uintp(0)
    for row in range(g.shape[2]):
        for column in range(g.shape[3]):
            for b in range(first, last):
                codes, values = code[b // LANES, :, row, column, b % LANES], g[b, :, row, column]
                n = start
                for c in range(outputs):
                    k = codes[c]
                    gradients[n] = values[c]
                    offsets[n] = jump[k] + c * ((_WINDOW + 1) * WIDTH)
                    n += np.uintp(k < DEAD)
                counts[window] = n - start
                window += np.uintp(1)
                start += np.uintp(outputs)


@numba.njit(**OPTIONS)
def _add_to_images(windows, offsets, gradients, counts, shape, count, dx):
    """Add one block's gradient of the images from float address `dx` on, (sample, line, pixel, input)."""
    height, width, sample, line, pixel = shape
    for group in range(windows.shape[0]):
        for part in range(windows.shape[1]):
            source = windows[group, part].ctypes.data
            corner = dx + np.uintp(4 * (group * _WINDOW * line + part * WIDTH))
            window = np.uintp(0)
            # Neighbouring windows overlap: other samples in between let stores settle before they are read.
            for row in range(height):
                for column in range(width):
                    for b in range(count):
                        events = window * np.uintp(windows.shape[3])
                        event_tile(
                            corner + np.uintp(4 * (b * sample + 2 * (row * line + column * pixel))), line,
                            source, WIDTH,
                            offsets.ctypes.data + np.uintp(8) * events,
                            gradients.ctypes.data + np.uintp(4) * events,
                            counts[window], _WINDOW_TAG,
                        )  # fmt: skip
                        window += np.uintp(1)


def _compile(version):
    codes = types.Array(types.uint8, 5, "C")
    floats, numbers = types.Array(types.float32, 1, "C"), types.Array(types.int64, 1, "C")
    sums = [
        types.Array(kind, n, "C") for kind, n in ((types.float32, 2), (types.float64, 3), (types.float64, 1))
    ]
    windows = types.Array(types.float32, 6, "C")

    @njit(
        types.void(
            _IMAGES, _DENSE, codes, _IMAGES, types.int64,
            _DENSE, numbers, numbers, floats, *sums, numbers, windows, numbers, floats,
        ),
        **OPTIONS,
    )  # fmt: skip
    def backward(
        x, w, code, g, padding,
        image, patch, offsets, gradients, partial, total, db, corner, windows, counts, dx,
    ):  # fmt: skip
        """Compute the gradients of `forward`; see `gradients` for the first five arguments.

        Parameters
        ----------
        image : ndarray, shape (_BLOCK, framed height, framed width, pitch), float32
            Room for images, zero on entry, with one float per channel at least in a pixel, and behind it
            (_WINDOW + 1) lines that may be read.
        patch : ndarray, shape (5,), int64
            For each code, how many floats of `image` the patch starts after the first one of its window.
        offsets, gradients : ndarray, int64 and float32
            Room for _BLOCK * positions * outputs + 1 events.
        partial, total, db : ndarray
            Zero on entry. The gradients are returned in `total`, (output, row, (column, channel)), float64,
            and `db`, (output,), float64; `partial`, float32, is one output's share of a block.
        corner : ndarray, shape (5,), int64
            For each code, where in `windows` the weights of the first output start.
        windows, counts : ndarray
            Room for `_fill_windows`, zero on entry, and for _BLOCK * positions numbers.
        dx : ndarray, float32
            Gradient of the framed images, (sample, line, pixel, channel), zero on entry, and behind it
            (_WINDOW + 1) lines that may be read and written. Without elements: not wanted.
        """
        if version == 0:
            return
        inputs = x.shape[1]
        line = image.shape[2] * inputs
        shape = g.shape[2], g.shape[3], image.shape[1] * line, line, inputs
        if dx.size > 0:
            _fill_windows(w, windows)
        for first in range(0, x.shape[0], _BLOCK):
            count = _BLOCK if first + _BLOCK < x.shape[0] else x.shape[0] - first
            _channels_last(x, first, padding, image[:count])
            _add_to_weights(code, g, first, image[:count], patch, offsets, gradients, partial, total, db)
            if dx.size > 0:
                _window_events(code, g, first, corner, offsets, gradients, counts)
                here = dx[first * shape[2] :].ctypes.data
                _add_to_images(windows, offsets, gradients, counts, shape, count, here)

    return backward


_backward = _compile(fingerprint(__file__, pooled_tiles.__file__))


def _room(shape: tuple[int, ...], beyond: int) -> NDArray[np.float32]:
    """Return zeros that start on a cache line and have `beyond` more floats behind them."""
    size = math.prod(shape)
    buffer = np.zeros(size + beyond + 16, np.float32)
    skip = -(buffer.ctypes.data // 4) % 16
    return buffer[skip : skip + size].reshape(shape)


def gradients(
    x: NDArray[np.float32],
    w: NDArray[np.float32],
    code: NDArray[np.uint8],
    g: NDArray[np.float32],
    padding: int,
    wanted: bool,
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32], NDArray[np.float32]]:
    """Return the gradients of the images, of the weights and of the biases.

    Parameters
    ----------
    x : ndarray, shape (samples, inputs, height, width), float32
        Images, any strides.
    w : ndarray, shape (outputs, inputs, rows, columns), float32
        Weights, contiguous.
    code : ndarray, uint8
        As `forward` left it.
    g : ndarray, shape (samples, outputs, pooled height, pooled width), float32
        Gradient of the output, any strides.
    padding : int
        Width of the frame of zeros around an image.
    wanted : bool
        Whether the gradient of the images is; None if not.
    """
    samples, inputs, height, width = x.shape
    outputs, _, rows, columns = w.shape
    height, width = height + 2 * padding, width + 2 * padding
    pitch = inputs if inputs <= _UNPADDED else -(-inputs // WIDTH) * WIDTH
    beyond = (_WINDOW + 1) * width * pitch + WIDTH
    image = _room((_BLOCK, height, width, pitch), beyond)
    positions = _BLOCK * g.shape[2] * g.shape[3]
    offsets, values = (
        np.empty(positions * outputs + 1, np.int64),
        np.empty(positions * outputs + 1, np.float32),
    )
    partial = np.zeros((-(-rows // _ROWS) * _ROWS, -(-columns * pitch // WIDTH) * WIDTH), np.float32)
    total, db = np.zeros((outputs, *partial.shape)), np.zeros(outputs)
    patch = np.array([0, pitch, width * pitch, (width + 1) * pitch, 0])
    right = outputs * (_WINDOW + 1) * WIDTH
    corner = np.array([WIDTH, right + WIDTH, 0, right, 0])
    parts = -(-(columns + 1) * inputs // WIDTH)
    shape = -(-(rows + 1) // _WINDOW), parts, 2, outputs, _WINDOW + 1, WIDTH
    windows = _room(shape if wanted else (0, *shape[1:]), 0)
    dx = np.zeros(samples * height * width * inputs + beyond if wanted else 0, np.float32)
    counts = np.empty(positions, np.int64)
    _backward(
        x, w, code, g, padding, image, patch, offsets, values, partial, total, db, corner, windows, counts, dx
    )
    dw = total[:, :rows, : columns * pitch].reshape(outputs, rows, columns, pitch)[..., :inputs]
    dw, db = dw.transpose(0, 3, 1, 2).astype(np.float32, order="C"), db.astype(np.float32)
    if not wanted:
        return None, dw, db
    images = dx[: samples * height * width * inputs].reshape(samples, height, width, inputs)
    inside = images[:, padding : height - padding, padding : width - padding]
    return inside.transpose(0, 3, 1, 2), dw, db
