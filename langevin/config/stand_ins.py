"""Valid values stand in for keys at fault, so that all faults of a run file are told at once.

What keys show only together is asked twice, each time with other valid values in the place of those at fault.
A fault that is found both times, in the same words, and that names none of these keys, is one whatever they
will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from langevin.core.schedule import Grid
from langevin.errors import UserError

from .keys import Section, example_of
from .toml_text import nearest

if TYPE_CHECKING:
    from .settings import Settings

#: Values that are tried in the place of one at fault.
VARIANTS = 2


@dataclass(frozen=True)
class Doubtful:
    """A table that has faults of its own.

    Attributes
    ----------
    name : str
    kind : type of Section
    table : mapping
        As it was given.
    """

    name: str
    kind: type[Section]
    table: Mapping[str, Any]

    @property
    def keys(self) -> set[str]:
        """Keys whose values are not known: at fault, missing, or meant by an unknown one."""
        fields = self.kind.model_fields
        faulty = {str(item["loc"][0]) for item in _errors(self.kind, self.table) if item["loc"]}
        unknown = faulty - set(fields)
        return (faulty & set(fields)) | {nearest(key, fields) for key in unknown if fields}

    def variants(self) -> list[Section]:
        """Return the section with valid values in the place of its faults, in two variants; or none."""
        keys = self.keys
        kept = {k: v for k, v in self.table.items() if k in self.kind.model_fields and k not in keys}
        values = {key: self._values(key, kept) for key in keys}
        if any(len(several) < VARIANTS for several in values.values()):
            return []
        filled = [{**kept, **{key: several[k] for key, several in values.items()}} for k in range(VARIANTS)]
        try:
            return [self.kind.model_validate(table) for table in filled]
        except ValidationError:
            return []

    def _values(self, key: str, kept: Mapping[str, Any]) -> list[Any]:
        """Return valid values of a key that differ, the likeliest first."""
        values: list[Any] = []
        for value in _candidates(self.kind.model_fields[key]):
            wrong = any(item["loc"][:1] == (key,) for item in _errors(self.kind, {**kept, key: value}))
            if not wrong and value not in values:
                values.append(value)
        return values


def further_faults(
    settings: Settings, doubtful: Sequence[Doubtful], check: Callable[[Settings], Iterable[str]]
) -> Iterator[str]:
    """Yield what `check` finds of settings whose doubtful sections are None, whatever these will be.

    Parameters
    ----------
    settings : Settings
    doubtful : sequence of Doubtful
    check : callable
        Yields the faults that several keys show together.
    """
    variants: list[dict[str, Section]] = [{} for _ in range(VARIANTS)]
    for table in doubtful:
        for variant, section in zip(variants, table.variants(), strict=False):
            variant[table.name] = section
    if not variants[0]:
        return
    named = [f"{table.name}.{key}" for table in doubtful for key in table.keys]
    try:
        faults = [list(check(replace(settings, **variant))) for variant in variants]  # type: ignore[arg-type]
    except UserError:
        # Of a value that nobody wrote.
        return
    for fault in faults[0]:
        if fault in faults[1] and not any(name in fault for name in named):
            yield fault


def _errors(kind: type[Section], table: Mapping[str, Any]) -> list[Any]:
    try:
        kind.model_validate(dict(table))
    except ValidationError as error:
        return list(error.errors(include_url=False, include_context=False))
    return []


def _candidates(info: FieldInfo) -> Iterator[Any]:
    """Yield values that a key may take, if they are valid; none for a word, which names a thing."""
    if get_origin(info.annotation) is Literal:
        yield from get_args(info.annotation)
    elif info.annotation is bool:
        yield from (False, True)
    elif info.annotation is not str:
        known = [v for v in (info.default, example_of(info)) if v not in (None, ..., PydanticUndefined)]
        yield from (v.as_given() if isinstance(v, Grid) else v for v in known)
        # A temperature may be a number, too.
        plain = next(
            (kind for kind in (info.annotation, *get_args(info.annotation)) if kind in (int, float)), None
        )
        if plain is not None:
            yield from (2 * v for v in known if isinstance(v, int | float))
            yield from (plain(v) for v in (1, 2, 0))
