"""Run files as they are written: TOML text → plain tables, overrides included. `config` validates them."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langevin.errors import UserError
from langevin.schedule import Grid


def plain(given: Any) -> Any:
    """Turn what Python callers like to write (numpy numbers and arrays, paths, grids) into TOML's types."""
    if isinstance(given, Mapping):
        return {name: plain(value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [plain(value) for value in given]
    if isinstance(given, np.ndarray | np.generic):
        return given.tolist()
    if isinstance(given, Grid):
        return given.as_given()
    return str(given) if isinstance(given, Path) else given


def read(path: Path) -> str:
    """Return the text of a run file; `UserError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a run file (not UTF-8 text)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read the run file: {error.strerror}") from None


def parse(text: str, path: Path) -> dict[str, Any]:
    """Return the tables of a run file; `UserError` if it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None


def override(given: dict[str, Any], overrides: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return `given` with keys ("section.key" → value) replaced; append a line to `faults` for each fault."""
    merged = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
    for dotted, value in overrides.items():
        if dotted.startswith("sweep."):
            table = merged["sweep"] if isinstance(merged.get("sweep"), dict) else {}
            merged["sweep"] = {**table, dotted.removeprefix("sweep."): value}
            continue
        *parents, last = dotted.split(".")
        table = merged
        for parent in parents:
            inner = table.setdefault(parent, {})
            table[parent] = table = dict(inner) if isinstance(inner, Mapping) else {}
        if not parents and last != "title":
            faults.append(f"override {dotted!r}: write section.key, for instance dynamics.temperature")
        else:
            table[last] = value
    return merged


def flat(given: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return `given` with the keys of [sweep] as "section.key", or "group.section.key", however written.

    TOML makes tables of keys with dots that stand without quotes. Appends a line to `faults` for each key
    that stands there twice.
    """
    if not isinstance(given.get("sweep"), Mapping):
        return given
    table: dict[str, Any] = {}
    for dotted, value in _leaves(given["sweep"], ""):
        if dotted in table:
            faults.append(f"sweep.{dotted}: stands there twice")
        table[dotted] = value
    return {**given, "sweep": table}


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return what was probably meant."""
    return difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.0)[0]


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """Split "section.key=value"; the value is TOML, or a plain string where it is not.

    Raises
    ------
    UserError
        If there is no "=" or no section.
    """
    dotted, equals, text = assignment.partition("=")
    if not equals or ("." not in dotted.strip(".") and dotted.strip() != "title"):
        raise UserError(
            f"--set {assignment!r}: write section.key=value, for instance dynamics.temperature=0.6"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return dotted.strip(), value
