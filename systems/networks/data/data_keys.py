"""Keys of [data] that data sets share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import PlainValidator

from langevin.config.keys import key

from .structure import StructureKeys


def _count(given: Any) -> Any:
    if given == "all" or (isinstance(given, int) and not isinstance(given, bool) and given >= 1):
        return given
    raise ValueError('must be an integer ≥ 1, or "all"')


CountKey = Annotated[int | Literal["all"], PlainValidator(_count)]


class DataKeys(StructureKeys):
    """Keys of [data] that all data sets share."""

    train: CountKey = key(
        "training examples: all, or a random subset, each quenched sample its own",
        default="all",
        kind='integer ≥ 1, or "all"',
    )
    test: CountKey = key(
        "test examples: all, or a random subset, each quenched sample its own",
        default="all",
        kind='integer ≥ 1, or "all"',
    )
    scaling: Literal["standard", "unit"] = key(
        'inputs of each channel: "standard" mean 0 and variance 1 over the full training set, '
        '"unit" between 0 and 1',
        default="standard",
    )
