"""Compiled max(0, max-pool(convolution)) for networks with few channels, forward and backward.

Forward, max(0, ·) and the maximum over 2×2 windows commute, so a window's four sums are pooled in registers and
the dense output of the convolution is never stored.  The lanes are samples: images lie as (channel, line,
pixel, sample), so any shape and any number of channels fills the vectors.

Backward, a gradient g reaches one pixel of a window at most, and none where the maximum is not positive.  Such
an event (sample, channel o, position) gives, with P the patch below that pixel,

    dW_o += g P,    dP += g W_o :

a quarter of the dense operations, or less.  Images are turned to channels-last, where a kernel row of a patch
is contiguous.  Sums over the batch run in blocks of samples, float32 inside a block and float64 between them.

Every function is serial, releases the GIL and works on one thread's data only.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from .pooled_tiles import CHANNELS, DEAD, LANES, WIDTH, event_tile, pooled_tile, tag

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
# Samples per block of the backward pass: their images stay in the second-level cache.
BLOCK = 8
# Kernel rows of one tile of the weights' gradient, window rows of one of the input's: chosen for 5×5 kernels.
_ROWS, _WINDOW = 5, 6
_ROWS_TAG, _WINDOW_TAG = tag(_ROWS), tag(_WINDOW)
_LANES_TAG, _HALF_TAG = tag(LANES), tag(LANES // 2)
# Floats in a cache line.
_LINE = 16

_IMAGES = types.Array(types.float32, 4, "A")  # (sample, channel, line, pixel), any strides
_DENSE = types.Array(types.float32, 4, "C")
_VECTOR = types.Array(types.float32, 1, "C")
_CODES = types.Array(types.uint8, 5, "C")
_BACKWARD = _VECTOR(_IMAGES, _DENSE, _CODES, _IMAGES, types.int64, types.boolean, _DENSE, _VECTOR)


def group_size(channels: int) -> int:
    """Return the number of channels per `pooled_tile` that leaves the fewest empty places."""
    return min(CHANNELS, key=lambda size: -channels % size)


@numba.njit(**_OPTIONS)
def _aligned(size):
    """Zeros, shape (size,), that start on a cache line."""
    buffer = np.zeros(size + _LINE, np.float32)
    skip = _LINE - (np.int64(buffer.ctypes.data) // 4) % _LINE
    return buffer[skip : skip + size]


@numba.njit(types.void(_IMAGES, types.int64, types.Array(types.float32, 5, "C")), cache=True, **_OPTIONS)
def to_lanes(x, padding, out):
    """Copy images, framed by zeros, to blocks of samples as lanes.

    Parameters
    ----------
    x : ndarray, shape (samples, channels, height, width), float32
        Images, any strides.
    padding : int
        Width of the frame.
    out : ndarray, shape (blocks, channels, height + 2 padding, width + 2 padding, LANES), float32
        Written; lanes without a sample become zero.
    """
    samples, channels, height, width = x.shape
    for block in range(out.shape[0]):
        count = min(LANES, samples - block * LANES)
        if padding > 0 or count < LANES:
            out[block] = 0.0
        for c in range(channels):
            for line in range(height):
                for lane in range(count):
                    source = x[block * LANES + lane, c, line]
                    target = out[block, c, line + padding, padding : padding + width, lane]
                    for i in range(width):
                        target[i] = source[i]


@numba.njit(**_OPTIONS)
def _grouped(w, bias, size):
    """Weights as (group, input channel, row, column, channel) and biases, zero beyond the last channel."""
    channels, inputs, rows, columns = w.shape
    groups = -(-channels // size)
    packed = np.zeros((groups, inputs, rows, columns, size), np.float32)
    shifts = np.zeros((groups, size), np.float32)
    for c in range(channels):
        shifts[c // size, c % size] = bias[c]
        packed[c // size, :, :, :, c % size] = w[c]
    return packed, shifts


@numba.njit(cache=True, **_OPTIONS)
def forward(x, samples, stride, w, bias, y, code, channels):
    """Compute max(0, max-pool(convolution + bias)) and remember where the maxima are.

    Parameters
    ----------
    x : uintp
        Address of the images, float32, lanes of samples innermost.
    samples : int
        Number of samples.
    stride : tuple of 4 int
        Floats between blocks of samples, channels, lines and pixels of `x`.
    w : ndarray, shape (outputs, inputs, rows, columns), float32
        Weights.
    bias : ndarray, shape (outputs,), float32
        Biases.
    y : ndarray, shape (groups * size, height, width, blocks * LANES), float32
        Written: the pooled maxima. Channels beyond the last and lanes without a sample are of no meaning.
    code : ndarray, shape (blocks, groups * size, height, width, LANES), uint8
        Written: the pixel 2 row + column of the maximum in its window, `DEAD` where it is not positive.
    channels : tuple
        `tag` of the size of a group, from `CHANNELS`.
    """
    size = len(channels)
    packed, shifts = _grouped(w, bias, size)
    inputs, steps = w.shape[1:], stride[1:]
    y_step, code_step = y[0].size, code[0, 0].size
    for block in range(code.shape[0]):
        half = samples - block * LANES <= LANES // 2
        for row in range(y.shape[1]):
            for group in range(packed.shape[0]):
                weights, shift = packed[group].ctypes.data, shifts[group].ctypes.data
                for column in range(y.shape[2]):
                    corner = block * stride[0] + 2 * (row * stride[2] + column * stride[3])
                    pixels = x + np.uintp(4 * corner)
                    maxima = y[group * size, row, column, block * LANES :].ctypes.data
                    which = code[block, group * size, row, column].ctypes.data
                    if half:
                        pooled_tile(
                            pixels, weights, shift, maxima, which,
                            inputs, steps, y_step, code_step, channels, _HALF_TAG,
                        )  # fmt: skip
                    else:
                        pooled_tile(
                            pixels, weights, shift, maxima, which,
                            inputs, steps, y_step, code_step, channels, _LANES_TAG,
                        )  # fmt: skip


@numba.njit(**_OPTIONS)
def _channels_last(x, first, count, padding, image):
    """Copy `count` images to (sample, line, pixel, channel) with a frame that is zero already."""
    _, channels, height, width = x.shape
    for line in range(height):
        for b in range(count):
            for c in range(channels):
                source = x[first + b, c, line]
                target = image[b, line + padding, padding : padding + width, c]
                for i in range(width):
                    target[i] = source[i]


@numba.njit(fastmath={"reassoc"}, **_OPTIONS)
def _sum(values):
    # Reassociation only lets the additions run in vector lanes.
    total = 0.0
    for value in values:
        total += value
    return total


@numba.njit(**_OPTIONS)
def _channel_events(code, g, c, first, image, jump, offsets, gradients):
    """List the events of channel c in a block: float of `image` where the patch starts, and gradient."""
    count, _, width, inputs = image.shape
    lane = first % LANES
    n = np.uintp(0)
    for row in range(g.shape[2]):
        for column in range(g.shape[3]):
            codes = code[first // LANES, c, row, column, lane : lane + count]
            values = g[first : first + count, c, row, column]
            start = 2 * (row * width + column) * inputs
            for b in range(count):
                # Written always, kept only if alive: no branch to predict.
                gradients[n] = values[b]
                offsets[n] = start + jump[codes[b]]
                start += image[0].size
                n += np.uintp(codes[b] < DEAD)
    return np.int64(n)


@numba.njit(**_OPTIONS)
def _add_to_weights(code, g, first, image, jump, events, partial, total, db):
    """Add one block's gradient of the weights, (output, row, (column, input)), and of the biases."""
    offsets, gradients = events
    line = image[0, 0].size
    for c in range(g.shape[1]):
        n = _channel_events(code, g, c, first, image, jump, offsets, gradients)
        partial[:] = 0.0
        for row in range(0, partial.shape[0], _ROWS):
            for at in range(0, partial.shape[1], WIDTH):
                source = image.ctypes.data + np.uintp(4 * (row * line + at))
                event_tile(
                    partial[row, at:].ctypes.data, partial.shape[1], source, line,
                    offsets.ctypes.data, gradients.ctypes.data, n, _ROWS_TAG,
                )  # fmt: skip
        total[c] += partial
        db[c] += _sum(gradients[:n])


