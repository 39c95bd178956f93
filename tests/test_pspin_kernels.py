"""Packed couplings and force kernel of the spherical p-spin model against plain formulas."""

from itertools import combinations, permutations
from math import comb, factorial, prod

import numpy as np
import pytest

from langevin.systems.pspin.couplings import ALIGNMENT, Couplings, layout, packed_bytes
from langevin.systems.pspin.kernels import ForceField, lane_widths

# A force component is a sum of comb(n-1, p-1) products in recursive float sums of at most a few hundred
# terms; with random signs the error of such a sum is about sqrt(terms) eps / 2 of the largest partial sum.
# float32: sqrt(400) * 6e-8 / 2 is 6e-7 rms, so 1e-5 of the largest component leaves room for tails.
# float64: the same with eps = 1.1e-16 is 1e-15.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
SIZES = [
    *((2, 2), (2, 9), (2, 150)),
    *((3, 3), (3, 5), (3, 10), (3, 24), (3, 37)),
    *((4, 4), (4, 9), (4, 19), (5, 11)),
]


def spins(replicas: int, n: int, seed: int = 5) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((replicas, n))
    return x * np.sqrt(n / np.sum(x**2, axis=1, keepdims=True))


def draw(p: int, n: int, samples: int = 1, dtype: type = np.float64) -> list[Couplings]:
    return [Couplings.draw(p, n, np.random.default_rng([7, k]), dtype=dtype) for k in range(samples)]


def streams(replicas: int) -> list[np.random.Generator]:
    return [np.random.default_rng([11, r]) for r in range(replicas)]


def dense_force(tensor: np.ndarray, x: np.ndarray) -> np.ndarray:
    """-dH/ds_i = sum of J_{i,i2,..,ip} s_i2 ... s_ip over i2 < ... < ip, from the full tensor."""
    p = tensor.ndim
    rows = []
    for s in x:
        contracted = tensor
        for _ in range(p - 1):
            contracted = contracted @ s
        rows.append(contracted / factorial(p - 1))
    return np.array(rows)


