r"""What of the structure of a data set is kept: labels, the law of inputs, how many numbers they have.

Keys of [data] take a part of the structure away, after the set is loaded, for every quenched sample by
itself; in this order:

1. `components = k`: an input becomes its first k principal components. Axes and variances λ_i are those of
   the examples that the sample's are drawn from (`Data.population`); test examples are projected on the same
   axes. `component_scaling` "whitened": z_i = u_i · (x − m)/√λ_i, variance 1; "sphere": these, scaled to
   |z| = √k, as Geiger et al., Phys. Rev. E 100, 012115 (2019), have them; "none": √λ_i z_i.
2. `inputs = "gaussian_matched"`: Gaussian inputs of the same mean and covariance; each takes the place, and
   the label, of one that was there. "gaussian_by_class": mean and covariance of its class, by the labels as
   they are given. Test inputs are further draws of the same Gaussian.
3. `classes = n`: labels modulo n; `labels = "parity"` is n = 2. Then `labels`. "shuffled": a random order of
   the labels of the P training examples, and one of the test examples: both sets remain alike, with the
   numbers of examples in each class. "teacher": n classes by a random network (`teacher`) that sees the
   inputs as they are by now.

"gaussian_matched" commutes with `components`: the axes are those of the data, and the components of the
Gaussian inputs are, number by number, the Gaussian inputs of the components. A shuffle commutes with both,
for it does not ask what an input is, and with `classes`: the order does not ask what a label is. A teacher
sees what inputs have become, so that it comes last.

All random numbers follow from (seed, sample). Products of matrices are taken on one thread, so that the same
machine finds the same bits, whatever the number of threads, in every shard, and after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ValidationInfo, field_validator

from langevin.config.keys import ChangesData, key, toml
from langevin.core.ensemble import Ensemble
from langevin.errors import UserError
from langevin.machine.memory import room_faults

from .held import BLOCK, Data, Examples
from .principal import Axes, Source, Table, axes
from .teacher import Teacher, bounds, classified

Rows = Mapping[int, NDArray[np.int64]]


def _distinguish(classes: int) -> int:
    if classes == 1:
        raise ValueError("must be 0 (as many as there are), or ≥ 2")
    return classes


ClassesKey = Annotated[int, AfterValidator(_distinguish)]

#: Raised when the same keys make other data.
VERSION = 1


class StructureKeys(ChangesData):
    """Keys of [data] that take structure away; a key of such a name that a set itself declares is its own."""

    labels: Literal["given", "shuffled", "teacher", "parity"] = key(
        'labels: "given"; "shuffled" in a random order; of a random network, "teacher"; "parity" modulo 2',
        default="given",
    )
    classes: ClassesKey = key(
        "classes n: given labels modulo n, or those of a teacher; 0: as many as there are", default=0, ge=0
    )
    teacher_units: int = key("hidden units of the teacher", default=10, ge=1)
    inputs: Literal["given", "gaussian_matched", "gaussian_by_class"] = key(
        "inputs: as they are, or Gaussian of the same mean and covariance, of all examples or of each class",
        default="given",
    )
    components: int = key(
        "principal components k that an input is reduced to; 0: inputs as they are", default=0, ge=0
    )
    component_scaling: Literal["whitened", "sphere", "none"] = key(
        'components: each of variance 1, "whitened"; these, of length √k, "sphere"; as they are, "none"',
        default="whitened",
    )

    @field_validator("classes", mode="after")
    @classmethod
    def _of_parity(cls, given: int, info: ValidationInfo) -> int:
        if info.data.get("labels") == "parity" and given not in (0, 2):
            raise ValueError('must be 2, or left out, with data.labels = "parity"')
        return given

    @property
    def structure(self) -> Structure:
        """What is asked for."""
        return Structure(**{name: self._ours(name) for name in Structure._fields})

    def _ours(self, name: str) -> Any:
        """Return the value of a key; its default where a subclass means something else by the name."""
        declares = next(base for base in type(self).__mro__ if name in vars(base).get("__annotations__", {}))
        return getattr(self, name) if declares is StructureKeys else Structure._field_defaults[name]

    def changed(self, data: Any, ensemble: Ensemble) -> Any:
        """Return the data with what is left of their structure."""
        return restructured(data, self.structure, ensemble)


class Structure(NamedTuple):
    """What is asked for; the defaults leave the data as they are."""

    labels: str = "given"
    classes: int = 0
    teacher_units: int = 10
    inputs: str = "given"
    components: int = 0
    component_scaling: str = "whitened"

    @property
    def differs(self) -> bool:
        """Whether quenched samples with the same examples differ by it."""
        return self.labels in ("shuffled", "teacher") or self.inputs != "given"

    @property
    def said(self) -> str:
        """What differs from the data as they are, as a run file says it; empty if nothing does."""
        words = [
            f"{name} = {toml(getattr(self, name))}"
            for name in ("labels", "classes", "inputs", "components")
            if getattr(self, name) != self._field_defaults[name]
        ]
        if self.labels == "teacher":
            words.append(f"teacher_units = {self.teacher_units}")
        if self.components:
            words.append(f"component_scaling = {toml(self.component_scaling)}")
        return ", ".join(words)


def restructured(data: Data, wanted: Structure, ensemble: Ensemble) -> Data:
    """Return the data with what is asked for left of their structure, for every quenched sample.

    Parameters
    ----------
    data : Data
    wanted : Structure
    ensemble : Ensemble
        Of the whole run: its seed and samples.

    Raises
    ------
    UserError
        If it makes no sense for these data, or does not fit in memory.
    """
    from langevin.machine.blas import single_blas

    if not wanted.said:
        return data
    for fault in _faults(data, wanted):
        raise UserError(fault)
    before = data.attributes.get("hash", "")
    said = f"structure {VERSION}: {wanted.said}"
    with single_blas():
        if wanted.inputs != "given" or wanted.components:
            data = _with_inputs(data, wanted, ensemble)
        data = _with_labels(data, wanted, ensemble)
    attributes = {
        **data.attributes,
        "structure": wanted.said,
        "hash": f"{before}; {said}" if before else said,
    }
    return replace(data, attributes=attributes)


def _faults(data: Data, wanted: Structure) -> Iterator[str]:
    """Yield what makes no sense for these data."""
    name, labels, inputs = toml(data.name), data.train.labels, data.train.inputs
    classes = data.classes > 0 and labels is not None and labels.ndim == 1
    if inputs.dtype == np.int64:
        yield f"data.{_first(wanted)}: must be left out with data.name = {name}, whose inputs are integers"
    if (wanted.labels == "parity" or (wanted.classes > 0 and wanted.labels != "teacher")) and not classes:
        key = "classes" if wanted.classes else "labels"
        yield f"data.{key} = {toml(getattr(wanted, key))}: data.name = {name} has not one class an example"
    if wanted.labels == "shuffled" and labels is None:
        yield f'data.labels = "shuffled": data.name = {name} has no labels'
    if wanted.labels == "teacher":
        number, fewest = wanted.classes or data.classes, min(len(rows) for rows in data.rows.values())
        if not (classes or wanted.classes):
            yield f'data.classes: missing; needed with data.labels = "teacher": data.name = {name} has none'
        elif number > fewest:
            yield (
                f'data.labels = "teacher": must have no more than {fewest} classes, the training examples; '
                f"has {number}"
            )
    if wanted.inputs == "gaussian_by_class" and not classes:
        yield f'data.inputs = "gaussian_by_class": data.name = {name} has not one class an example'
    yield from _room(data, wanted)


def _first(wanted: Structure) -> str:
    """Return the first of what is asked for."""
    return wanted.said.partition(",")[0]


def _room(data: Data, wanted: Structure) -> Iterable[str]:
    """Yield that the new arrays do not fit in memory."""
    width = int(np.prod(data.train.inputs.shape[1:]))
    needed = 0.0
    if wanted.inputs != "given" or wanted.components:
        needed += max(_source(data, _population(data, s)).bytes for s in data.rows)
        needed += 4.0 * width * max(map(len, data.rows.values())) * (wanted.inputs != "given")
    own = wanted.components or width
    size = 4 if wanted.inputs != "given" or wanted.components else data.train.inputs.itemsize
    needed += float(size) * own * sum(len(r) for rows in (data.rows, data.test_rows) for r in rows.values())
    return room_faults(needed, f"data.{_first(wanted)} with inputs of {width} numbers")


# Inputs.


def _population(data: Data, sample: int) -> NDArray[np.int64]:
    """Return which examples tell the distribution that a sample's examples are drawn from."""
    return data.population.get(sample, data.rows[sample])


