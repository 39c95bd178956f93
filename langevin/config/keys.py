"""Sections declare the keys of a run file here, and explain them to the user."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, PydanticUndefined

from langevin.core import rules
from langevin.core.attraction import Attraction
from langevin.core.exchange import Ladder
from langevin.core.protocol import Protocol
from langevin.core.schedule import Grid
from langevin.errors import shortened

from .toml_text import nearest

if TYPE_CHECKING:
    from langevin.core.ensemble import Ensemble


def key(
    meaning: str,
    *,
    default: Any = ...,
    example: Any = None,
    unit: str | None = None,
    inf: bool = False,
    kind: str | None = None,
    yours: bool = False,
    **limits: Any,
) -> Any:
    """Declare one key of a run file.

    Parameters
    ----------
    meaning : str
        What the key is, in a few words.
    default : optional
        Its value where the run file is silent; without one the key is required.
    example : optional
        What `langevin init` writes for it (default: the default).
    unit : str, optional
    inf : bool
        Whether `inf` is a legal value.
    kind : str, optional
        What to call the type, where it is not a plain one.
    yours : bool
        Whether no example can be right, such as for a file of the user's: a template says so.
    **limits
        gt, ge, lt, le as in pydantic.
    """
    example = example if example is not None else default
    extra = {"unit": unit, "example": example, "kind": kind, "yours": yours}
    return Field(default, description=meaning, json_schema_extra=extra, allow_inf_nan=inf or None, **limits)


class Section(BaseModel):
    """One table of a run file. Unknown keys and wrong types are faults; `inf` only where declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _of_the_machine(cls, given: Any, info: ValidationInfo) -> Any:
        # Arrays, files and kernels hold no larger integers; of a number it is only another way to write it.
        whole = cls.model_fields[str(info.field_name)].annotation is int
        if whole and type(given) is int and not -(2**63) <= given < 2**63:
            raise ValueError("must be an integer below 2^63")
        return given

    @classmethod
    def for_table(cls, table: Mapping[str, Any]) -> type[Section]:
        """Return what declares the keys of a table: this class, unless one of them brings others along."""
        return cls

    @classmethod
    def unknown(cls, name: str) -> str:
        """Say why a key of this name is none."""
        return "unknown key"


class ChangesData(Section):
    """[data] of a data set, with keys that say how the loaded data are changed: the same for many sets."""

    def changed(self, data: Any, ensemble: Ensemble) -> Any:
        """Return the data as these keys want them, for the quenched samples of the whole run.

        What identifies them, ``data.attributes["hash"]``, must tell of the change.
        """
        raise NotImplementedError


class DynamicsKeys(Section):
    """[dynamics] of a system; it says, too, on multiples of what all times of a run lie.

    A system whose step is a key names it in `time_step_key`. One that has no such key overrides `time_step`:
    SGD counts time in steps and returns 1. A key `t_max` must be among the keys.
    """

    time_step_key: ClassVar[str | None] = None
    collects: ClassVar[str] = ""
    """What must be given for `collected` to hold any time; empty where nothing ever joins an ensemble."""

    @property
    def time_step(self) -> float | None:
        """Time step, in units of time; None where any time can be reached."""
        return None if self.time_step_key is None else float(getattr(self, self.time_step_key))

    def collected(self) -> Sequence[float]:
        """Return the times, up to t_max, at which a model joins an ensemble. Default: none."""
        return ()


#: Bytes of a file name, of that of a result (the name of its trajectory has 23 more), and of a path.
LONGEST_NAME, LONGEST_RESULT, LONGEST_PATH = 255, 232, 4000


def _result_name(given: str) -> str:
    # The files beside a result are named after it, so the ending must tell them apart.
    if given and (not given.endswith(".nc") or given.endswith(".checkpoint.nc") or "\0" in given):
        raise ValueError("must be a file name that ends in .nc, and not in .checkpoint.nc")
    return _file_name(given, LONGEST_RESULT)


def _file_name(given: str, longest: int = LONGEST_NAME) -> str:
    """Return the path of a file, if the operating system can have one of that name."""
    if "\0" in given:
        raise ValueError("must be a file name; none has a NUL in it")
    encoding = sys.getfilesystemencoding()
    try:
        # Strictly: bytes that are no text could name a file, but the netCDF library does not take them.
        encoded = given.encode(encoding)
    except UnicodeEncodeError:
        raise ValueError(
            f"file names have the encoding {encoding} here, which lacks some of its characters; allowed: "
            "other names, or a locale with UTF-8, such as LC_ALL=C.UTF-8"
        ) from None
    *folders, name = encoded.split(b"/")
    if len(name) > longest:
        raise ValueError(f"the name has {len(name):,} bytes; allowed: up to {longest}")
    if len(encoded) > LONGEST_PATH or any(len(folder) > LONGEST_NAME for folder in folders):
        raise ValueError(f"allowed: paths of up to {LONGEST_PATH} bytes, folders of up to {LONGEST_NAME}")
    return given


