"""Run files are read here: TOML text becomes validated settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from langevin.code import in_memory, trust
from langevin.code.user_code import Origin
from langevin.errors import ConfigError

from . import objects, shortening, sweep, toml_text
from .settings import Settings
from .validate import validate


def load(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    origin: Origin | None = None,
) -> Settings:
    """Read and validate a run file (or a dict of the same shape).

    Parameters
    ----------
    source : path or mapping
    overrides : mapping of "section.key" to value, optional
        `toml_text.UNSET` removes a key. What a nearer end, or fewer replicas, leaves no room for is left out:
        `Settings.left_out` says what.
    folder : Path, optional
        Where a user's own module is looked for, if `source` is a mapping (default: the working directory).
    origin : Origin, optional
        The file that `source` was read from, if that is not the user's own run file or call.

    Raises
    ------
    ConfigError
        With all faults at once.
    UnknownCode
        If a file names code that its user has neither run nor trusted.
    """
    with in_memory.reading():
        return _load(source, overrides, folder, origin)


def _load(
    source: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None,
    folder: Path | None,
    origin: Origin | None,
) -> Settings:
    faults: list[str] = list(toml_text.limit_faults(overrides or {}))
    if isinstance(source, Mapping):
        if beyond := [*toml_text.limit_faults(source), *faults]:
            raise ConfigError(beyond)
        given, text = toml_text.plain(objects.with_network(source)), ""
        name, folder = "settings" if origin is None else origin.file, folder or Path.cwd()
    else:
        path = Path(source)
        text = toml_text.read(path)
        given, name, folder = toml_text.parse(text, path), str(path), path.parent
        if faults:
            raise ConfigError(faults, name)
    changed = toml_text.plain(overrides or {})
    before = toml_text.flat(given, faults)
    given = toml_text.override(before, changed, faults)
    if not isinstance(source, Mapping):
        output = given.setdefault("output", {})
        if isinstance(output, dict) and output.get("path", "") == "":
            output["path"] = path.stem + ".nc"
    with trust.on_behalf_of(origin):
        given, left_out = shortening.adapted(before, given, changed, folder)
        if "sweep" in given:
            settings = sweep.validate(given, text, folder, faults, changed)
        else:
            settings = validate(given, text, folder, faults)
    if faults or settings is None:
        raise ConfigError(faults, name)
    return replace(settings, left_out=left_out)
