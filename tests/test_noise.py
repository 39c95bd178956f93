"""Streams: one seed, independent numbers for every role and replica."""

from __future__ import annotations

import json

import numpy as np

from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise, stream


def test_a_replica_draws_the_same_numbers_in_any_batch() -> None:
    alone, among = Noise(3, [5]), Noise(3, range(16))
    for _ in range(3):
        np.testing.assert_array_equal(alone.normal(7)[0], among.normal(7)[5])


def test_roles_replicas_and_seeds_differ() -> None:
    first = [
        stream(seed, role, index).standard_normal(4).tobytes()
        for seed in (1, 2)
        for role in ("thermal", "start", "disorder")
        for index in range(3)
    ]
    assert len(set(first)) == len(first)


def test_roles_are_uncorrelated() -> None:
    a, b = (stream(1, role, 0).standard_normal(100_000) for role in ("thermal", "start"))
    # Standard error of a correlation of independent streams: 1/√n; 5 σ: one false alarm in 10⁶ seeds.
    assert abs(np.mean(a * b)) < 5 / np.sqrt(a.size)


def test_a_seed_means_the_same_numbers_on_every_machine() -> None:
    # Recorded once: PCG64DXSM and SeedSequence are stable across numpy versions, and so must our keys be.
    assert stream(1, "thermal", 0).random(2).tolist() == [0.892771181776574, 0.7229329906241685]


def test_state_survives_json() -> None:
    noise = Noise(9, range(3))
    noise.normal(5)
    saved = json.loads(json.dumps(noise.state_dict()))
    expected = noise.normal(5)
    again = Noise(9, range(3))
    again.load_state(saved)
    np.testing.assert_array_equal(again.normal(5), expected)


def test_a_larger_ensemble_contains_the_smaller() -> None:
    small, large = Ensemble.regular(6, 3, 1), Ensemble.regular(12, 3, 1)
    np.testing.assert_array_equal(large.sample[:6], small.sample)
