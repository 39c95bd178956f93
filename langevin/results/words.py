"""A result is named in words here: its system, its data, and what tells it from others beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langevin.errors import UserError

from .members import text

if TYPE_CHECKING:
    import xarray as xr

#: Registered names of systems that are no words as they stand.
SYSTEMS = {
    "pspin": "p-spin model",
    "cugliandolo_kurchan": "Cugliandolo-Kurchan equations",
    "harmonic": "harmonic oscillators",
    "kob_andersen": "Kob-Andersen mixture",
    "toy": "toy network",
    "fully_connected": "fully connected net",
    "small_net": "small convolutional net",
    "resnet18": "ResNet-18",
    "lenet": "LeNet-5",
    "mlp": "multilayer perceptron",
    "thermal_mlp": "multilayer perceptron at a temperature",
    "vgg16": "VGG-16",
    "preresnet": "pre-activation ResNet",
    "resnet158": "ResNet-158",
    "wide_resnet": "wide ResNet",
    "gru": "GRU",
    "lstm": "LSTM",
    "curve": "curve between minima",
    "network_curve": "curve between networks",
}

#: Registered names of data sets, the same.
DATA = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "ljat": "LJAT",
    "synthetic": "synthetic data",
    "gaussian": "Gaussian data",
}

#: Keys of run files that have a letter.
LETTERS = {
    "n": "$N$",
    "p": "$p$",
    "temperature": "$T$",
    "initial_temperature": "$T_i$",
    "dt": "$dt$",
    "learning_rate": r"$\alpha$",
}

#: Sections that tell results apart, in this order; the others say how long, or how often, is watched.
_SECTIONS = ("system", "data", "dynamics")

#: Keys of them that do not: the system and the data have words, and how long is watched is seen.
_APART = {("system", "name"), ("data", "name"), ("dynamics", "t_max"), ("system", "n")}


def names(datasets: Sequence[xr.Dataset]) -> list[str]:
    """Return a name for each of several results, no two the same, without names of files if that can be.

    It is the system, with N where the run file gives it, and the data; where two are the same, whatever keys
    of their run files differ; then titles, seeds, names of files, and numbers.

    UserError if an attribute `settings` is not JSON.
    """
    given = [_settings(dataset) for dataset in datasets]
    found = [_base(dataset, own) for dataset, own in zip(datasets, given, strict=True)]
    stems = [Path(str(d.encoding.get("source", ""))).stem.replace("_", " ") for d in datasets]
    further: tuple[Callable[[int, list[int]], str], ...] = (
        lambda k, alike: _keys(given[k], [given[i] for i in alike]),
        lambda k, alike: str(datasets[k].attrs.get("title", "")),
        lambda k, alike: f"seed {datasets[k].attrs['seed']}" if "seed" in datasets[k].attrs else "",
        lambda k, alike: stems[k],
        lambda k, alike: f"({alike.index(k) + 1})",
    )
    for more in further:
        groups: dict[str, list[int]] = {}
        for k, name in enumerate(found):
            groups.setdefault(name, []).append(k)
        for alike in (group for group in groups.values() if len(group) > 1):
            own = [more(k, alike) for k in alike]
            if len(set(own)) > 1:
                for k, words in zip(alike, own, strict=True):
                    found[k] = ", ".join(filter(None, (found[k], words)))
    return found


def plain(name: str) -> str:
    """Return a name without the marks of formulas, for terminals and tables."""
    return name.replace("$", "").replace(r"\alpha", "α")


def _base(dataset: xr.Dataset, given: dict[str, dict[str, Any]]) -> str:
    """Return what a result is of: "p-spin model, N = 48", "ResNet-18, CIFAR-100"."""
    named = str(given.get("system", {}).get("name", dataset.attrs.get("system", "")))
    title = str(dataset.attrs.get("title", "")).strip()
    if ":" in named and title:
        # Of a class of a user's the title says more than its name.
        return title
    parts = [_spaced(named, SYSTEMS) or title]
    if "data" in dataset.attrs:
        parts.append(_spaced(str(dataset.attrs["data"]), DATA))
    n = given.get("system", {}).get("n")
    if isinstance(n, int | float):
        parts.append(_assigned("n", n))
    return ", ".join(filter(None, parts)) or "result"


def _spaced(name: str, known: dict[str, str]) -> str:
    """Return a name in words: "double_well:DoubleWell" is a double well."""
    if name in known:
        return known[name]
    last = name.rpartition(":")[2].rpartition(".")[2]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", last).replace("_", " ")
    return words.lower() if ":" in name else words


def _keys(own: dict[str, dict[str, Any]], alike: Sequence[dict[str, dict[str, Any]]]) -> str:
    """Return the keys in which a run file differs from any of others, with its values."""
    said = []
    for section in _SECTIONS:
        for key in dict.fromkeys(k for given in alike for k in given.get(section, {})):
            values = [given.get(section, {}).get(key) for given in alike]
            if (section, key) in _APART or all(value == values[0] for value in values):
                continue
            value = own.get(section, {}).get(key)
            said.append(_assigned(key, value) if value is not None else f"default {key.replace('_', ' ')}")
    return ", ".join(said)


def _assigned(key: str, value: Any) -> str:
    words = ", ".join(map(text, value)) if isinstance(value, list) else text(value)
    name = LETTERS.get(key, key.replace("_", " "))
    words = "∞" if words == "inf" else words
    return f"{name} = {words}" if not isinstance(value, str) else f"{name} {words.replace('_', ' ')}"


def _settings(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return the sections of the run file that tell results apart; {} if there is none."""
    try:
        given = json.loads(dataset.attrs.get("settings", "{}"))
    except json.JSONDecodeError as error:
        source = dataset.encoding.get("source", "dataset")
        raise UserError(f"{source}: attribute settings is not JSON: {error}") from None
    tables = given if isinstance(given, dict) else {}
    return {name: tables[name] for name in _SECTIONS if isinstance(tables.get(name), dict)}
