"""What networks are made of, loaded when it is first used: run files are checked without torch and numba."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from langevin.config.build import load_data
    from langevin.observables.landscape import barriers

    from .data import batches, subsets
    from .data.examples import Examples
    from .data.identity import TestSets
    from .data.views import Augmented, Views
    from .descent import perceptron
    from .descent.bends import Bends
    from .descent.parameter_groups import grouped, unused
    from .descent.state import NetworkState, Reference, compare, first_not_finite, restored
    from .descent.step_rule import StepRule
    from .descent.training import Problem
    from .devices import explained, prepare
    from .measure import layers, measurement, overlaps
    from .measure.curvature import LossHessian, Twin
    from .measure.gauss_newton import GaussNewton
    from .measure.landscape import Landscape
    from .measure.layer_curvature import LayeredHessian
    from .nets.companions import Companions, differing, stacked
    from .nets.layout import Layout, beside, converted, copies, seeded, transposed, undrawn
    from .nets.losses import Loss, find_loss
    from .nets.traits import by_layers
    from .replicas import tiny
    from .replicas.steppers import ReplicaSteppers
    from .replicas.tiny import TinyReplicas
    from .response import measured_response
    from .trials import contract, loss_trial
    from .trials.fit import fitting
    from .trials.hessian_trial import require_hessian
else:
    from langevin.machine.later import callables, later

    def _module(name):
        return later(f"{__package__}.{name}")

    def _of(module, *names):
        return callables(f"{__package__}.{module}", *names)

    torch = later("torch")
    (load_data,) = callables("langevin.config.build", "load_data")
    barriers = later("langevin.observables.landscape.barriers")
    batches, contract, layers = map(_module, ("data.batches", "trials.contract", "measure.layers"))
    measurement, loss_trial, overlaps = map(
        _module, ("measure.measurement", "trials.loss_trial", "measure.overlaps")
    )
    perceptron, measured_response, subsets, tiny = map(
        _module, ("descent.perceptron", "response.measured_response", "data.subsets", "replicas.tiny")
    )
    (Bends,) = _of("descent.bends", "Bends")
    LossHessian, Twin = _of("measure.curvature", "LossHessian", "Twin")
    explained, prepare = _of("devices", "explained", "prepare")
    (Examples,) = _of("data.examples", "Examples")
    (fitting,) = _of("trials.fit", "fitting")
    (GaussNewton,) = _of("measure.gauss_newton", "GaussNewton")
    (require_hessian,) = _of("trials.hessian_trial", "require_hessian")
    (TestSets,) = _of("data.identity", "TestSets")
    (Landscape,) = _of("measure.landscape", "Landscape")
    Companions, differing, stacked = _of("nets.companions", "Companions", "differing", "stacked")
    (LayeredHessian,) = _of("measure.layer_curvature", "LayeredHessian")
    Layout, beside, converted, copies, seeded, transposed, undrawn = _of(
        "nets.layout", "Layout", "beside", "converted", "copies", "seeded", "transposed", "undrawn"
    )
    Loss, find_loss = _of("nets.losses", "Loss", "find_loss")
    grouped, unused = _of("descent.parameter_groups", "grouped", "unused")
    NetworkState, Reference, compare, first_not_finite, restored = _of(
        "descent.state", "NetworkState", "Reference", "compare", "first_not_finite", "restored"
    )
    (TinyReplicas,) = _of("replicas.tiny", "TinyReplicas")
    (by_layers,) = _of("nets.traits", "by_layers")
    (Problem,) = _of("descent.training", "Problem")
    (StepRule,) = _of("descent.step_rule", "StepRule")
    (ReplicaSteppers,) = _of("replicas.steppers", "ReplicaSteppers")
    Augmented, Views = _of("data.views", "Augmented", "Views")

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
    "ReplicaSteppers",
    "StepRule",
    "TestSets",
    "TinyReplicas",
    "Twin",
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
    "load_data",
    "loss_trial",
    "measured_response",
    "measurement",
    "overlaps",
    "perceptron",
    "prepare",
    "require_hessian",
    "restored",
    "seeded",
    "stacked",
    "subsets",
    "tiny",
    "torch",
    "transposed",
    "undrawn",
    "unused",
]