@pytest.mark.parametrize(("p", "n"), SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_force_matches_dense_tensor(p, n, dtype):
    couplings = draw(p, n, 2, dtype)
    tensors = [c.dense() for c in couplings]
    for replicas in (1, 2, 3, 4, 5, 10, 16, 17):
        x = spins(replicas, n)
        sample = np.arange(replicas) % 2
        expected = np.concatenate([dense_force(tensors[k], x[r : r + 1]) for r, k in enumerate(sample)])
        force = ForceField(couplings, sample, 1).force(x)
        assert force.dtype == np.float64
        assert np.max(np.abs(force - expected)) <= TOLERANCE[dtype] * np.max(np.abs(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_does_not_grow_with_size(dtype):
    """At n = 160 most terms are summed in blocks; the error must stay at the level of one block."""
    n = 160
    couplings = draw(3, n, 1, dtype)
    tensor = couplings[0].dense()
    for replicas in (1, 16):
        x = spins(replicas, n).astype(dtype).astype(np.float64)  # the rounding of the input is not at issue
        error = ForceField(couplings, np.zeros(replicas, int), 1).force(x) - dense_force(tensor, x)
        typical = np.sqrt(1.5)
        assert np.sqrt(np.mean(error**2)) < 10 * np.finfo(dtype).eps * typical


def test_energy_gradient():
    """Euler: sum_i s_i f_i = -p H, with H summed plainly."""
    c = draw(3, 12)[0]
    x = spins(1, 12)
    energy = -sum(
        j * prod(x[0, list(i)]) for j, i in zip(c.values(), combinations(range(12), 3), strict=True)
    )
    assert np.sum(x * ForceField([c], [0], 1).force(x)) == pytest.approx(-3 * energy, rel=1e-12)


@pytest.mark.parametrize(("p", "n"), SIZES)
def test_draw_is_lexicographic(p, n):
    c = draw(p, n)[0]
    rng = np.random.default_rng([7, 0])
    plain = [rng.standard_normal() for _ in combinations(range(n), p)]
    scale = np.sqrt(factorial(p) / (2 * n ** (p - 1)))
    np.testing.assert_allclose(c.values(), scale * np.array(plain), rtol=1e-15)
    tensor = c.dense()
    for indices, value in zip(list(combinations(range(n), p))[:50], c.values(), strict=False):
        assert {tensor[i] for i in permutations(indices)} == {value}


@pytest.mark.parametrize("p", [2, 3, 4])
def test_dense_is_symmetric_without_diagonal(p):
    n = 9
    c = draw(p, n)[0]
    tensor = c.dense()
    for order in permutations(range(p)):
        np.testing.assert_array_equal(tensor, tensor.transpose(order))
    assert np.count_nonzero(tensor) == factorial(p) * comb(n, p)


def test_generator_state_and_numbers_agree_between_dtypes():
    rngs = [np.random.default_rng(3), np.random.default_rng(3)]
    single = Couplings.draw(3, 30, rngs[0], dtype=np.float32)
    double = Couplings.draw(3, 30, rngs[1], dtype=np.float64)
    np.testing.assert_array_equal(single.values(), double.values().astype(np.float32))
    assert rngs[0].bit_generator.state == rngs[1].bit_generator.state


@pytest.mark.parametrize(("p", "n"), [(2, 300), (3, 64), (4, 32)])
def test_coupling_statistics(p, n):
    """Mean and variance within 5 standard errors: false alarm below 2e-6 each, and the seed is fixed."""
    values = draw(p, n)[0].values()
    variance = factorial(p) / (2 * n ** (p - 1))
    count = comb(n, p)
    assert abs(np.mean(values)) < 5 * np.sqrt(variance / count)
    assert abs(np.mean(values**2) / variance - 1) < 5 * np.sqrt(2 / count)


@pytest.mark.parametrize(("p", "n"), [(2, 40), (3, 20), (4, 14)])
def test_planted_mean(p, n):
    beta = 1.7
    sigma = spins(1, n, seed=2)[0]
    plain = Couplings.draw(p, n, np.random.default_rng(1), dtype=np.float64)
    planted = Couplings.draw(p, n, np.random.default_rng(1), dtype=np.float64, planted=sigma, beta=beta)
    variance = factorial(p) / (2 * n ** (p - 1))
    shift = [beta * variance * prod(sigma[list(i)]) for i in combinations(range(n), p)]
    np.testing.assert_allclose(planted.values() - plain.values(), shift, rtol=0, atol=1e-14)


def plain_steps(field, x, n_steps, dt, temperature, generators):
    n = x.shape[1]
    for _ in range(n_steps):
        x = x + dt * field.force(x)
        if temperature > 0:
            x = x + np.sqrt(2 * temperature * dt) * np.array([g.standard_normal(n) for g in generators])
        x = x * np.sqrt(n / np.sum(x**2, axis=1, keepdims=True))
    return x


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize(("p", "replicas"), [(2, 3), (3, 1), (3, 9), (4, 5)])
def test_steps_match_plain_loop(p, replicas, temperature):
    n = 21
    field = ForceField(draw(p, n, 2), np.arange(replicas) % 2, 1)
    x = spins(replicas, n)
    before = x.copy()
    expected = plain_steps(field, x, 30, 0.02, temperature, streams(replicas))
    end, force = field.steps(x, None, 30, 0.02, temperature, streams(replicas))
    np.testing.assert_array_equal(force, field.force(end))
    np.testing.assert_allclose(end, expected, atol=1e-12)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("replicas", [1, 17])
def test_steps_compose_bitwise(replicas):
    n = 40
    field = ForceField(draw(3, n, 1, np.float32), np.zeros(replicas, int), 1)
    x = spins(replicas, n)
    whole, _ = field.steps(x, None, 300, 0.02, 0.4, streams(replicas))
    rngs = streams(replicas)
    part, force = field.steps(x, None, 113, 0.02, 0.4, rngs)
    np.testing.assert_array_equal(whole, field.steps(part, force, 187, 0.02, 0.4, rngs)[0])


def test_many_chunks_of_noise_equal_single_steps(monkeypatch):
    """More steps than one noise buffer holds."""
    monkeypatch.setattr("langevin.systems.pspin.workspace._NOISE_BUFFER", 700)
    field = ForceField(draw(3, 20), [0, 0, 0, 0, 0], 1)
    x = spins(5, 20)
    rngs = streams(5)
    y = x
    for _ in range(25):
        y, _ = field.steps(y, None, 1, 0.05, 0.4, rngs)
    np.testing.assert_array_equal(field.steps(x, None, 25, 0.05, 0.4, streams(5))[0], y)


@pytest.mark.parametrize(
    ("n", "sample"),
    [
        (24, [0, 1, 1, 0, 0] * 4),  # groups side by side
        (130, [0] * 16),  # one group, threads share its slices
        (130, [0]),
        (130, [0, 1, 1]),  # some of both
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_change_bits(n, sample, dtype, monkeypatch):
    monkeypatch.setattr("langevin.systems.pspin.kernels._TEAM_WORK", 0)
    monkeypatch.setattr("langevin.systems.pspin.kernels._GROUP_WORK", 0)
    couplings = draw(3, n, 2, dtype)
    x = spins(len(sample), n)
    results = []
    for threads in (1, 2, 3):
        field = ForceField(couplings, sample, threads)
        force = field.force(x)
        sums = np.zeros((2, *x.shape))
        end, _ = field.steps(x, force, 7, 0.02, 0.4, streams(len(sample)), sums)
        results.append((force, end, sums))
        # With the sums and without: the same steps.
        np.testing.assert_array_equal(end, field.steps(x, force, 7, 0.02, 0.4, streams(len(sample)))[0])
    for found in results[1:]:
        for array, expected in zip(found, results[0], strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_replica_does_not_feel_the_batch(dtype):
    n = 31
    couplings = draw(3, n, 2, dtype)
    x = spins(17, n)
    together = ForceField(couplings, [0] * 16 + [1], 1).force(x)
    # Alone the replica takes another vector layout: equal up to rounding.
    for r in (0, 7):
        alone = ForceField(couplings, [0], 1).force(x[r : r + 1])[0]
        assert np.max(np.abs(alone - together[r])) <= TOLERANCE[dtype] * np.max(np.abs(alone))
    # In another lane, with other neighbours and another number of lanes: bitwise.
    order = np.array([3, 9, 16, 1, 0])
    other = ForceField(couplings, (order == 16).astype(int), 1).force(x[order])
    np.testing.assert_array_equal(other, together[order])


def test_a_diverged_replica_leaves_the_others_alone():
    n = 30
    field = ForceField(draw(3, n, 1, np.float32), [0] * 8, 1)
    x = spins(8, n)
    clean = field.force(x)
    broken = x.copy()
    broken[2] = np.nan
    keep = np.arange(8) != 2
    np.testing.assert_array_equal(field.force(broken)[keep], clean[keep])
    np.testing.assert_array_equal(field.force(x), clean)


def test_zero_temperature_consumes_no_numbers():
    rngs = streams(3)
    states = [g.bit_generator.state for g in rngs]
    field = ForceField(draw(3, 16), [0, 0, 0], 1)
    end, _ = field.steps(spins(3, 16), None, 5, 0.05, 0.0, rngs)
    assert [g.bit_generator.state for g in rngs] == states
    np.testing.assert_allclose(np.sum(end**2, axis=1), 16, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("p", "n"), SIZES)
def test_packed_bytes_is_exact(p, n, dtype):
    data = draw(p, n, 1, dtype)[0].data
    assert packed_bytes(p, n, dtype) == data.nbytes
    assert data.ctypes.data % ALIGNMENT == 0


def test_packed_size_is_near_the_number_of_couplings():
    assert packed_bytes(3, 384) <= 1.1 * 4 * comb(384, 3)
    assert packed_bytes(3, 128) <= 1.1 * 4 * comb(128, 3)


def test_slices_are_balanced_and_cover_all_blocks():
    for p, n in ((2, 1500), (3, 256), (4, 64)):
        place = layout(p, n)
        assert place.bounds[0] == 0
        assert place.bounds[-1] == len(place.table)
        work = np.diff(np.append(place.table[:, 0], place.size)[place.bounds])
        assert len(work) >= 4
        assert work.max() < 1.3 * work.mean()


@pytest.mark.parametrize("itemsize", [4, 8])
def test_lane_widths_cover_the_replicas(itemsize):
    for replicas in range(1, 60):
        widths = lane_widths(replicas, itemsize)
        assert replicas <= sum(widths) < replicas + max(widths)
        assert list(widths) == sorted(widths, reverse=True)


def test_wrong_arguments_are_refused():
    couplings = draw(3, 10, 2)
    field = ForceField(couplings, [0, 1], 1)
    x = spins(2, 10)
    for bad in (
        lambda: packed_bytes(1, 5),
        lambda: packed_bytes(3, 2),
        lambda: packed_bytes(3, 5, np.int32),
        lambda: Couplings.draw(3, 8, np.random.default_rng(), planted=np.ones(7)),
        lambda: Couplings(3, 10, np.zeros(5)),
        lambda: ForceField([], [0], 1),
        lambda: ForceField(couplings, [2], 1),
        lambda: ForceField(couplings, [0], 0),
        lambda: ForceField([*couplings, *draw(3, 10, 1, np.float32)], [0], 1),
        lambda: field.force(x[:1]),
        lambda: field.steps(x, None, -1, 0.1, 0.0, []),
        lambda: field.steps(x, None, 1, 0.1, 1.0, streams(1)),
        lambda: field.steps(x, x[:1], 1, 0.1, 0.0, []),
        lambda: field.steps(x, None, 1, 0.1, 1.0, streams(2), np.zeros((2, 2, 9))),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            bad()