def _blocks(data: Data, part: Examples, rows: NDArray[np.int64]) -> Iterator[Table]:
    """Yield inputs as a network gets them, shape (n, d), of these rows one after the other."""
    for first in range(0, len(rows), BLOCK):
        given = part.inputs[rows[first : first + BLOCK]]
        yield data.scaled(given).reshape(len(given), -1).astype(np.float64)


def _source(data: Data, rows: NDArray[np.int64]) -> Source:
    """Return the inputs of training examples."""
    width = int(np.prod(data.train.inputs.shape[1:]))
    return Source(len(rows), width, lambda: _blocks(data, data.train, rows))


def _with_inputs(data: Data, wanted: Structure, ensemble: Ensemble) -> Data:
    """Return the data with components in place of inputs, or Gaussian inputs, each sample with its own."""
    known: dict[int, Axes] = {}
    parts: tuple[dict[int, NDArray[np.float32]], ...] = ({}, {})
    for sample in sorted(data.rows):
        population = _population(data, sample)
        # Samples of one archive have one population: the same array.
        if id(population) not in known:
            known[id(population)] = _axes(data, population, wanted)
        maker = _Maker(data, wanted, ensemble, sample, known[id(population)])
        for made, part, rows, role in zip(
            parts, (data.train, data.test), (data.rows, data.test_rows), ("", "test "), strict=True
        ):
            made[sample] = maker.inputs(part, rows[sample], role)
    train, rows = _joined(data.train, data.rows, parts[0])
    test, test_rows = _joined(data.test, data.test_rows, parts[1])
    channels = train.inputs.shape[1]
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return replace(
        data, train=train, test=test, scale=one, shift=zero, rows=rows, test_rows=test_rows, population={}
    )


