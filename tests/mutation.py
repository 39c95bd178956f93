"""Run files with mistakes that nobody makes on purpose: mutants of those in runs/, drawn from a seed."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ROOT

from langevin.config.keys import toml

Tables = dict[str, Any]

#: Texts of values, TOML or not: wrong types, and what is too large, too deep, too long.
VALUES = (
    "-1", "0", "1", "7", "1e308", "-1e308", "1e-320", "5e-324", "1e400", "inf", "-inf", "nan", "-nan",
    "-0.0", "9223372036854775807", "9223372036854775808", "-9223372036854775809", f"1{'0' * 30}",
    f"1{'0' * 290}", f"1{'0' * 500}", f"0x{'f' * 6000}", "9" * 5000, "0b1", "0o17", "1_000", "true",
    "false", '""', '"x"', '"inf"', '"1"', "'π'", r'"\u0000"', r'"a\u0000b.nc"', r'"\u001b[2J"', r'"\u202e"',
    '"é.nc"', '"\U0001f600"', '"../../../x.nc"', '"/proc/self/x.nc"', '"/dev/null"', '"."', '".nc"', '"-"',
    '"a:b"', '"os:system"', '":"', '"nobody.knows:This"', f'"{"a" * 300}.nc"', f'"{"x" * 100_000}"',
    f'"{"a/" * 3000}x.nc"', "[]", "[[]]", "{}", "[1]", "[0.0]", "[1, 2, 3]", "[3, 2, 1]", "[1.0, 1.0]",
    "[-1.0]", "[inf]", "[nan]", '["a"]', "[true]", "[[1.0, 2.0], [2.0, 1.0]]", "[{ a = 1 }]",
    f"[{'0, ' * 20_000}]", f"[{'[], ' * 2000}]", "{ a = 1 }", "{ per_decade = 2 }",
    "{ per_decade = 1e308 }", "{ per_decade = 1e-308 }", "{ start = 5e-324, per_decade = 999 }",
    "{ start = 1e-300, stop = 1e300, per_decade = 1000 }", "{ start = 2, stop = 1, per_decade = 2 }",
    "{ start = inf, per_decade = nan }", "{ stop = 1, per_decade = true }", '{ per_decade = "2" }',
    '"collected"', "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", f"{'[' * 40}{']' * 40}",
    f"{'[' * 3000}{']' * 3000}", f"{'{ a = ' * 50}1{' }' * 50}", f"{'{ a = ' * 2000}1{' }' * 2000}",
    '"""\n\n"""', "'''a\nb'''", "", "=", "[",
)  # fmt: skip

SECTIONS = ("title", "system", "data", "start", "dynamics", "ensemble", "record", "output", "sweep")

#: Names of keys and tables.
NAMES = (
    "x", "", "name", "n", "system", "sweep", "a.b.c", "π", "\x00", "a\nb", "\x1b[31m", "🙂", "system.n",
    "seed", "x" * 3000, ".".join("a" * 200), "__class__", "model_config", "model_fields", "self", "given",
    "path", "time",
)  # fmt: skip


def seeds() -> list[Path]:
    """Return the run files that mutants descend from."""
    return sorted([*(ROOT / "runs").glob("*.toml"), *(ROOT / "runs/smoke").glob("*.toml")])


def mutant(number: int, seed: int = 0, parents: list[Path] | None = None) -> tuple[str, bytes]:
    """Return the name of the parent and the contents of a mutant: the same for the same numbers."""
    draw = random.Random(f"{seed}: {number}")
    parent = draw.choice(parents or seeds())
    text = parent.read_text(encoding="utf-8")
    # Most live on: what is no TOML at all is found at once.
    if draw.random() < 0.75:
        tables = tomllib.loads(text)
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            draw.choice(TABLE_MUTATIONS)(tables, draw)
        text = written(tables, draw)
    else:
        for _ in range(draw.choice((1, 1, 2))):
            text = draw.choice(TEXT_MUTATIONS)(text, draw)
    content = text.encode("utf-8", "surrogatepass")
    return parent.name, draw.choice(BYTE_MUTATIONS)(content, draw) if draw.random() < 0.05 else content


class Raw(str):
    """Text that stands for a value as it is."""


def written(tables: Tables, draw: random.Random) -> str:
    """Return TOML, or what looks like it."""
    top = {name: value for name, value in tables.items() if not isinstance(value, dict)}
    lines = [f"{_key(name)} = {_value(value)}" for name, value in top.items()]
    for name, table in tables.items():
        if isinstance(table, dict) and draw.random() < 0.1:
            lines.insert(0, f"{_key(name)} = {_value(table)}")
        elif isinstance(table, dict):
            lines.append(f"[{_key(name)}]")
            lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    bare = name and all(c.isascii() and (c.isalnum() or c in "_-") for c in name)
    return name if bare else toml(name)


def _value(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return f"[{', '.join(map(_value, value))}]" if isinstance(value, list) else toml(value)


def _any(draw: random.Random) -> Raw:
    return Raw(draw.choice(VALUES))


def _table(tables: Tables, draw: random.Random) -> Tables:
    found = [value for value in tables.values() if isinstance(value, dict)]
    return draw.choice(found) if found else tables


def _other_value(tables: Tables, draw: random.Random) -> None:
    table = _table(tables, draw)
    if table:
        table[draw.choice(list(table))] = _any(draw)


def _nudged(tables: Tables, draw: random.Random) -> None:
    table = _table(tables, draw)
    numbers = [k for k, v in table.items() if isinstance(v, int | float) and not isinstance(v, bool)]
    if numbers:
        factor = draw.choice((-1, 0, 2, 0.5, 10, 1e3, 1e6, 1e9, 1e12, 1e20, 1e-6, 1e-12))
        key = draw.choice(numbers)
        table[key] = type(table[key])(min(max(table[key] * factor, -1e30), 1e30))


def _other_name(tables: Tables, draw: random.Random) -> None:
    table = draw.choice((tables, _table(tables, draw)))
    if table:
        name = draw.choice(list(table))
        typed = name[:-1] + draw.choice("aeiou_") if draw.random() < 0.5 else draw.choice(NAMES)
        table[typed] = table.pop(name)


def _gone(tables: Tables, draw: random.Random) -> None:
    table = draw.choice((tables, _table(tables, draw)))
    if table:
        del table[draw.choice(list(table))]


def _added(tables: Tables, draw: random.Random) -> None:
    likely = ("n", "dt", "t_max", "seed", "samples", "lags", "train", "response", "hessian")
    draw.choice((tables, _table(tables, draw)))[draw.choice((*NAMES, *likely))] = _any(draw)


def _scalar(tables: Tables, draw: random.Random) -> None:
    tables[draw.choice(SECTIONS)] = _any(draw)


def _swept(tables: Tables, draw: random.Random) -> None:
    sweep = tables.setdefault("sweep", {})
    if not isinstance(sweep, dict):
        return
    section = draw.choice(list(tables))
    table = tables[section]
    key = draw.choice(list(table)) if isinstance(table, dict) and table else draw.choice(NAMES)
    dotted = draw.choice(("", "", "group.", "a.b.")) + f"{section}.{key}"
    kept = table.get(key, 1) if isinstance(table, dict) else table
    pairs = [kept, kept], [kept, _any(draw)], [_any(draw), _any(draw)]
    sweep[dotted] = draw.choice(([kept], *pairs, _any(draw), []))


def _started(tables: Tables, draw: random.Random) -> None:
    file = draw.choice(("nothing.nc", "", ".", "/dev/null", "/dev/zero", "a\0.nc", "x" * 5000))
    tables["start"] = {"file": file, "time": draw.choice((_any(draw), 1.0))}


def _other_data(tables: Tables, draw: random.Random) -> None:
    names = ("synthetic", "ljat", "mnist", "cifar10", "nothing", "", "os:system")
    counts = (10, 10**10, 10**18, 10**40, -1, "all", _any(draw))
    tables["data"] = {"name": draw.choice(names), "train": draw.choice(counts), "test": draw.choice(counts)}


TABLE_MUTATIONS: tuple[Callable[[Tables, random.Random], None], ...] = (
    _other_value, _other_value, _other_value, _nudged, _nudged, _other_name, _gone, _added, _scalar, _swept,
    _started, _other_data,
)  # fmt: skip


def _lines(text: str, draw: random.Random) -> tuple[list[str], int]:
    lines = text.splitlines()
    return lines, draw.randrange(len(lines))


def _line_gone(text: str, draw: random.Random) -> str:
    lines, k = _lines(text, draw)
    return "\n".join(lines[:k] + lines[k + 1 :])


def _line_twice(text: str, draw: random.Random) -> str:
    lines, k = _lines(text, draw)
    return "\n".join([*lines[: k + 1], *lines[k:]])


def _text_twice(text: str, draw: random.Random) -> str:
    return text * draw.choice((2, 40))


def _torn(text: str, draw: random.Random) -> str:
    return text[: draw.randrange(len(text))]


def _strewn(text: str, draw: random.Random) -> str:
    k = draw.randrange(len(text))
    what = (*'\0\x1b\u202e🙂"=[},\r\x7f\ufeff', "'''", "[[", "]]", "# π", "9" * 5000)
    return text[:k] + draw.choice(what) + text[k:]


def _nested(text: str, draw: random.Random) -> str:
    depth = draw.choice((20, 200, 5000))
    return draw.choice(
        (
            f"{text}\n[x]\ny = {'[' * depth}{']' * depth}\n",
            f"{text}\n[{'.'.join('a' * depth)}]\n",
            f"{text}\n{'.'.join('b' * depth)} = 1\n",
            f"{text}\n[sweep.{'.'.join('c' * depth)}]\nd = [1]\n",
        )
    )


def _many(text: str, draw: random.Random) -> str:
    count = draw.choice((100, 3000))
    return draw.choice(
        (
            "".join(f"k{i} = {i}\n" for i in range(count)) + text,
            text + "".join(f"\n[t{i}]\nx = 1\n" for i in range(count)),
            text + "\n[[record]]" * count,
            text + "\n[other]\n" + "".join(f'"{"k" * 500}{i}" = 1\n' for i in range(count // 50)),
        )
    )


TEXT_MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    _line_gone, _line_twice, _text_twice, _torn, _strewn, _strewn, _nested, _many,
)  # fmt: skip

BYTE_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    lambda content, draw: b"\xef\xbb\xbf" + content,
    lambda content, draw: content.decode("utf-8", "replace").encode("utf-16"),
    lambda content, draw: content.decode("utf-8", "replace").encode("utf-32"),
    lambda content, draw: content + b"\xff\xfe",
    lambda content, draw: content.replace(b"\n", b"\r\n"),
    lambda content, draw: b"",
    lambda content, draw: draw.randbytes(draw.choice((1, 100, 10_000))),
)
