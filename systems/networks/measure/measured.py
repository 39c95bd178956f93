"""What the file says of everything that a network measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langevin.core.system import Attributes

from ..keys import Descent

if TYPE_CHECKING:
    from ..descent.step_rule import StepRule
    from ..nets.losses import Loss
    from ..nets.traits import Traits

#: For the file: what the Hessian is one of.
DEFINITION = (
    "second derivatives of the mean training loss by the weights, without weight decay; in evaluation mode "
    "and double precision"
)


def step_attributes(dynamics: Descent, batch_size: int, rule: StepRule) -> dict[str, Any]:
    """Return what says how large the steps were: displacements are compared with the gradient noise."""
    groups, linear = rule.groups, rule.optimiser.linear
    said: dict[str, Any] = {"batch_size": batch_size, **({} if groups is None else groups.attributes())}
    if dynamics.rates.constant:
        # Without the first nobody takes Δ = α² D t/B for granted: no single number says how large steps were.
        single = linear and (groups is None or groups.one_rate)
        said["learning_rate" if single else "base_learning_rate"] = dynamics.learning_rate
    if not linear:
        said["optimiser"] = dynamics.optimiser
    if not dynamics.rates.constant:
        said["schedule"] = dynamics.schedule
    if dynamics.augment != "none":
        said["comment"] = "of plain examples; the steps see random crops and mirror images"
    return said


#: The attribute `kind` of errors that are independent from replica to replica, whose scatter holds them.
SAMPLING = "sampling"
#: Which statistics batch-norm has: those of a run, and those at weights that no run was at.
RUNNING = "running averages of the mini-batches of the steps"
RENEWED = "computed anew at these weights, from the measured training examples"
#: The name under which `attributes` says what holds for all that `evaluate` returns.
EVALUATED = "evaluated"
#: The name under which it says what holds at weights that are stored with what stood beside them.
RECALLED = "recalled"


#: How the loss of many examples follows from one that is no mean over them.
AS_ONE_BATCH = "loss of all measured examples as one batch; it is no mean over examples"


def _seen(loss: Loss, normalised: bool) -> dict[str, str]:
    """Return what says how examples are seen, and how their loss follows, where that is not plain."""
    # One set of weights has two losses with batch-norm: whoever compares must know which this is.
    statistics = {"batch_norm_statistics": RUNNING} if normalised else {}
    return statistics | ({} if loss.separable else {"reduction": AS_ONE_BATCH})


def _losses(
    loss: Loss, trained: dict[str, int], tested: dict[str, int], seen: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the attributes of losses, and of accuracies and errors where there are classes."""
    bound = {} if loss.lower_bound is None else {"lower_bound": loss.lower_bound}
    own: dict[str, dict[str, Any]] = {
        "energy": {"long_name": f"training loss ({loss.name})", **bound, **trained, **seen},
        "test_loss": {"long_name": f"test loss ({loss.name})", **bound, **tested, **seen},
    }
    if not loss.classified:
        return own
    where = " (of positions)" if loss.target.shape else ""
    about = {n: v for n, v in seen.items() if n != "reduction"}
    return own | {
        "train_accuracy": {"long_name": f"training accuracy{where}", **trained, **about},
        "test_accuracy": {"long_name": f"test accuracy{where}", **tested, **about},
        "train_error": {"long_name": f"training error, part classified wrongly{where}", **trained, **about},
        "test_error": {"long_name": f"test error, part classified wrongly{where}", **tested, **about},
    }


def measured_attributes(
    loss: Loss, dof: int, sizes: Sequence[tuple[int, int]], rule: dict[str, Any], traits: Traits
) -> Attributes:
    """Return the attributes of all variables.

    Parameters
    ----------
    loss : Loss
    dof : int
        Weights.
    sizes : sequence of (int, int)
        Over how many of how many examples training losses, test losses, gradients and Hessians are averaged.
    rule : dict
        As `step_attributes` returns it.
    traits : Traits
        Of the network.
    """
    noise = "gradient noise D: variance of the per-sample gradient, per weight"
    if traits.couples:
        noise = "gradient noise D: from differences of the gradients of disjoint mini-batches, per weight"
    trained, tested, probed, curved = ({"examples": n, "examples_of": of} for n, of in sizes)
    normalised = bool(traits.moving)
    seen = _seen(loss, normalised)
    own = _losses(loss, trained, tested, seen)
    own |= {
        "gradient_norm": {"long_name": "norm of the gradient of the training loss", **probed},
        "gradient_square": {
            "long_name": "squared norm of the gradient of the training loss of all examples, without bias",
            **probed,
        },
        "gradient_noise": {"long_name": noise, **probed, **rule},
        "gradient_noise_error": {"long_name": "standard error of the gradient noise", "kind": SAMPLING},
        "msd": {"long_name": "mean square displacement per weight", "dof": dof},
        "correlation": {"long_name": "two-time correlation per weight", "dof": dof},
        "normalised_overlap": {
            "long_name": "overlap of the normalised weights",
            "symbol": r"$\hat C(t_w, t_w+t)$",
            "dof": dof,
            "comment": "w·w'/(|w||w'|); of all weights alike, so that layers count by their norms",
        },
        "layer_angle": {
            "long_name": "angle by which the weights of a layer have turned",
            "symbol": r"$\theta(t_w, t_w+t)$",
            "units": "rad",
        },
        "hessian": {"definition": DEFINITION, "rows": dof, **curved, **seen},
    }
    if normalised:
        anew = {"batch_norm_statistics": RENEWED}
        own[EVALUATED], own[RECALLED] = anew, {"batch_norm_statistics": RUNNING}
        for name in {"train_error", "test_error"} & set(own):
            own[name] |= anew
    for name in ("energy", "test_loss", "train_accuracy", "test_accuracy"):
        if name not in own:
            continue
        words = f"standard error of the {own[name]['long_name']}, of the choice of examples"
        own[f"{name}_error"] = {"long_name": words, "kind": SAMPLING}
    steps = {axis: {"units": "steps"} for axis in ("time", "waiting_time", "lag")}
    return {name: {"units": "1", **about} for name, about in own.items()} | steps
