"""Members are evaluated one after the other: their errors, those of ensembles they join, their distances.

Of the members of a replica the weights are averaged, too: w̄ = (1/m) Σ_j w_j, a single network, which costs at
test time what one does (stochastic weight averaging; Izmailov, Podoprikhin, Garipov et al., UAI 2018,
arXiv:1803.05407). Batch-norm has statistics of w̄, computed anew from training examples, as of all weights
that no run was at. The mean runs along, w̄ ← w̄ + (w_j − w̄)/j, as theirs does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.config.build import build
from langevin.core.capabilities import Classifies
from langevin.core.ensemble import Ensemble, available_threads
from langevin.core.noise import Noise
from langevin.core.system import Array, Predictions, System
from langevin.errors import UserError
from langevin.files import provenance
from langevin.observables.ensembles import PredictionPool, disagreement, groups, normalised
from langevin.results import configurations
from langevin.results.open import open_result

from .members import Method

#: A loss of ensembles.
MEAN_LOSS = "negative log-likelihood of the mean class probabilities"

#: What is known of every member, (repetition, member) each → its meaning.
OF_MEMBERS = {
    "member_error": "test error of each member",
    "member_loss": "mean test loss of each member",
    "run_error": "test error of the ensemble of the members of one replica so far",
    "run_loss": f"{MEAN_LOSS}, members of one replica so far",
    "ensemble_error": "test error of the ensemble of the members of a repetition so far",
    "ensemble_loss": f"{MEAN_LOSS}, members of a repetition so far",
    "distance_from_start": "Euclidean distance of the weights from those the replica began with",
    "distance_from_first": "Euclidean distance of the weights from the repetition's first member",
}


@dataclass
class Evaluated:
    """What came out for one method.

    Attributes
    ----------
    size : int
        Replicas K of a repetition.
    times : ndarray, shape (m,)
        Times of the members that one budget buys.
    members : dict of ndarray, shape (R // K, K m) each
        By the names of `OF_MEMBERS`: members in the order in which they join, replica after replica.
    disagreement, normalised : ndarray, shape (R // K, K m, K m)
    budgets : dict of list of float
        ("error", k) and ("loss", k) → values of the disjoint groups of k replicas.
    averages : dict of list of float
        The same of the k networks with averaged weights, one of each replica; empty of a single member.
    dof, examples, classified : int
        Degrees of freedom of a member; test examples; what is classified of them, of sequences every
        position.
    data : str
        What identifies the data.
    about : mapping
        What the system says of all that it evaluates, as attributes.
    """

    method: Method
    size: int
    times: Array
    members: dict[str, Array]
    disagreement: Array
    normalised: Array
    budgets: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    averages: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    dof: int = 0
    examples: int = 0
    classified: int = 0
    data: str = ""
    device: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def empty(cls, method: Method, size: int, times: Array) -> Evaluated:
        """Return a place for what will come out."""
        repetitions, pooled = method.replicas // size, size * times.size
        members = {name: np.full((repetitions, pooled), np.nan) for name in OF_MEMBERS}
        differing = np.full((2, repetitions, pooled, pooled), np.nan)
        kinds = [(kind, k) for kind in ("error", "loss") for k in range(1, size + 1)]
        budgets, averages = ({kind: list[float]() for kind in kinds} for _ in range(2))
        return cls(method, size, times, members, differing[0], differing[1], budgets, averages)


def evaluate(
    method: Method, size: int, times: Array, threads: int | None, tick: Callable[[], object]
) -> Evaluated:
    """Evaluate all members of a method, on all test examples, and every ensemble of theirs.

    Parameters
    ----------
    size : int
        Replicas of a repetition.
    times : ndarray, shape (m,)
        Times of the members that count.
    tick : callable
        Called after each member.

    Raises
    ------
    UserError
        If the run did not come as far as a member, or the system classifies nothing.
    """
    labels, samples = (method.dataset[name].to_numpy().astype(np.int64) for name in ("replica", "sample"))
    seed = method.settings.ensemble.seed
    ensemble = Ensemble(labels, samples, seed, threads or available_threads())
    system = build(method.settings, ensemble)
    evaluated = Evaluated.empty(method, size, times)
    evaluated.device = provenance.device_of(system)
    method.verify(system, float(times[-1]))
    known = method.beside(float(times[-1]), 0) is not None
    about = system.attributes().get("recalled" if known else "evaluated", {})
    evaluated.about = {name: value for name, value in about.items() if name != "units"}
    start_of = _starts(method, system, labels)
    pools: dict[int, PredictionPool] = {}
    averaged: dict[int, PredictionPool] = {}
    complete = {p for group in groups(method.replicas, size) for p in group}
    repetition = _Repetition(evaluated)
    for position in range(method.replicas):
        run: PredictionPool | None = None
        average = np.zeros(0)
        start = start_of(position)
        for j, time in enumerate(times):
            x = method.configuration(float(time), position)
            average = x.copy() if j == 0 else average + (x - average) / (j + 1)
            said = _said(method, system, x, position, float(time))
            run = run or PredictionPool(said.labels, said.outputs.shape[1])
            run.add(said.outputs)
            if position in complete:
                repetition.join(position, j, x, start, said, run)
            evaluated.dof, evaluated.data = x.size, said.data
            evaluated.examples, evaluated.classified = len(said.losses), len(said.labels)
            tick()
        if run is not None:
            _spend(evaluated.budgets, size, pools, run, position, said.probabilities)
        if averages_of(times):
            said = _said(method, system, average, position, None)
            single = PredictionPool(said.labels, said.outputs.shape[1])
            single.add(said.outputs)
            _spend(evaluated.averages, size, averaged, single, position, said.probabilities)
            tick()
    return evaluated


def _said(method: Method, system: System, x: Array, position: int, time: float | None) -> Predictions:
    """Return what a network says at weights that were stored at a time; None: at weights no run was at."""
    beside = None if time is None else method.beside(time, position)
    said = system.predict(x, position, beside) if isinstance(system, Classifies) else None
    if said is None:
        raise UserError(f"{method.path}: system.name = {method.settings.system_name!r} classifies nothing")
    return said


def averages_of(times: Array) -> int:
    """Return how many averages of weights a replica gives: one, if it has members to average."""
    return int(times.size > 1)


def _spend(
    noted: dict[tuple[str, int], list[float]],
    size: int,
    pools: dict[int, PredictionPool],
    run: PredictionPool,
    position: int,
    probable: bool,
) -> None:
    """Add a replica to its group of k replicas, for every k; note what full groups are worth."""
    for k in range(1, size + 1):
        if position % k == 0:
            pools[k] = PredictionPool(run.labels, run.mean.shape[1])
        pools[k].merge(run)
        if position % k == k - 1:
            noted["error", k].append(pools[k].error())
            noted["loss", k].append(pools[k].loss() if probable else np.nan)


class _Repetition:
    """The replicas of one repetition: members join, and what they are worth is noted."""

    def __init__(self, evaluated: Evaluated) -> None:
        self.evaluated = evaluated
        self._pool: PredictionPool | None = None
        self._first: Array = np.empty(0)
        self._answers: list[NDArray[np.int64]] = []

    def join(
        self, position: int, j: int, x: Array, start: Array | None, said: Predictions, run: PredictionPool
    ) -> None:
        """Add member j of the replica at `position`; `run` holds it and those before it of this replica."""
        evaluated = self.evaluated
        repetition, place = divmod(position, evaluated.size)
        place = place * evaluated.times.size + j
        if place == 0:
            self._pool = PredictionPool(said.labels, said.outputs.shape[1])
            self._first, self._answers = x, []
        assert self._pool is not None
        self._pool.add(said.outputs)
        self._answers.append(said.outputs.argmax(axis=1))
        values = {
            "member_error": np.mean(self._answers[-1] != said.labels),
            "member_loss": said.losses.mean(),
            "run_error": run.error(),
            "ensemble_error": self._pool.error(),
            "distance_from_first": np.linalg.norm(x - self._first),
        }
        if start is not None:
            values["distance_from_start"] = np.linalg.norm(x - start)
        if said.probabilities:
            values |= {"run_loss": run.loss(), "ensemble_loss": self._pool.loss()}
        for name, value in values.items():
            evaluated.members[name][repetition, place] = value
        if place == evaluated.disagreement.shape[-1] - 1:
            differing = disagreement(np.array(self._answers))
            evaluated.disagreement[repetition] = differing
            own = evaluated.members["member_error"][repetition]
            evaluated.normalised[repetition] = normalised(differing, own)


def _starts(method: Method, system: System, replica: NDArray[np.int64]) -> Callable[[int], Array | None]:
    """Return what gives the configuration that each replica began from; None where it is not known.

    That stored at time 0; else that of the file which [start] names, looked for there and beside the method's
    own file; else the start that the seed gives.
    """
    if method.stores(0.0):
        return lambda position: method.configuration(0.0, position)
    if method.settings.start is not None:
        named = Path(method.settings.start.file)
        there = next((p for p in (named, method.path.parent / named.name) if p.exists()), None)
        if there is None:
            return lambda position: None
        with open_result(there) as dataset:
            known, _ = configurations.configuration(
                dataset, float(method.dataset.attrs["start_time"]), str(there)
            )
            labels = dataset["replica"].to_numpy().tolist()
        return lambda position: known[labels.index(int(replica[position]))]
    state = system.initial_state(Noise(method.settings.ensemble.seed, replica))
    began = np.asarray(system.configuration(state), dtype=np.float64)
    return lambda position: began[position]