def _axes(data: Data, population: NDArray[np.int64], wanted: Structure) -> Axes:
    """Return the principal axes of a population that has as many as are asked for."""
    found = axes(_source(data, population))
    if wanted.components > found.rank:
        raise UserError(
            f"data.components = {wanted.components}: must be ≤ {found.rank}, the directions in which the "
            f"{len(population)} inputs of data.name = {toml(data.name)} vary"
        )
    if found.rank == 0:
        raise UserError(f"data.{_first(wanted)}: all inputs of data.name = {toml(data.name)} are the same")
    return found


class _Maker:
    """Makes the inputs of one quenched sample."""

    def __init__(self, data: Data, wanted: Structure, ensemble: Ensemble, sample: int, own: Axes) -> None:
        self.data, self.wanted, self.ensemble, self.sample, self.axes = data, wanted, ensemble, sample, own
        self.width = wanted.components or int(np.prod(data.train.inputs.shape[1:]))
        self.by_class = self._axes_of_classes() if wanted.inputs == "gaussian_by_class" else {}

    def inputs(self, part: Examples, rows: NDArray[np.int64], role: str) -> NDArray[np.float32]:
        """Return the inputs of these rows of a part: shape (n, k), or (n, …) of the data's own."""
        if self.wanted.inputs == "given":
            blocks: Iterable[Table] = (self._reduced(block) for block in _blocks(self.data, part, rows))
        else:
            blocks = self._gaussian(part, rows, role)
        made = np.empty((len(rows), self.width), np.float32)
        first = 0
        for block in blocks:
            made[first : first + len(block)] = self._scaled(block)
            first += len(block)
        return made if self.wanted.components else made.reshape(len(rows), *part.inputs.shape[1:])

    def _reduced(self, block: Table) -> Table:
        """Return the components of inputs as they are, of variance 1; the inputs themselves without."""
        return block if not self.wanted.components else self.axes.whitened(block, self.width)

    def _scaled(self, block: Table) -> Table:
        """Return inputs, or components of variance 1, as they are asked for."""
        if not self.wanted.components or self.wanted.component_scaling == "whitened":
            return block
        if self.wanted.component_scaling == "none":
            return block * np.sqrt(self.axes.variances[: self.width])
        return block * (np.sqrt(self.width) / np.linalg.norm(block, axis=1, keepdims=True))

    def _gaussian(self, part: Examples, rows: NDArray[np.int64], role: str) -> Iterator[Table]:
        """Yield Gaussian inputs, or their components."""
        normals = self._normals(len(rows), role)
        for first in range(0, len(rows), BLOCK):
            block = normals[:, first : first + BLOCK].T.astype(np.float64)
            if self.by_class:
                assert part.labels is not None
                yield self._of_classes(block, part.labels[rows[first : first + BLOCK]])
            else:
                # The components of Gaussian inputs, each of variance 1, are the normals that made them.
                yield self.axes.drawn(block) if not self.wanted.components else block

    def _normals(self, count: int, role: str) -> NDArray[np.float32]:
        """Draw normals, shape (axes, count): fewer axes, or fewer examples, are the beginning of more."""
        number = self.axes.rank if not self.wanted.components else self.width
        drawn = np.empty((number, count), np.float32)
        for i, row in enumerate(drawn):
            row[:] = self.ensemble.quenched(f"gaussian {role}inputs", self.sample, i).standard_normal(count)
        return drawn

    def _axes_of_classes(self) -> dict[int, Axes]:
        """Return the axes of each class, of inputs or of components."""
        population, labels = _population(self.data, self.sample), self.data.train.labels
        assert labels is not None
        own = labels[population]
        found = {}
        for c in np.unique(own).tolist():
            rows = population[own == c]
            blocks = [self._reduced(block) for block in _blocks(self.data, self.data.train, rows)]
            found[c] = axes(Source.of(np.concatenate(blocks)))
        return found

    def _of_classes(self, normals: Table, labels: NDArray[Any]) -> Table:
        """Return inputs of these classes, made of normals (n, r)."""
        made = np.empty((len(normals), self.width))
        for c in np.unique(labels).tolist():
            if c not in self.by_class:
                raise UserError(
                    f'data.inputs = "gaussian_by_class": class {c} has test examples, but none for training'
                )
            here, own = labels == c, self.by_class[c]
            # A class varies in no more directions than all examples do.
            made[here] = own.drawn(normals[here][:, : own.rank])
        return made


