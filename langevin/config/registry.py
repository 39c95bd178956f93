"""The registry knows where the class of a name is, and imports nothing before it is asked for."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from langevin.code import trust
from langevin.core.system import DataSet, Model, System
from langevin.errors import UserError

#: One line per system. Others join through the entry-point group "langevin.systems".
SYSTEMS = {
    "pspin": "langevin.systems.pspin:PSpin",
    "cugliandolo_kurchan": "langevin.systems.cugliandolo_kurchan:CugliandoloKurchan",
    "harmonic": "langevin.systems.harmonic:Harmonic",
    "kob_andersen": "langevin.systems.particles:KobAndersen",
    "particles": "langevin.systems.particles:Mixture",
    "spherical_perceptron": "langevin.systems.perceptron:SphericalPerceptron",
    "toy": "langevin.systems.networks.architectures.small:Toy",
    "fully_connected": "langevin.systems.networks.architectures.small:FullyConnected",
    "small_net": "langevin.systems.networks.architectures.small:SmallConvolutional",
    "resnet18": "langevin.systems.networks.architectures.small:ResNet",
    "lenet": "langevin.systems.networks.architectures.small:LeNet5",
    "mlp": "langevin.systems.networks.architectures.small:MultilayerPerceptron",
    "vgg16": "langevin.systems.networks.architectures.deep:VGG",
    "preresnet": "langevin.systems.networks.architectures.deep:PreActivationResNet",
    "resnet158": "langevin.systems.networks.architectures.deep:ResNet158",
    "wide_resnet": "langevin.systems.networks.architectures.deep:WideResidual",
    "gru": "langevin.systems.networks.architectures.recurrent:GRU",
    "lstm": "langevin.systems.networks.architectures.recurrent:LSTM",
    "thermal_mlp": "langevin.systems.networks.thermal:ThermalNet",
    "curve": "langevin.systems.curves.run:ModelCurve",
    "network_curve": "langevin.systems.networks.curve:NetworkCurve",
    "network": "langevin.systems.networks.architectures.small:UserNetwork",
}

#: One line per data set of network systems. Others join through the entry-point group "langevin.datasets".
DATASETS = {
    "mnist": "langevin.systems.networks.data.archives:MNIST",
    "fashion_mnist": "langevin.systems.networks.data.archives:FashionMNIST",
    "cifar10": "langevin.systems.networks.data.archives:CIFAR10",
    "cifar100": "langevin.systems.networks.data.archives:CIFAR100",
    "characters": "langevin.systems.networks.data.characters:Characters",
    "gaussian": "langevin.systems.networks.data.gaussian:Gaussian",
    "ljat": "langevin.systems.networks.data.ljat:LJAT",
    "synthetic": "langevin.systems.networks.data.synthetic:Synthetic",
}


@dataclass(frozen=True)
class Kind:
    """A kind of thing that run files name.

    Attributes
    ----------
    word : str
        What it is called in messages.
    key : str
        The key of a run file that names it.
    group : str
        Entry-point group through which other packages register theirs.
    ours : mapping
        Name → "module:Class".
    bases : dict
        From one of these its classes derive → what it means to do so; in messages.
    """

    word: str
    key: str
    group: str
    ours: Mapping[str, str]
    bases: Mapping[type[Any], str]


SYSTEM = Kind(
    "system",
    "system.name",
    "langevin.systems",
    SYSTEMS,
    {Model: "langevin.Model (a force)", System: "langevin.System (steps of its own)"},
)
DATA = Kind("data set", "data.name", "langevin.datasets", DATASETS, {DataSet: "langevin.DataSet"})


def names(kind: Kind = SYSTEM) -> dict[str, str]:
    """Return every registered name with its "module:Class"; ours win over an entry point's."""
    others = {point.name: point.value for point in entry_points(group=kind.group)}
    return {**others, **kind.ours}


def allowed(kind: Kind = SYSTEM) -> str:
    """Say what may stand for a name."""
    return f'{", ".join(sorted(names(kind)))}, or your own "package.module:Class"'


def load(name: str, near: Path | None = None, kind: Kind = SYSTEM) -> type[Any]:
    """Return the class of a registered name, or of a user's "package.module:Class".

    Parameters
    ----------
    name : str
        Registered name or "package.module:Class".
    near : Path, optional
        Folder of the run file; a user's module is looked for there too.
    kind : Kind
        `SYSTEM` or `DATA`.

    Raises
    ------
    UserError
        If there is no such class; the message names the nearest one.
    UnknownCode
        If a file names a class that its user has neither run nor trusted (`langevin.code.trust`).
    """
    known = names(kind)
    if name in known:
        return _import(known[name], kind)
    if ":" not in name:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise UserError(
            f"{kind.key} = {name!r}: no such {kind.word}; nearest: {nearest[0]!r}; allowed: {allowed(kind)}"
        )
    named, source = trust.find(kind.key, name, near)
    return _checked(named, name, kind, str(source.file or source.name))


def _import(target: str, kind: Kind) -> type[Any]:
    """Return a registered class."""
    module_name, _, class_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError, TypeError) as error:
        raise UserError(f"{kind.key} = {target!r}: cannot import {module_name!r}: {error}") from error
    return _checked(getattr(module, class_name, None), target, kind, module_name)


def _checked(named: Any, target: str, kind: Kind, where: str) -> type[Any]:
    """Make sure that a name stands for a class of its kind, and that this class defines what it must."""
    class_name = target.partition(":")[2]
    if not isinstance(named, type):
        raise UserError(f"{kind.key} = {target!r}: module {where} has no class {class_name!r}")
    said = f"{kind.key} = {target!r}: class {class_name}"
    if issubclass(named, tuple(kind.bases)):
        if lacking := _undefined(named):
            raise UserError(f"{said} lacks {', '.join(lacking)} (see ARCHITECTURE.md)")
        return named
    # The names that it has tell which base it comes nearest to.
    asked = max(map(_undefined, kind.bases), key=lambda names: len(set(names) & set(dir(named))))
    lacking = [name for name in asked if name not in dir(named)]
    bases = " or ".join(kind.bases.values())
    raise UserError(
        f"{said} must derive from {bases}" + (f"; it lacks {', '.join(lacking)}" if lacking else "")
    )


def _undefined(kind: type[Any]) -> list[str]:
    """Return the methods and class attributes that a class asks for and does not define, in their order."""
    names: dict[str, None] = {}
    for base in reversed(kind.__mro__):
        hints = inspect.get_annotations(base).items()
        declared = [name for name, hint in hints if "ClassVar" in str(hint) and not hasattr(kind, name)]
        names |= dict.fromkeys(declared + [name for name in vars(base) if name in kind.__abstractmethods__])
    return list(names)
