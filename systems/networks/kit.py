"""This module gathers the parts of a network that need torch; others load it when they first use one."""

from __future__ import annotations

from langevin.config.build import load_data
from langevin.observables.landscape import barriers

from .arithmetic import Arithmetic
from .data import batches, subsets
from .data.examples import OnDevice
from .data.identity import TestSets
from .data.views import Augmented, Views
from .descent import perceptron
from .descent.bends import Bends
from .descent.parameter_groups import grouped, unused
from .descent.shared_calls import groups_of
from .descent.state import NetworkState, Reference, compare, first_not_finite, restored
from .descent.step_rule import StepRule
from .descent.training import Problem
from .devices import cards_of, explained, meet, name_of, prepare
from .kernels.pointwise import narrow
from .measure import gaps, layers, measurement, overlaps
from .measure.curvature import LossHessian, Point, Twin, slopes_of
from .measure.gauss_newton import GaussNewton
from .measure.landscape import Landscape
from .measure.layer_curvature import LayeredHessian
from .nets.companions import Built, Companions, differing, stacked
from .nets.layout import Layout, beside, converted, copies, seeded, transposed, undrawn
from .nets.losses import Loss, find_loss
from .nets.traits import by_layers
from .replicas import tiny, tiny_gpu
from .replicas.spread import SpreadReplicas, spread
from .replicas.steppers import ReplicaSteppers
from .replicas.tiny import TinyReplicas
from .replicas.tiny_gpu import TinyOnCard
from .response import measured_response
from .symmetry.alignment import aligned, distances
from .trials import contract, loss_trial
from .trials.division_trial import tried_division
from .trials.fit import fitting
from .trials.hessian_trial import require_hessian
from .trials.rounded import tried_rounded
