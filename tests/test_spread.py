"""Replicas of one run on several devices are those on one: to the bit, in steps and in measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_nets import built, settings

from langevin.machine import cards
from langevin.systems.networks import devices
from langevin.systems.networks.replicas.spread import SpreadReplicas

#: The same processor by two names: what lies on the second is a copy.
TWO = [torch.device("cpu"), torch.device("cpu", 0)]
NET = {"name": "small_net", "filters": [3, 4], "hidden": 12}
NORMALISED = {"name": "network", "module": "small_nets:Normalised"}
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (NET, {"momentum": 0.5}),
    (NORMALISED, {"optimiser": "adam"}),
    (NET, {"batches": "persistent"}),
    (NET, {"temperature": 0.01, "augment": "crop_flip"}),
]


def measured(system: dict[str, Any], spread: bool, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> Any:
    """Return everything that a network says before and after some steps."""
    if spread:
        monkeypatch.setattr("langevin.systems.networks.kit.cards_of", lambda *given: TWO)
    made = settings(
        system, replicas=3, record={"layers": True}, backend="torch", execution="sequential", **keys
    )
    network, noise = built(made)
    state = network.initial_state(noise)
    assert isinstance(network.units, SpreadReplicas) == spread
    said = {f"first {name}": value for name, value in network.measure(state).items()}
    for first in (0, 7):
        state = network.move(state, first, first + 7, noise)
    later = network.advance(state, 14, 20, noise)
    return said | network.measure(state) | network.at_waiting(state) | network.state_dict(later)


@pytest.mark.parametrize(("system", "keys"), CASES, ids=str)
def test_spread_replicas_are_the_same(
    system: dict[str, Any], keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = measured(system, False, monkeypatch, **keys)
    spread = measured(system, True, monkeypatch, **keys)
    assert alone.keys() == spread.keys()
    for name, value in alone.items():
        np.testing.assert_array_equal(spread[name], value, err_msg=name)


def test_a_replica_that_diverges_is_named_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langevin.systems.networks.kit.cards_of", lambda *given: TWO)
    network, noise = built(settings(NET, replicas=3, backend="torch", execution="sequential"))
    state = network.initial_state(noise)
    state.weights[2] = 1e30
    assert network.units.advance(state, 0, 3, [None] * 3) == (0, 2)


def test_which_cards_a_run_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.delenv(devices.VARIABLE)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    for name in ("cuda", "auto"):
        assert [card.index for card in devices.cards_of(gpu, name)] == [1, 2, 0]
    assert devices.cards_of(torch.device("cuda", 2), "cuda:2") == [torch.device("cuda", 2)]
    assert devices.cards_of(cpu, "auto") == [cpu]
    monkeypatch.setenv(devices.VARIABLE, "cuda:1")
    assert devices.cards_of(torch.device("cuda", 1), "auto") == [torch.device("cuda", 1)]
    monkeypatch.delenv(devices.VARIABLE)
    monkeypatch.setattr(cards, "_number", 0)
    assert devices.cards_of(gpu, "cuda") == [gpu], "processes side by side take one each"
