"""The fused convolution against torch: values, gradients, ties, layouts, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from langevin.systems.compiling import host_has
from langevin.systems.networks.kernels.convolution import ConvPool
from langevin.systems.networks.kernels.pooled_forward import group_size
from langevin.systems.networks.nets.modules import SmallNet


def layer(before: int, after: int, kernel: int, padding: int = 0, seed: int = 0) -> ConvPool:
    torch.manual_seed(seed)
    made = ConvPool(before, after, kernel, padding)
    made.compiled = True
    return made


def plain(x: Tensor, made: ConvPool, weight: Tensor, bias: Tensor) -> Tensor:
    """As torch users write it: pooled after the ReLU."""
    return F.max_pool2d(F.relu(F.conv2d(x, weight, bias, padding=made.padding)), 2)


def output_and_gradients(
    made: ConvPool, x: Tensor, g: Tensor, dtype: torch.dtype | None = None
) -> list[Tensor]:
    """Output, and gradients of image, weight and bias, in double precision; compiled without a dtype."""
    if dtype is None:
        x = x.detach().requires_grad_()
        inputs = [x, made.weight, made.bias]
        y = made(x)
    else:
        inputs = [t.detach().to(dtype).requires_grad_() for t in (x, made.weight, made.bias)]
        y = plain(inputs[0], made, *inputs[1:])
    return [t.detach().double() for t in (y, *torch.autograd.grad(y, inputs, g.to(y.dtype)))]


def gradient_away_from_kinks(made: ConvPool, x: Tensor, margin: float) -> Tensor:
    """Random gradient of the output, zero where changes by `margin` may make another pixel the largest."""
    sums = F.conv2d(x.double(), made.weight.double(), made.bias.double(), padding=made.padding)
    windows = sums.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    first, second = windows.topk(2).values.unbind(-1)
    clear = torch.minimum(first - second, first.abs()) > margin
    return torch.randn(clear.shape) * clear


@pytest.mark.parametrize(
    ("samples", "channels", "side", "filters", "padding"),
    [(40, 3, 32, 10, 0), (40, 10, 14, 20, 0), (40, 1, 28, 6, 2), (40, 6, 14, 16, 0)],
    ids=["small_net 1", "small_net 2", "lenet 1", "lenet 2"],
)
def test_errors_are_no_larger_than_twice_torchs_own(
    samples: int, channels: int, side: int, filters: int, padding: int
) -> None:
    # Without fused multiplication and addition products are rounded, too: twice as many roundings.
    factor = 2 if host_has("fma") else 4
    made = layer(channels, filters, 5, padding)
    x = torch.randn(samples, channels, side, side)
    # The sums of a window err by 1e-5 at most.
    g = gradient_away_from_kinks(made, x, 1e-4)
    exact = output_and_gradients(made, x, g, torch.float64)
    single = output_and_gradients(made, x, g, torch.float32)
    for ours, theirs, true in zip(output_and_gradients(made, x, g), single, exact, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - true).abs().max() <= factor * (theirs - true).abs().max()
        assert (ours - true).norm() <= factor * (theirs - true).norm()


@st.composite
def problems(draw: st.DrawFn) -> tuple[ConvPool, Tensor, Tensor]:
    """A layer, images and a gradient of small integers: float32 makes no error, and ties are frequent."""
    kernel = draw(st.sampled_from([5, 5, 1, 3, 6, 7, 11]))
    padding = draw(st.integers(0, kernel // 2))
    sides = [kernel + 1 - 2 * padding + draw(st.integers(0, 7)) for _ in range(2)]
    samples, channels, filters = draw(st.integers(1, 37)), draw(st.integers(1, 18)), draw(st.integers(1, 13))
    made = layer(channels, filters, kernel, padding)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))

    def integers(*shape: int) -> Tensor:
        return torch.randint(-1, 2, shape, generator=generator).float()

    with torch.no_grad():
        made.weight.copy_(integers(*made.weight.shape))
        made.bias.copy_(integers(filters))
    x = integers(samples, channels, *(max(1, side) for side in sides))
    g = integers(samples, filters, *((n + 2 * padding - kernel + 1) // 2 for n in x.shape[2:]))
    return made, x, g


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems())
def test_integers_give_exactly_what_torch_gives(problem: tuple[ConvPool, Tensor, Tensor]) -> None:
    """Any shape; the first of equal maxima gets the gradient, a maximum of zero none."""
    found, expected = (output_and_gradients(*problem, dtype) for dtype in (None, torch.float64))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_ties_and_zeros() -> None:
    made = layer(1, 1, 1)
    with torch.no_grad():
        made.weight.fill_(1.0)
        made.bias.zero_()
    x = torch.zeros(1, 1, 2, 8)
    x[0, 0, 1, :2] = 1.0  # two equal in the second row
    x[0, 0, :, 3] = 2.0  # two equal in the second column
    x[0, 0, :, 6:] = -1.0  # none alive; the window at 4 is zero throughout
    _, dx, _, db = output_and_gradients(made, x, torch.ones(1, 1, 1, 4))
    expected = torch.zeros(2, 8, dtype=torch.float64)
    expected[1, 0] = expected[0, 3] = 1.0
    torch.testing.assert_close(dx[0, 0], expected)
    assert db.item() == 2.0


def test_finite_differences() -> None:
    """The layer is linear between kinks: a central difference errs by rounding alone, 2e-7 |g| / 2e-3."""
    made = layer(2, 3, 5)
    x, step = torch.randn(5, 2, 11, 12), 1e-3
    g = gradient_away_from_kinks(made, x, 0.03)
    _, dx, dw, db = output_and_gradients(made, x, g)

    def loss(x: Tensor) -> float:
        return float((made(x).double() * g).sum())

    for tensor, slope in ((x, dx), (made.weight, dw), (made.bias, db)):
        direction = torch.randn(tensor.shape) / tensor.numel() ** 0.5
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor += sign * step * direction
                ends.append(loss(x))
                tensor -= sign * step * direction
        expected = float((slope * direction).sum())
        assert abs((ends[0] - ends[1]) / (2 * step) - expected) < 1e-3 * float(g.norm())


def test_a_diverged_weight_is_not_hidden() -> None:
    made = layer(2, 4, 5)
    x = torch.randn(20, 2, 9, 9)
    x[3, 1, 4, 4] = x[18, 0, 7, 7] = torch.nan  # in all sums, and in the last of one window
    with torch.no_grad():
        torch.testing.assert_close(made(x), plain(x, made, made.weight, made.bias), equal_nan=True)


@pytest.mark.parametrize("padding", [0, 1])
def test_layouts_do_not_matter(padding: int) -> None:
    """What a layer returns, copies and slices of it, channels-last: the same bits."""
    first, second = layer(3, 10, 5), layer(10, 5, 5, padding)
    h = first(torch.randn(40, 3, 20, 20)).detach()
    assert not h.is_contiguous()
    g = torch.randn_like(second(h))
    expected = output_and_gradients(second, h.contiguous(), g)
    for other in (h, h.contiguous(memory_format=torch.channels_last)):
        for a, b in zip(output_and_gradients(second, other, g), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    for part in (slice(5, 30), slice(3, 40), slice(0, 1)):
        y, dx, _, _ = output_and_gradients(second, h[part], g[part])
        torch.testing.assert_close(y, expected[0][part], rtol=0, atol=0)
        torch.testing.assert_close(dx, expected[1][part], rtol=0, atol=0)
    for strange in (g[:, :, :1, :1].expand(g.shape), g.transpose(2, 3)):
        a, b = (output_and_gradients(second, h, t) for t in (strange, strange.contiguous()))
        for left, right in zip(a, b, strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_threads_do_not_change_bits() -> None:
    made = [layer(3, 10, 5, seed=k) for k in range(4)]
    x, g = torch.randn(50, 3, 20, 20), torch.randn(50, 10, 8, 8)

    def work(k: int) -> list[Tensor]:
        return output_and_gradients(made[k % 4], x, g)

    alone = [work(k) for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(work, range(24))):
            for ours, expected in zip(found, alone[k % 4], strict=True):
                torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_the_start_is_that_of_conv2d() -> None:
    torch.manual_seed(3)
    ours = list(SmallNet((3, 32, 32), 10).parameters())
    torch.manual_seed(3)
    modules = [nn.Conv2d(3, 10, 5), nn.Conv2d(10, 20, 5), nn.Linear(500, 100), nn.Linear(100, 10)]
    theirs = [p for module in modules for p in module.parameters()]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_what_the_kernels_do_not_take_is_torchs() -> None:
    made = layer(3, 4, 5)
    for wrong in ((2, 2, 9, 9), (2, 3, 5, 9), (2, 3, 9)):
        with pytest.raises(RuntimeError):
            made(torch.randn(*wrong))
    assert made(torch.randn(0, 3, 9, 9)).shape == (0, 4, 2, 2)
    x = torch.randn(2, 3, 9, 9)
    assert made.double()(x.double()).dtype == torch.float64
    # torch.func cannot look into the kernels; the layer then has to be told.
    made.float().compiled = False
    torch.testing.assert_close(torch.func.vmap(made)(x[None])[0], made(x))


def test_only_first_derivatives() -> None:
    made = layer(1, 2, 3)
    x = torch.randn(1, 1, 6, 6, requires_grad=True)
    (dx,) = torch.autograd.grad((made(x) ** 2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_groups_of_channels_waste_little() -> None:
    for channels in range(4, 100):
        padded = channels + -channels % group_size(channels)
        assert padded <= 1.25 * channels


def test_the_default_type_does_not_matter() -> None:
    made, x = layer(2, 3, 5, padding=1), torch.randn(3, 2, 9, 9)
    expected = output_and_gradients(made, x, torch.ones(3, 3, 3, 3))
    torch.set_default_dtype(torch.float64)
    try:
        found = output_and_gradients(made, x, torch.ones(3, 3, 3, 3))
    finally:
        torch.set_default_dtype(torch.float32)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
