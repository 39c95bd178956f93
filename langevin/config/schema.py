"""The JSON Schema of run files: what editors complete and check keys by, made from the sections themselves.

It is of draft 7, which editors of TOML know. Which keys a section has follows from names that the run file
gives: of the system, the data set, the optimiser. The schema says so by conditions on these names. Of a class
of the user's own any keys are allowed, unless it is asked for by its name. What only several keys together
show is left to `langevin validate`.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, runtime_checkable
from typing import Protocol as TypingProtocol
from urllib.parse import quote

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from langevin.core.attraction import Attraction
from langevin.core.capabilities import LearnsFromData
from langevin.core.exchange import Ladder
from langevin.core.protocol import Protocol
from langevin.core.rules import Rule
from langevin.core.schedule import Grid

from . import checks, registry
from .keys import Section, StartKeys, describe
from .sections import LONGEST_TITLE, EnsembleKeys, OutputKeys, RecordKeys, dynamics_keys, record_keys

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"

#: The file that `langevin init` says holds it.
FILE = "langevin.schema.json"

_NUMBER: Schema = {"type": "number"}
_POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
_TIMES: Schema = {"type": "array", "items": {"type": "number", "minimum": 0}}


@runtime_checkable
class Varies(TypingProtocol):
    """A section in which the name that one key gives brings other keys along (`Section.for_table`)."""

    @classmethod
    def variants(cls) -> Sequence[Mapping[str, Any]]:
        """Return a table with that key for each name of ours."""


#: Names of keys without a type of JSON's own.
_OWN: Mapping[Any, Schema] = {
    int: {"type": "integer"},
    float: _NUMBER,
    str: {"type": "string"},
    bool: {"type": "boolean"},
    Grid: {
        "anyOf": [
            _TIMES,
            {
                "type": "object",
                "properties": {"start": _POSITIVE, "stop": _POSITIVE, "per_decade": _POSITIVE},
                "required": ["per_decade"],
                "additionalProperties": False,
            },
        ]
    },
    Protocol: {
        "anyOf": [
            {"type": "array", "items": {"type": "array", "items": _NUMBER}},
            {"type": "object", "required": ["protocol"]},
        ]
    },
    Ladder: {
        "type": "object",
        "properties": {"hotter": {"type": "array", "items": _POSITIVE}, "every": {"type": "integer"}},
        "additionalProperties": False,
    },
    Attraction: {
        "type": "object",
        "properties": {
            "replicas": {"type": "integer", "minimum": 2},
            "strength": {},
            "every": {"type": "integer", "minimum": 1},
        },
        "additionalProperties": False,
    },
    Rule: {"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]},
}

_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}

#: "module:Class" of a user's own; the registered names have no colon.
_OF_USER: Schema = {"type": "string", "pattern": ":"}


def schema(own: Sequence[str] = (), folder: Path | None = None) -> Schema:
    """Return the JSON Schema of run files.

    Parameters
    ----------
    own : sequence of str
        Systems of the user's, "module:Class", whose keys are to be known, too.
    folder : Path, optional
        Where their modules are looked for.

    Raises
    ------
    UserError
        If there is no such class.
    """
    systems = {name: registry.load(name, folder) for name in [*sorted(registry.names()), *own]}
    data = {
        name: registry.load(name, folder, registry.DATA) for name in sorted(registry.names(registry.DATA))
    }
    parts = _Parts()
    every = {
        "title": {"type": "string", "maxLength": LONGEST_TITLE},
        "system": _named(systems),
        "data": _named(data),
        "start": {"type": "object"},
        "dynamics": {"type": "object"},
        "ensemble": parts.of(EnsembleKeys),
        "record": {"type": "object"},
        "output": parts.of(OutputKeys),
        "sweep": {"$ref": "#/definitions/sweep"},
    }
    conditions = [_of_system(name, kind, parts) for name, kind in systems.items()]
    return {
        "$schema": DRAFT,
        "title": "Run file of langevin",
        "type": "object",
        "properties": every,
        "additionalProperties": False,
        # Members of a sweep may have other systems, and other keys than stand in its sections.
        "if": {"$ref": "#/definitions/sweeps_names"},
        "else": {
            "required": ["system"],
            "properties": {"system": {"required": ["name"]}},
            "allOf": conditions,
        },
        "definitions": {
            "sweep": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"type": ["array", "object"], "minItems": 1, "minProperties": 1},
            },
            "sweeps_names": _sweeps(r"(system|data)\.name$"),
            "data_of_its_name": {
                "allOf": [_if("name", name, parts.of(kind.Parameters, name)) for name, kind in data.items()]
            },
            **parts.definitions,
        },
    }


def _of_system(name: str, kind: type[Any], parts: _Parts) -> Schema:
    """Return the condition that a run file of this system fulfils."""
    learns = issubclass(kind, LearnsFromData)
    properties: Schema = {
        "system": parts.of(kind.Parameters, name),
        "dynamics": parts.of(dynamics_keys(kind)),
        "record": parts.of(record_keys(kind)),
        "start": parts.of(StartKeys) if checks.can_begin(kind) else _NONE,
        "data": _NONE,
    }
    needed = {
        section: [name for name, info in keys.model_fields.items() if info.is_required()]
        for section, keys in (("dynamics", dynamics_keys(kind)), ("system", kind.Parameters))
    }
    if learns:
        own = registry.load(kind.data, kind=registry.DATA).Parameters
        properties["data"] = {
            "if": {"required": ["name"]},
            "then": {"$ref": "#/definitions/data_of_its_name"},
            "else": parts.of(own, kind.data),
        }
    return {
        "if": {"properties": {"system": {"properties": {"name": {"const": name}}, "required": ["name"]}}},
        "then": {
            "properties": properties,
            "if": _ALONE,
            "then": {
                "required": [section for section, keys in needed.items() if keys],
                "properties": {section: {"required": keys} for section, keys in needed.items()},
            },
        },
    }


#: A section that a system has not.
_NONE: Schema = {"not": {}, "description": "not a section of this system"}

#: A file without [sweep]: all keys that a run needs stand in it.
_ALONE: Schema = {"not": {"required": ["sweep"]}}


class _Parts:
    """Schemas of sections, each once."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._known: dict[tuple[type[Section], str], str] = {}

    def of(self, kind: type[Section], name: str = "") -> Schema:
        """Return a reference to the schema of a section; `name` is the name that stands among its keys."""
        if (kind, name) not in self._known:
            label = f"{kind.__module__}.{kind.__qualname__}" + f" ({name})" * bool(name)
            self._known[kind, name] = label
            self.definitions[label] = self._made(kind, name)
        return {"$ref": f"#/definitions/{_escaped(self._known[kind, name])}"}

    def _made(self, kind: type[Section], name: str) -> Schema:
        plain = kind.for_table({})
        variants = list(kind.variants()) if issubclass(kind, Varies) else []
        made = _of_section(plain, name)
        if issubclass(kind, RecordKeys):
            made["properties"]["probes"] = _PROBES
        if not variants:
            return made
        # A name brings keys along: those of the one that is named.
        key = next(iter(variants[0]))
        conditions = [_if(key, v[key], _of_section(kind.for_table(v), name)) for v in variants]
        named = [v[key] for v in variants]
        return {
            "properties": {key: {"anyOf": [{"enum": named}, _OF_USER]}},
            "allOf": [*conditions, {"if": {"not": {"required": [key]}}, "then": made}],
        }