#: Components of a sketch; with so many its relative error is 0.55 %.
MOST_COMPONENTS = 65536


def _pays(components: int) -> int:
    # The error of a single component is 140 %, and its square says nothing.
    if components == 1:
        raise ValueError(f"must be 0 (no sketch), or from 2 to {MOST_COMPONENTS}")
    return components


def _snapshots(given: Any) -> Any:
    if given == "collected":
        return given
    if isinstance(given, str):
        raise ValueError('allowed: a list of times, { start, stop, per_decade }, or "collected"')
    return Grid.parse(given)


def _temperature(given: Any) -> float | Protocol:
    """Return one temperature, or a protocol."""
    if isinstance(given, Protocol | list | tuple | Mapping):
        return Protocol.parse(given)
    # A larger integer is none that a float could hold.
    plain = isinstance(given, int | float) and not isinstance(given, bool)
    if not plain or not 0 <= given <= sys.float_info.max:
        raise PydanticCustomError("temperature", "no temperature")
    return float(given)


def _given(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what reads a table; an empty one asks for nothing."""
    return lambda given: None if given is None or given == {} else parse(given)


#: What attraction and a temperature may be, in the words of messages.
ATTRACTIONS = "table { replicas = 4, strength = 0.05, every = 1 }"
TEMPERATURES = "number ≥ 0, list of [time, temperature], or { protocol, … }"

GridKey = Annotated[Grid, BeforeValidator(Grid.parse)]
PathKey = Annotated[str, AfterValidator(_file_name)]
ResultPathKey = Annotated[str, AfterValidator(_result_name)]
SketchKey = Annotated[int, AfterValidator(_pays)]
AttractionKey = Annotated[InstanceOf[Attraction] | None, BeforeValidator(_given(Attraction.parse))]
ExchangeKey = Annotated[InstanceOf[Ladder] | None, BeforeValidator(_given(Ladder.parse))]
RuleKey = Annotated[InstanceOf[rules.Rule] | None, BeforeValidator(rules.parse)]
SnapshotsKey = Annotated[Grid | Literal["collected"], BeforeValidator(_snapshots)]
TemperatureKey = Annotated[float | InstanceOf[Protocol], BeforeValidator(_temperature)]


class StartKeys(Section):
    """[start]: the run begins from what another one has stored. The section may be left out."""

    file: PathKey = key(
        "result of the same system that holds configurations; a path from the working directory, as "
        "output.path is",
        example="a.nc",
        yours=True,
        min_length=1,
    )
    time: float | None = key(
        "time of that run at which its configuration is taken; default: the last one stored",
        default=None,
        ge=0,
        unit="time",
        kind="number",
    )


class MeasuringKeys(Section):
    """The keys of [record] that say when, and what of the configuration."""

    times: GridKey = key(
        "times of one-time observables such as the energy, besides 0 and the end",
        default=Grid(per_decade=20.0),
        example={"per_decade": 20},
        unit="time",
    )
    waiting_times: GridKey = key(
        "waiting times t_w",
        default=Grid(per_decade=2.0),
        example={"start": 1.0, "stop": 32.0, "per_decade": 2},
        unit="time",
    )
    lags: GridKey = key(
        "lags t of the pairs (t_w, t_w + t)",
        default=Grid(per_decade=20.0),
        example={"per_decade": 20},
        unit="time",
    )
    response: bool = key(
        "measure the integrated response, too; from the noise, without a field (needs T > 0)", default=False
    )
    configurations: Literal["auto", "always", "never"] = key(
        'store every configuration; "auto": while they stay under 1 GB together', default="auto"
    )
    sketch: SketchKey = key(
        "numbers k stored for a configuration at every time; from them follows the msd of any two times, "
        "with relative error √(2/k); 0: none",
        default=0,
        ge=0,
        le=MOST_COMPONENTS,
    )


class SnapshotKeys(Section):
    """The key of [record] that says when the configuration is stored, whatever is stored at every time."""

    snapshots: SnapshotsKey = key(
        'times at which the configuration is stored, whatever `configurations` says; "collected": those at '
        "which models join an ensemble; none by default",
        default=Grid(),
        example=[],
        unit="time",
        kind='list of times, or { start, stop, per_decade }, or "collected"',
    )

    def snapshot_grid(self, dynamics: Any) -> Grid:
        """Return the times themselves; of [dynamics] the word "collected" takes what it collects."""
        if isinstance(self.snapshots, Grid):
            return self.snapshots
        # A section that does not derive from DynamicsKeys collects nothing.
        collected = getattr(dynamics, "collected", tuple)
        return Grid(values=tuple(float(t) for t in collected()))


class HessianKeys(Section):
    """The keys of [record] that say when and how the spectrum of the Hessian is measured."""

    hessian: GridKey = key(
        "times at which the spectrum of the Hessian is measured; [0.0] is the start; none by default",
        default=Grid(),
        example=[],
        unit="time",
    )
    hessian_exact: int = key(
        "rows of the Hessian up to which all eigenvalues are found; beyond, Ritz values of random probes",
        default=3000,
        ge=0,
        le=20_000,
    )
    hessian_steps: int = key("Ritz values m of each probe (Lanczos steps)", default=64, ge=2, le=10_000)
    hessian_probes: int = key("random probes", default=8, ge=2, le=10_000)
    hessian_vectors: int = key(
        "eigenvectors of the largest eigenvalues to store, with the part of the gradient in their span",
        default=0,
        ge=0,
        le=1000,
    )
    ggn: bool = key("spectrum of the Gauss-Newton matrix, too, at the same times", default=False)


class InherentKeys(Section):
    """The keys of [record] that say when and how configurations are quenched to their inherent structures."""

    inherent: GridKey = key(
        "times from whose configurations quenches lead to minima, their inherent structures; none by default",
        default=Grid(),
        example=[],
        unit="time",
    )
    inherent_method: Literal["lbfgs", "descent"] = key(
        '"lbfgs": fast, may end in a basin beside; "descent": along the gradient flow, in the right one',
        default="lbfgs",
    )
    inherent_tolerance: float = key(
        "root mean square of the gradient's components at which a quench ends",
        default=1e-5,
        gt=0,
        unit="energy per coordinate",
    )
    inherent_evaluations: int = key(
        "gradients of a replica after which a quench ends in any case", default=20_000, ge=1, le=10**9
    )


def _extra(info: FieldInfo, name: str) -> Any:
    """Return what `key` said of a field besides what pydantic knows."""
    return (info.json_schema_extra or {}).get(name)  # type: ignore[union-attr]


def describe(info: FieldInfo) -> str:
    """Say what a key allows: its type, limits, meaning and unit."""
    limits = [
        f"{sign} {getattr(rule, name):g}"
        for rule in info.metadata
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if getattr(rule, name, None) is not None
    ]
    unit = _extra(info, "unit")
    kind = " ".join([_kind(info), ", ".join(limits)]).strip()
    return f"{kind} ({info.description}{f'; unit: {unit}' if unit else ''})"


def _kind(info: FieldInfo) -> str:
    if named := _extra(info, "kind"):
        return str(named)
    if info.annotation is Grid:
        return "list of times, or { start, stop, per_decade }"
    if get_origin(info.annotation) is Literal:
        return "one of " + ", ".join(toml(v) for v in get_args(info.annotation))
    simple = {int: "integer", float: "number", str: "string", bool: "true or false"}
    if info.annotation in simple:
        may_be_inf = any(getattr(rule, "allow_inf_nan", None) for rule in info.metadata)
        return simple[info.annotation] + (" or inf" if may_be_inf else "")
    return str(info.annotation)


def toml(value: Any) -> str:
    """Write a value as TOML would."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_bare(str(k))} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    return repr(value)


def _bare(name: str) -> str:
    """Write the name of a key, in quotes where TOML asks for them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def shown(value: Any) -> str:
    """Write a value as TOML would, for a message: no longer than one can read."""
    return shortened(toml(value))


def example_of(info: FieldInfo) -> Any:
    """Return what a template writes for a key."""
    return _extra(info, "example")


def is_yours(info: FieldInfo) -> bool:
    """Return whether only the user knows what to write for a key."""
    return bool(_extra(info, "yours"))


def default_of(info: FieldInfo) -> str:
    """Write a key's default as TOML; "required" where it has none."""
    if info.default is PydanticUndefined:
        return "required"
    if isinstance(info.default, Grid):
        return toml(info.default.as_given())
    if info.default is None:
        return "none"
    return toml(info.default)


def explain(kind: type[Section]) -> list[str]:
    """Return lines that say what a section's keys are: default, type, limits, meaning, unit."""
    return [
        f"  {field} (default: {default_of(info)})\n      {describe(info)}"
        for field, info in kind.model_fields.items()
    ]


def section(
    name: str, kind: type[Section], table: Any, faults: list[str], further: Sequence[str] = ()
) -> Any:
    """Validate one table; append a line to `faults` for each fault found.

    `further` are keys that the table may have besides, and that are read elsewhere.
    """
    if not isinstance(table, Mapping):
        faults.append(f"{name} = {shown(table)}: must be a table, [{name}]")
        return None
    try:
        return kind.model_validate(dict(table))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            faults.append(_fault(name, kind, item, further))
        return None


def _fault(name: str, kind: type[Section], item: Any, further: Sequence[str]) -> str:
    last = str(item["loc"][0])
    dotted = f"{name}.{shortened(last)}"
    fields = kind.model_fields
    if item["type"] == "extra_forbidden":
        own = [*fields, *further]
        return (
            f"{dotted}: {kind.unknown(last)}; nearest: {name}.{nearest(last, own)}; allowed: {', '.join(own)}"
        )
    described = describe(fields[last])
    if item["type"] == "missing":
        return f"{dotted}: missing; needed: {described}"
    if item["type"] == "value_error":
        return f"{dotted} = {shown(item['input'])}: {shortened(str(item['ctx']['error']))}"
    return f"{dotted} = {shown(item['input'])}: allowed: {described}"
