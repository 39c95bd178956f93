"""What the file says of everything that a network measures."""

from __future__ import annotations

from typing import Any

from langevin.system import Attributes

from .sections import Descent

#: For the file: what the Hessian is one of.
DEFINITION = (
    "second derivatives of the mean training loss by the weights, without weight decay; in evaluation mode "
    "and double precision"
)


def step_attributes(dynamics: Descent, batch_size: int) -> dict[str, Any]:
    """Return what says how large the steps were: displacements are compared with the gradient noise."""
    rule: dict[str, Any] = {"batch_size": batch_size}
    if dynamics.rates.constant:
        # Without it nobody takes Δ = α² D t/B for granted.
        rule["learning_rate"] = dynamics.learning_rate
    else:
        rule["schedule"] = dynamics.schedule
    if dynamics.augment != "none":
        rule["comment"] = "of plain examples; the steps see random crops and mirror images"
    return rule


def measured_attributes(
    loss: str, dof: int, trained: int, tested: int, probed: int, curved: int, rule: dict[str, Any]
) -> Attributes:
    """Return the attributes of all variables.

    Parameters
    ----------
    loss : str
        Name of the loss.
    dof : int
        Weights.
    trained, tested, probed, curved : int
        Examples that training losses, test losses, gradients and Hessians are averaged over.
    rule : dict
        As `step_attributes` returns it.
    """
    noise = "gradient noise D: variance of the per-sample gradient, per weight"
    own: dict[str, dict[str, Any]] = {
        "energy": {"long_name": f"training loss ({loss})", "examples": trained},
        "test_loss": {"long_name": f"test loss ({loss})", "examples": tested},
        "train_accuracy": {"long_name": "training accuracy", "examples": trained},
        "test_accuracy": {"long_name": "test accuracy", "examples": tested},
        "train_error": {"long_name": "training error, part classified wrongly", "examples": trained},
        "test_error": {"long_name": "test error, part classified wrongly", "examples": tested},
        "gradient_norm": {"long_name": "norm of the gradient of the training loss", "examples": probed},
        "gradient_noise": {"long_name": noise, "examples": probed, **rule},
        "gradient_noise_error": {"long_name": "standard error of the gradient noise"},
        "msd": {"long_name": "mean square displacement per weight", "dof": dof},
        "correlation": {"long_name": "two-time correlation per weight", "dof": dof},
        "hessian": {"definition": DEFINITION, "rows": dof, "examples": curved},
    }
    steps = {axis: {"units": "steps"} for axis in ("time", "waiting_time", "lag")}
    return {name: {"units": "1", **about} for name, about in own.items()} | steps
