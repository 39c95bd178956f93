"""What networks are made of, loaded when it is first used: run files are checked without torch and numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from langevin import simulation
    from langevin.observables import barriers

    from . import (
        batches,
        contract,
        layers,
        measurement,
        outputs,
        overlaps,
        perceptron,
        response,
        subsets,
        tiny,
    )
    from .bends import Bends
    from .companions import Companions, differing, stacked
    from .curvature import LossHessian, Twin
    from .devices import explained, prepare
    from .examples import Examples
    from .fitting import fitting
    from .gauss_newton import GaussNewton
    from .hessian_trial import require_hessian
    from .identity import TestSets
    from .landscape import Landscape
    from .layer_curvature import LayeredHessian
    from .layout import Layout, beside, converted, copies, seeded, transposed, undrawn
    from .losses import Loss, find_loss
    from .parameter_groups import grouped, unused
    from .rule import Rule
    from .state import NetworkState, Reference, compare, first_not_finite, restored
    from .tiny import Tiny
    from .training import Problem
    from .traits import by_layers
    from .units import Units
    from .views import Augmented, Views
else:
    from langevin.later import callables, later

    def _module(name):
        return later(f"{__package__}.{name}")

    def _of(module, *names):
        return callables(f"{__package__}.{module}", *names)

    torch, simulation = later("torch"), later("langevin.simulation")
    barriers = later("langevin.observables.barriers")
    batches, contract, layers = map(_module, ("batches", "contract", "layers"))
    measurement, outputs, overlaps = map(_module, ("measurement", "outputs", "overlaps"))
    perceptron, response, subsets, tiny = map(_module, ("perceptron", "response", "subsets", "tiny"))
    (Bends,) = _of("bends", "Bends")
    LossHessian, Twin = _of("curvature", "LossHessian", "Twin")
    explained, prepare = _of("devices", "explained", "prepare")
    (Examples,) = _of("examples", "Examples")
    (fitting,) = _of("fitting", "fitting")
    (GaussNewton,) = _of("gauss_newton", "GaussNewton")
    (require_hessian,) = _of("hessian_trial", "require_hessian")
    (TestSets,) = _of("identity", "TestSets")
    (Landscape,) = _of("landscape", "Landscape")
    Companions, differing, stacked = _of("companions", "Companions", "differing", "stacked")
    (LayeredHessian,) = _of("layer_curvature", "LayeredHessian")
    Layout, beside, converted, copies, seeded, transposed, undrawn = _of(
        "layout", "Layout", "beside", "converted", "copies", "seeded", "transposed", "undrawn"
    )
    Loss, find_loss = _of("losses", "Loss", "find_loss")
    grouped, unused = _of("parameter_groups", "grouped", "unused")
    NetworkState, Reference, compare, first_not_finite, restored = _of(
        "state", "NetworkState", "Reference", "compare", "first_not_finite", "restored"
    )
    (Tiny,) = _of("tiny", "Tiny")
    (by_layers,) = _of("traits", "by_layers")
    (Problem,) = _of("training", "Problem")
    (Rule,) = _of("rule", "Rule")
    (Units,) = _of("units", "Units")
    Augmented, Views = _of("views", "Augmented", "Views")

__all__ = [
    "Augmented",
    "Bends",
    "Companions",
    "Examples",
    "GaussNewton",
    "Landscape",
    "LayeredHessian",
    "Layout",
    "Loss",
    "LossHessian",
    "NetworkState",
    "Problem",
    "Reference",
    "Rule",
    "TestSets",
    "Tiny",
    "Twin",
    "Units",
    "Views",
    "barriers",
    "batches",
    "beside",
    "by_layers",
    "compare",
    "contract",
    "converted",
    "copies",
    "differing",
    "explained",
    "find_loss",
    "first_not_finite",
    "fitting",
    "grouped",
    "layers",
    "measurement",
    "outputs",
    "overlaps",
    "perceptron",
    "prepare",
    "require_hessian",
    "response",
    "restored",
    "seeded",
    "simulation",
    "stacked",
    "subsets",
    "tiny",
    "torch",
    "transposed",
    "undrawn",
    "unused",
]