def _joined(
    part: Examples, rows: Rows, inputs: Mapping[int, NDArray[Any]]
) -> tuple[Examples, dict[int, NDArray[np.int64]]]:
    """Return the examples of all samples one after the other, with these inputs, and the rows of each."""
    samples = sorted(rows)
    labels = None if part.labels is None else np.concatenate([part.labels[rows[s]] for s in samples])
    starts = np.cumsum([0, *(len(rows[s]) for s in samples)])
    own = {s: np.arange(first, first + len(rows[s])) for s, first in zip(samples, starts[:-1], strict=True)}
    joined = inputs[samples[0]] if len(samples) == 1 else np.concatenate([inputs[s] for s in samples])
    return Examples(joined, labels), own


# Labels.


def _with_labels(data: Data, wanted: Structure, ensemble: Ensemble) -> Data:
    """Return the data with the labels that are asked for."""
    classes = 2 if wanted.labels == "parity" else wanted.classes or data.classes
    if wanted.labels != "teacher" and classes != data.classes:
        train, test = (_modulo(part, classes) for part in (data.train, data.test))
        data = replace(data, train=train, test=test, classes=classes)
    if wanted.labels in ("given", "parity"):
        return data
    data = _apart(data)
    labels = _shuffled(data, ensemble) if wanted.labels == "shuffled" else _taught(data, wanted, ensemble)
    train, test = (
        Examples(part.inputs, own) for part, own in zip((data.train, data.test), labels, strict=True)
    )
    return replace(data, train=train, test=test, classes=classes)


def _modulo(part: Examples, classes: int) -> Examples:
    assert part.labels is not None
    return Examples(part.inputs, (part.labels % classes).astype(np.int64))


def _apart(data: Data) -> Data:
    """Return the data such that no two samples share an example: each may have labels of its own."""
    parts, all_rows = [], []
    for part, rows in ((data.train, data.rows), (data.test, data.test_rows)):
        everything = np.arange(len(part))
        if len(rows) == 1 and np.array_equal(next(iter(rows.values())), everything):
            parts.append(part)
            all_rows.append(rows)
        else:
            own, own_rows = _joined(part, rows, {s: part.inputs[r] for s, r in rows.items()})
            parts.append(own)
            all_rows.append(own_rows)
    # The examples that are not used are gone.
    return replace(
        data, train=parts[0], test=parts[1], rows=all_rows[0], test_rows=all_rows[1], population={}
    )


def _shuffled(data: Data, ensemble: Ensemble) -> list[NDArray[Any]]:
    """Return the labels of training and test examples, those of each sample in a random order."""
    found = []
    for part, rows, role in ((data.train, data.rows, ""), (data.test, data.test_rows, "test ")):
        assert part.labels is not None
        labels = part.labels.copy()
        for sample, own in rows.items():
            order = ensemble.quenched(f"shuffled {role}labels", sample).permutation(len(own))
            labels[own] = part.labels[own[order]]
        found.append(labels)
    return found


def _taught(data: Data, wanted: Structure, ensemble: Ensemble) -> list[NDArray[np.int64]]:
    """Return the labels that the teacher of each sample gives to its training and test examples."""
    width, classes = int(np.prod(data.train.inputs.shape[1:])), wanted.classes or data.classes
    train, test = (np.empty(len(part), np.int64) for part in (data.train, data.test))
    for sample, rows in data.rows.items():
        teacher = Teacher.drawn(ensemble.quenched("teacher", sample), wanted.teacher_units, width)
        outputs = teacher.outputs(_blocks(data, data.train, rows))
        limits = bounds(outputs, classes)
        train[rows] = classified(outputs, limits)
        test_rows = data.test_rows[sample]
        test[test_rows] = classified(teacher.outputs(_blocks(data, data.test, test_rows)), limits)
    return [train, test]