#: [record.probes]: each names a class that declares keys of its own.
_PROBES: Schema = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"use": _OF_USER, "times": _OWN[Grid]},
        "required": ["use"],
    },
}


def _if(key: str, value: Any, then: Schema) -> Schema:
    return {"if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then}


def _of_section(kind: type[Section], name: str) -> Schema:
    properties = {field: of_key(info) for field, info in kind.model_fields.items()}
    return {
        "type": "object",
        "description": (kind.__doc__ or "").strip().partition("\n")[0],
        "properties": ({"name": {"const": name}} if name else {}) | properties,
        "additionalProperties": False,
    }


def of_key(info: FieldInfo) -> Schema:
    """Return the schema of a key: its type, limits, meaning and default."""
    made = {"description": describe(info), **_of_type(info.annotation, info.metadata)}
    if info.default is not PydanticUndefined and info.default is not None:
        default = info.default.as_given() if isinstance(info.default, Grid) else info.default
        if _is_json(default):
            made["default"] = default
    return made


def _is_json(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(map(_is_json, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _of_type(kind: Any, rules: Iterable[Any] = ()) -> Schema:
    """Return the schema of a type; of one that a section reads in a way of its own nothing is said."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _of_type(inner[0], [r for one in inner[1:] for r in getattr(one, "metadata", [one])])
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        # TOML has no word for None.
        return {"anyOf": [_of_type(one) for one in inner if one is not type(None)]}
    if origin is list:
        return {"type": "array", "items": _of_type(*inner)}
    if origin is dict:
        return {"type": "object"}
    limits = {
        word: getattr(rule, name)
        for rule in rules
        for name, word in _LIMITS.items()
        if getattr(rule, name, None) is not None
    }
    return {**_OWN.get(kind, {}), **limits}


def _named(kinds: Mapping[str, Any]) -> Schema:
    return {
        "type": "object",
        "properties": {"name": {"anyOf": [{"enum": list(kinds)}, _OF_USER]}},
    }


def _sweeps(names: str) -> Schema:
    """Return what a run file fulfils that sweeps a key of such a name, in a group or not."""

    def holds(pattern: str) -> Schema:
        return {"not": {"propertyNames": {"not": {"pattern": pattern}}}}

    last = names.rpartition(".")[2]
    grouped = {"type": "object", **holds(rf"(^|\.){last}")}
    swept = {"anyOf": [holds(rf"(^|\.){names}"), {"not": {"additionalProperties": {"not": grouped}}}]}
    return {"required": ["sweep"], "properties": {"sweep": swept}}


def _escaped(name: str) -> str:
    """Return a name as an address has it."""
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="~")