@numba.njit(**_OPTIONS)
def _weight_windows(w, groups, tiles):
    """Weights as they act on a window of (rows + 1) × (columns + 1) pixels.

    Returns shape (groups, tiles, 2, outputs, _WINDOW + 1, WIDTH): by group of window rows, part of a window
    row, column of the maximum, output and row. The first row precedes the group: starting there means the
    lower row of the maximum, starting one later the upper one.
    """
    outputs, inputs, rows, columns = w.shape
    flat = _aligned(groups * tiles * 2 * outputs * (_WINDOW + 1) * WIDTH)
    windows = flat.reshape((groups, tiles, 2, outputs, _WINDOW + 1, WIDTH))
    for shift in range(2):
        for c in range(outputs):
            for k in range(columns):
                for i in range(inputs):
                    at = (shift + k) * inputs + i
                    tile, lane = at // WIDTH, at % WIDTH
                    for row in range(rows):
                        group, place = (row + 1) // _WINDOW, (row + 1) % _WINDOW
                        windows[group, tile, shift, c, place, lane] = w[c, i, row, k]
                        if place == 0:
                            windows[group - 1, tile, shift, c, _WINDOW, lane] = w[c, i, row, k]
    return windows


@numba.njit(**_OPTIONS)
def _window_events(code, g, first, jump, events, counts):
    """List the events of every window (position, sample) of a block: float of the windows, and gradient."""
    offsets, gradients = events
    outputs, count = g.shape[1], counts.shape[1]
    start = np.uintp(0)
    for row in range(g.shape[2]):
        for column in range(g.shape[3]):
            codes = code[first // LANES, :, row, column]
            for b in range(count):
                lane = first % LANES + b
                values = g[first + b, :, row, column]
                n = start
                for c in range(outputs):
                    k = codes[c, lane]
                    gradients[n] = values[c]
                    offsets[n] = jump[k] + c * ((_WINDOW + 1) * WIDTH)
                    n += np.uintp(k < DEAD)
                counts[row * g.shape[3] + column, b] = n - start
                start += np.uintp(outputs)


@numba.njit(**_OPTIONS)
def _add_to_images(windows, events, counts, width, shape, dx):
    """Add one block's gradient of the images, `dx` in floats of shape (sample, line, pixel, input)."""
    offsets, gradients = events
    outputs = windows.shape[3]
    sample, line, pixel = shape
    for group in range(windows.shape[0]):
        for tile in range(windows.shape[1]):
            source = windows[group, tile].ctypes.data
            at = group * _WINDOW * line + tile * WIDTH
            # Neighbouring windows overlap; other samples in between let the stores settle before they are read.
            for position in range(counts.shape[0]):
                corner = at + 2 * (position // width * line + position % width * pixel)
                for b in range(counts.shape[1]):
                    n = np.uintp((position * counts.shape[1] + b) * outputs)
                    event_tile(
                        dx.ctypes.data + np.uintp(4 * (corner + b * sample)), line, source, WIDTH,
                        offsets.ctypes.data + np.uintp(8) * n, gradients.ctypes.data + np.uintp(4) * n,
                        counts[position, b], _WINDOW_TAG,
                    )  # fmt: skip


@numba.njit(_BACKWARD, cache=True, **_OPTIONS)
def backward(x, w, code, g, padding, wanted, dw, db):
    """Compute the gradients of `forward`.

    Parameters
    ----------
    x : ndarray, shape (samples, inputs, height, width), float32
        Images, any strides.
    w : ndarray, shape (outputs, inputs, rows, columns), float32
        Weights.
    code : ndarray, uint8
        As `forward` left it.
    g : ndarray, shape (samples, outputs, pooled height, pooled width), float32
        Gradient of the output, any strides.
    padding : int
        Width of the frame of zeros around an image.
    wanted : bool
        Whether the gradient of the images is.
    dw, db : ndarray, shapes (outputs, inputs, rows, columns) and (outputs,), float32
        Written: gradients of weights and biases.

    Returns
    -------
    ndarray of float32
        Gradient of the framed images, (sample, line, pixel, input) and some floats more; empty if not wanted.
    """
    samples, inputs, height, width = x.shape
    outputs, _, rows, columns = w.shape
    height, width = height + 2 * padding, width + 2 * padding
    line = width * inputs
    sample = height * line
    # The tiles of the last patch reach beyond its image.
    beyond = _WINDOW * line + WIDTH
    flat = _aligned(BLOCK * sample + beyond)
    images = flat[: BLOCK * sample].reshape((BLOCK, height, width, inputs))
    offsets = np.empty(g.shape[2] * g.shape[3] * BLOCK * outputs + 1, np.int64)
    events = offsets, np.empty(offsets.size, np.float32)
    patch = np.array([0, inputs, line, line + inputs, 0])
    partial = np.zeros((-(-rows // _ROWS) * _ROWS, -(-columns * inputs // WIDTH) * WIDTH), np.float32)
    total = np.zeros((outputs, partial.shape[0], partial.shape[1]))
    biases = np.zeros(outputs)
    right = outputs * (_WINDOW + 1) * WIDTH
    corner = np.array([WIDTH, right + WIDTH, 0, right, 0])
    tiles = -(-(columns + 1) * inputs // WIDTH)
    windows = _weight_windows(w, -(-(rows + 1) // _WINDOW), tiles)
    counts = np.empty((g.shape[2] * g.shape[3], BLOCK), np.int64)
    dx = np.zeros(samples * sample + beyond if wanted else 0, np.float32)
    for first in range(0, samples, BLOCK):
        count = min(BLOCK, samples - first)
        _channels_last(x, first, count, padding, images)
        _add_to_weights(code, g, first, images[:count], patch, events, partial, total, biases)
        if wanted:
            here = dx[first * sample :]
            _window_events(code, g, first, corner, events, counts[:, :count])
            _add_to_images(windows, events, counts[:, :count], g.shape[3], (sample, line, inputs), here)
    for c in range(outputs):
        db[c] = biases[c]
        for row in range(rows):
            for k in range(columns):
                for i in range(inputs):
                    dw[c, i, row, k] = total[c, row, k * inputs + i]
    return dx
