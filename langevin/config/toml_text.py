"""TOML text becomes plain tables here, overrides included; `validate` takes it from there."""

from __future__ import annotations

import codecs
import difflib
import math
import os
import re
import select
import stat
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from langevin.core.schedule import Grid
from langevin.errors import ConfigError, UserError, shortened
from langevin.speech import command, option

from . import objects

#: Bytes that a run file may have, tables within tables, and digits of an integer.
LARGEST, DEEPEST, MOST_DIGITS = 1 << 20, 30, 300
LARGEST_INTEGER = 10**MOST_DIGITS

#: Seconds that a pipe may be silent.
PATIENCE = 10.0

#: What other encodings begin with.
_WIDE = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
#: What netCDF files begin with.
_RESULTS = (b"\x89HDF", b"CDF")

#: A key of forty parts.
_MANY_DOTS = re.compile(r"""(?<![\w"'-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){40}""")


class Unset(Enum):
    """What an override gives that removes a key."""

    UNSET = "unset"

    def __repr__(self) -> str:
        """Say it as the command line does."""
        return "unset"


UNSET = Unset.UNSET


def plain(given: Any) -> Any:
    """Turn what Python callers like to write into TOML's types.

    That are numpy's numbers and arrays, paths, grids, and classes and functions.
    """
    if isinstance(given, Mapping):
        return {name: plain(value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [plain(value) for value in given]
    if isinstance(given, np.ndarray | np.generic):
        return given.tolist()
    if isinstance(given, Grid):
        return given.as_given()
    if objects.is_object(given):
        return objects.name(given)
    return str(given) if isinstance(given, Path) else given


def read(path: Path) -> str:
    """Return the text of a run file; `UserError` if it cannot be read."""
    said = shortened(str(path))
    try:
        content = _content(path)
    except OSError as error:
        raise UserError(f"{said}: cannot read the run file: {error.strerror}") from None
    except ValueError as error:
        # A name with a NUL, or one that the encoding of file names lacks.
        raise UserError(f"{said}: cannot read the run file: {error}") from None
    if content.startswith(_RESULTS):
        raise UserError(f"{said}: not a run file (a netCDF file; {command('info')} says what is in it)")
    for mark, name in _WIDE.items():
        if content.startswith(mark):
            raise UserError(f"{path}: not a run file ({name} text; needed: UTF-8)")
    try:
        # As Python reads text: ends of lines are "\\n". Some editors begin with a mark.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a run file (not UTF-8 text)") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _content(path: Path) -> bytes:
    """Return the bytes of a file; of a pipe, too, but without waiting for somebody to write to it."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
        descriptor, piped = file.fileno(), stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        os.set_blocking(descriptor, True)
        content = b""
        while len(content) <= LARGEST:
            if piped and not select.select([descriptor], [], [], PATIENCE)[0]:
                raise UserError(f"{path}: cannot read the run file: nothing came through the pipe")
            if not (part := file.read(1 << 20)):
                break
            content += part
    if len(content) > LARGEST and not content.startswith(_RESULTS):
        raise UserError(f"{path}: not a run file (over {LARGEST >> 20} MB)")
    if piped and not content:
        raise UserError(f"{path}: cannot read the run file: a pipe that nobody writes to")
    return content


def parse(text: str, path: Path) -> dict[str, Any]:
    """Return the tables of a run file; `UserError` if it is not TOML."""
    try:
        given = _toml(text)
    except ValueError as error:
        said = shortened(" ".join(str(error).split()))
        raise UserError(f"{path}: not valid TOML: {said}") from None
    faults = list(limit_faults(given))
    if faults:
        raise ConfigError(faults, str(path))
    return given


def _toml(text: str) -> dict[str, Any]:
    """Return tables; `ValueError` says why the text has none."""
    if _MANY_DOTS.search(text):
        # The parser takes the square of their number.
        raise ValueError(f"nested more than {DEEPEST} deep")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} deep") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        # Python itself turns no more into a number.
        most = sys.get_int_max_str_digits()
        raise ValueError(f"an integer of over {most:,} digits; allowed: up to {MOST_DIGITS}") from None


def limit_faults(given: Any) -> Iterator[str]:
    """Yield what no key of a run file could mean, and messages could not show: depth, numbers without end."""
    rest: list[tuple[str, Any, int]] = [("", given, 0)]
    while rest:
        name, value, depth = rest.pop()
        if depth > DEEPEST:
            yield f"{shortened('.'.join(name.split('.')[:2]))}: nested more than {DEEPEST} deep"
            return
        if isinstance(value, Mapping):
            prefix = f"{name}." if name else ""
            rest += [(f"{prefix}{key}", inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            rest += [(name, inner, depth + 1) for inner in value]
        elif isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
            digits = round(abs(value).bit_length() * math.log10(2))
            yield f"{shortened(name)}: an integer of some {digits:,} digits; allowed: up to {MOST_DIGITS}"


def override(given: dict[str, Any], overrides: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return `given` with keys ("section.key" → value) replaced, or removed; append a line to `faults` for
    each fault.
    """
    merged = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
    for dotted, value in overrides.items():
        if value is UNSET:
            merged = _without(merged, dotted, faults)
            continue
        if dotted.startswith("sweep."):
            table = merged["sweep"] if isinstance(merged.get("sweep"), dict) else {}
            merged["sweep"] = {**table, dotted.removeprefix("sweep."): value}
            continue
        *parents, last = dotted.split(".")
        if len(parents) > DEEPEST:
            faults.append(f"override {shortened(dotted)!r}: nested more than {DEEPEST} deep")
            continue
        table = merged
        for parent in parents:
            inner = table.setdefault(parent, {})
            table[parent] = table = dict(inner) if isinstance(inner, Mapping) else {}
        if not parents and last != "title":
            faults.append(
                f"override {shortened(dotted)!r}: write section.key, for instance dynamics.temperature"
            )
        else:
            table[last] = value
    return merged


def _without(tables: dict[str, Any], dotted: str, faults: list[str]) -> dict[str, Any]:
    """Return the tables without a key, or a table; append a fault if there is none of that name."""
    if dotted.startswith("sweep.") and isinstance(tables.get("sweep"), Mapping):
        parts = ["sweep", dotted.removeprefix("sweep.")]
    else:
        parts = dotted.split(".")
    without = _pruned(tables, parts)
    if without is None:
        there = sorted(_names(tables))
        near = f"; nearest: {shortened(nearest(dotted, there))}" if there else ""
        faults.append(f"override {shortened(dotted)!r}: unset, but the run file has no such key{near}")
        return tables
    if without.get("sweep") == {}:
        # A sweep of nothing is a run.
        del without["sweep"]
    return without


def _pruned(table: Mapping[str, Any], parts: list[str]) -> dict[str, Any] | None:
    """Return a table without a key of its own, or of a table in it; None if there is none."""
    first, *rest = parts
    if first not in table:
        return None
    if not rest:
        return {name: value for name, value in table.items() if name != first}
    inner = _pruned(table[first], rest) if isinstance(table[first], Mapping) else None
    return None if inner is None else {**table, first: inner}


def _names(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the names of all keys and tables, as overrides name them."""
    for name, value in table.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{name}.")


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
    # No name is longer, and the comparison takes the product of the lengths.
    return difflib.get_close_matches(word[:100], list(allowed), n=1, cutoff=0.0)[0]


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """Split "section.key=value"; the value is TOML, a plain string where it is not, or `UNSET` for unset.

    Raises
    ------
    UserError
        If there is no "=" or no section.
    """
    dotted, equals, text = assignment.partition("=")
    if text.strip() == UNSET.value and dotted.strip():
        return dotted.strip(), UNSET
    if not equals or ("." not in dotted.strip(".") and dotted.strip() != "title"):
        raise UserError(
            f"{option('set', shortened(repr(assignment)))}: write section.key=value, for instance "
            "dynamics.temperature=0.6"
        )
    try:
        tables = _toml(f"value = {text}")
        # A text of several lines may say more than one value.
        value = tables["value"] if len(tables) == 1 else text.strip()
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except ValueError as error:
        raise UserError(f"{option('set', shortened(dotted.strip()))}: {shortened(str(error))}") from None
    return dotted.strip(), value
