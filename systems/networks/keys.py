"""The keys of a network's run file, beyond those of every system."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator

from langevin.config.keys import (
    ATTRACTIONS,
    TEMPERATURES,
    AttractionKey,
    DynamicsKeys,
    TemperatureKey,
    key,
)
from langevin.config.sections import RecordKeys
from langevin.core.protocol import bounds
from langevin.errors import UserError

from . import optimisers
from .optimisers import Optimiser
from .schedules import RateSchedule


def _flat(given: Any, prefix: str = "") -> Any:
    """Return a table whose tables are joined by dots: names without quotes are such tables in TOML."""
    if not isinstance(given, Mapping):
        return given
    flat: dict[str, Any] = {}
    for name, value in given.items():
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        flat |= inner
    return flat


def _factors(given: dict[str, float]) -> dict[str, float]:
    for pattern, factor in given.items():
        if not factor >= 0:
            raise ValueError(f'"{pattern}": must be ≥ 0 (0: does not move)')
    return given


RateFactors = Annotated[dict[str, float], BeforeValidator(_flat), AfterValidator(_factors)]


class Descent(DynamicsKeys):
    """[dynamics]: stochastic gradient descent. Time is counted in steps.

    The keys of the optimiser that a run file names stand there, too (`for_table`).
    """

    #: Whose keys are among these.
    optimiser_class: ClassVar[type[Optimiser] | None] = None
    collects: ClassVar[str] = (
        'dynamics.schedule = "triangular" with dynamics.t_max ≥ dynamics.cycle/2, or "cosine" with '
        "dynamics.t_max ≥ a cycle"
    )

    @property
    def time_step(self) -> float:
        """One step."""
        return 1.0

    learning_rate: float = key(
        "learning rate α: the time step dt of the engine; of a schedule the highest rate", default=0.01, gt=0
    )
    schedule: Literal["constant", "piecewise_linear", "triangular", "cosine", "divided"] = key(
        "how the learning rate changes: not at all; α to half of the budget, then linearly to α/100 at 90 % "
        "of it; in cycles from α to the lowest rate and back; in cycles from α to 0; divided by ten again "
        "and again, down to the lowest rate",
        default="constant",
    )
    budget: int = key(
        'steps that schedule = "piecewise_linear" or "cosine" is laid out for; 0: t_max',
        default=0,
        ge=0,
        unit="steps",
    )
    lowest_learning_rate: float = key(
        'learning rate in the middle of a cycle of schedule = "triangular", or at the end of "divided"',
        default=5e-4,
        gt=0,
    )
    cycle: int = key(
        'steps of a cycle of schedule = "triangular", an even number', default=1000, ge=2, unit="steps"
    )
    division: int = key(
        'steps until the rate of schedule = "divided" is divided by ten', default=250_000, ge=1, unit="steps"
    )
    cycles: int = key('cycles of schedule = "cosine" in the budget', default=5, ge=1)
    batch_size: int = key(
        "examples B in a mini-batch (persistent: on average; full: not used)", default=100, ge=1
    )
    batches: Literal["epochs", "iid", "persistent", "full"] = key(
        "how batches are drawn: without replacement, with it, each example in or out for a random time, all; "
        "epochs leave out what B does not divide",
        default="epochs",
    )
    persistence: float = key(
        'mean number of steps that an example stays in the batch; batches = "persistent" alone uses it',
        default=10.0,
        ge=1,
        unit="steps",
    )
    augment: Literal["none", "crop_flip"] = key(
        "what is done to the images of a mini-batch: nothing, or a random crop after padding by 4 pixels, "
        "mirrored or not",
        default="none",
    )
    weight_decay: float = key(
        "weight decay λ: −λ w is added to the force; of adamw, w is multiplied by 1 − αλ instead",
        default=0.0,
        ge=0,
    )
    decay: Literal["all", "weights"] = key(
        "which parameters decay: all; or all but those of fewer than two axes (biases) and those of "
        "normalisation layers",
        default="all",
    )
    rate_factors: RateFactors = key(
        "factors on the learning rate of parameters, by patterns of their names; those of all patterns that "
        "match multiply; 0: does not move",
        default={},
        kind='table, such as { "head.*" = 0.1, "*.bias" = 2.0 }, of numbers ≥ 0',
    )
    rests: bool = key(
        "take no step of a batch without a loss: weights stay, and what the optimiser remembers",
        default=False,
    )
    temperature: TemperatureKey = key(
        "temperature T of additional Gaussian noise √(2Tα) (stochastic gradient Langevin dynamics)",
        default=0.0,
        kind=TEMPERATURES,
        unit="energy",
    )
    t_max: float = key("end of the run", example=1000.0, ge=1, unit="steps")
    attraction: AttractionKey = key(
        "attraction of groups of replicas to their centre (replicated SGD): how many share one, the part of "
        "the way that a pull takes (0 … 1, or its protocol), steps between pulls",
        default=None,
        example={},
        kind=ATTRACTIONS,
    )
    device: str = key('"auto": the GPU where there is one; or "cpu", "cuda", "cuda:1"', default="auto")
    precision: Literal["single", "double", "tf32", "bf16"] = key(
        "numbers of the step: weights are in single or double precision, and products are exact to that, or "
        'of factors rounded to 11 bits ("tf32": on a GPU, else single) or to 8 ("bf16")',
        default="single",
    )
    compile: bool = key(
        "compile the step by torch.compile: a minute or so at the start, kept on disk; needs a C++ compiler",
        default=False,
    )
    execution: Literal["auto", "sequential", "stacked"] = key(
        "replicas one by one, or many in each call; auto: what is fast for the size of the net",
        default="auto",
    )
    backend: Literal["auto", "numba", "torch", "triton"] = key(
        "compiled steps, of fully connected nets on a CPU (numba) or of many tiny ones on a GPU (triton), or "
        "steps of torch; auto: the fastest",
        default="auto",
    )
    cuda_graph: bool = key("on a GPU, capture the step in a CUDA graph", default=True)
    deterministic: bool = key("on a GPU, deterministic algorithms only: the same bits again", default=False)
    optimiser: str = key(
        f"what makes steps of gradients: {', '.join(optimisers.BUILT_IN)}, or your own "
        '"package.module:Class"; each has keys of its own',
        default=optimisers.DEFAULT,
    )

    @classmethod
    def for_table(cls, table: Mapping[str, Any]) -> type[Descent]:
        """Return this class with the keys of the optimiser that a table names.

        Raises
        ------
        UserError
            If there is no such optimiser, or it has a key of a name that is taken.
        """
        name = table.get("optimiser", optimisers.DEFAULT)
        # What is no name is a fault that all optimisers have.
        return _with_keys_of(optimisers.named(name if isinstance(name, str) else optimisers.DEFAULT), cls)

    @classmethod
    def variants(cls) -> list[dict[str, str]]:
        """Return a table for each optimiser of ours."""
        return [{"optimiser": name} for name in optimisers.BUILT_IN]

    @classmethod
    def unknown(cls, name: str) -> str:
        """Say of whom a key is that the optimiser here does not have."""
        owners = ", ".join(f'"{owner}"' for owner in optimisers.owners(name))
        return f"a key of dynamics.optimiser = {owners} alone" if owners else super().unknown(name)

    def optimiser_keys(self) -> list[str]:
        """Return the names of keys that say the optimiser: if it is not the default, and what it declares."""
        assert self.optimiser_class is not None
        named = [] if self.optimiser == optimisers.DEFAULT else ["optimiser"]
        return [*named, *self.optimiser_class.Parameters.model_fields]

    def own_optimiser(self) -> Optimiser:
        """Return the optimiser, with its keys as they are here."""
        assert self.optimiser_class is not None
        return self.optimiser_class(self)

    @property
    def rates(self) -> RateSchedule:
        """The learning rate of every step."""
        return RateSchedule(
            self.learning_rate,
            self.schedule,
            self.budget or round(self.t_max),
            self.lowest_learning_rate,
            self.cycle,
            self.cycles,
            self.division,
        )

    def collected(self) -> list[float]:
        """Return the times at which the schedule gives a model to an ensemble."""
        return [float(t) for t in self.rates.collected(round(self.t_max))]

    def faults(self) -> Iterator[str]:
        """Yield the faults that several keys together show."""
        yield from self._schedule_faults()
        yield from self._rest_faults()
        compiled = self.backend in ("numba", "triton")
        if compiled and (self.precision == "bf16" or self.compile):
            given = 'dynamics.precision = "bf16"' if self.precision == "bf16" else "dynamics.compile = true"
            yield f'dynamics.backend = "{self.backend}": allowed: "auto", "torch" with {given}'
        if self.compile and self.batches == "persistent":
            yield (
                'dynamics.compile = true: allowed: false with dynamics.batches = "persistent", whose batches '
                "change in size (each would be compiled)"
            )
        if compiled and self.execution == "stacked":
            given = 'dynamics.execution = "stacked"'
            yield f'{given}: allowed: "auto", "sequential" with dynamics.backend = "{self.backend}"'
        optimiser, named = self.own_optimiser(), f'dynamics.optimiser = "{self.optimiser}"'
        momentum = optimiser.kernel_momentum
        known = self.backend == "numba" and optimiser.kernel_moments is not None
        if compiled and momentum is None and not known:
            yield f'dynamics.backend = "{self.backend}": allowed: "auto", "torch" with {named}'
        hottest = bounds(self.temperature, self.t_max)[1]
        if hottest and not optimiser.thermal:
            cause = (f"dynamics.momentum = {momentum:g}", "momentum") if momentum else (named, "its steps")
            yield (
                f"dynamics.temperature = {hottest:g}: must be 0 with {cause[0]} (noise on top of "
                f"{cause[1]} samples no known distribution)"
            )

    def _rest_faults(self) -> Iterator[str]:
        if not self.rests:
            return
        others = {
            'dynamics.execution = "stacked"': self.execution == "stacked",
            'dynamics.backend = "triton"': self.backend == "triton",
            "dynamics.temperature > 0": bounds(self.temperature, self.t_max)[1] > 0,
        }
        for given in (name for name, holds in others.items() if holds):
            yield f"dynamics.rests = true: allowed: false with {given}"

    def _schedule_faults(self) -> Iterator[str]:
        if self.schedule == "triangular" and self.cycle % 2:
            yield f'dynamics.cycle = {self.cycle}: must be even with dynamics.schedule = "triangular"'
        above = self.lowest_learning_rate > self.learning_rate
        if self.schedule in ("triangular", "divided") and above:
            yield (
                f"dynamics.lowest_learning_rate = {self.lowest_learning_rate:g}: must be ≤ "
                f"dynamics.learning_rate = {self.learning_rate:g} with dynamics.schedule = "
                f'"{self.schedule}"'
            )
        if self.schedule == "cosine" and self.cycles > self.rates.budget:
            yield (
                f"dynamics.cycles = {self.cycles}: must be ≤ {self.rates.budget}, the steps of the budget, "
                'with dynamics.schedule = "cosine"'
            )


@functools.cache
def _with_keys_of(optimiser: type[Optimiser], kind: type[Descent]) -> type[Descent]:
    """Return a section with the keys of an optimiser behind its own."""
    if kind.optimiser_class is not None:
        return kind
    twice = sorted(kind.model_fields.keys() & optimiser.Parameters.model_fields.keys())
    if twice:
        raise UserError(
            f"dynamics.optimiser: {optimiser.__name__} declares {', '.join(twice)}, which [dynamics] has"
        )
    body = {"__doc__": kind.__doc__, "__module__": kind.__module__, "optimiser_class": optimiser}
    combined: type[Descent] = type(Descent)(kind.__name__, (optimiser.Parameters, kind), body)  # type: ignore[misc]
    return combined


class RecordDescent(RecordKeys):
    """[record] of a network."""

    layer_angles: bool = key(
        "for each pair of times the angle by which the weights of every layer have turned", default=False
    )
    layers: bool = key(
        "msd, gradient noise, and trace and largest eigenvalue of the Hessian, of each tensor of weights",
        default=False,
    )
    energy_examples: int = key(
        "training examples, and test examples, that loss and accuracy are averaged over (a seeded subset; "
        "all, if there are no more)",
        default=10_000,
        ge=1,
    )
    gradient_examples: int = key(
        "training examples that the gradient's norm and its noise are estimated from (a seeded subset)",
        default=1000,
        ge=20,
    )
    hessian_examples: int = key(
        "training examples that the Hessian's loss is averaged over (a seeded subset; all, if there are no "
        "more)",
        default=1000,
        ge=1,
    )


class RecordNetwork(RecordDescent):
    """[record] of a network whose weights descend, and may respond."""

    response: bool = key(
        "measure the integrated response to a constant force on the weights, too: from the thermal noise, or "
        "from copies in a small field",
        default=False,
    )
    response_from: Literal["auto", "noise", "field"] = key(
        "what the response follows from: the thermal noise (T > 0), or two copies of each replica, in the "
        "fields ±h, for every waiting time in progress; auto: the noise where there is any",
        default="auto",
    )
    field: float = key(
        "strength h of the field, a force on every weight; 0: a hundredth of the rms noise of a step's force",
        default=0.0,
        ge=0,
    )

    def from_noise(self, dynamics: Descent) -> bool:
        """Return whether the response follows from the thermal noise."""
        coldest = bounds(dynamics.temperature, dynamics.t_max)[0]
        return self.response_from == "noise" or (self.response_from == "auto" and coldest > 0)

    def faults(self, dynamics: Descent) -> Iterator[str]:
        """Yield what is wrong with the response in view of the dynamics."""
        if not self.response:
            return
        if not dynamics.own_optimiser().linear:
            yield (
                f'record.response = true: allowed: false with dynamics.optimiser = "{dynamics.optimiser}", '
                "whose steps are not proportional to the force"
            )
            return
        coldest, hottest = bounds(dynamics.temperature, dynamics.t_max)
        if self.response_from == "noise" and not coldest:
            reached = "where dynamics.temperature reaches 0" if hottest else "at dynamics.temperature = 0"
            yield (
                f'record.response_from = "noise": allowed: "auto", "field" {reached} (it is '
                "measured from the thermal noise)"
            )
        elif self.field and self.from_noise(dynamics):
            yield (
                f'record.field = {self.field:g}: allowed: 0, or record.response_from = "field", at '
                f"dynamics.temperature = {hottest:g} (the response is then that of the noise)"
            )
