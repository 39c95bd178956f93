"""Damage to a file, as disks, networks and copies do it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

#: Bytes of a sector that was never written.
SECTOR = 512


def bit(path: Path, chances: random.Random) -> str:
    """Turn over one bit."""
    data, place = bytearray(path.read_bytes()), chances.randrange(path.stat().st_size)
    data[place] ^= 1 << chances.randrange(8)
    path.write_bytes(data)
    return f"one bit of byte {place}"


def byte(path: Path, chances: random.Random) -> str:
    """Change one byte."""
    data, place = bytearray(path.read_bytes()), chances.randrange(path.stat().st_size)
    data[place] ^= chances.randrange(1, 256)
    path.write_bytes(data)
    return f"byte {place}"


def sector(path: Path, chances: random.Random) -> str:
    """Put zeros in the place of a sector that holds something else."""
    data = bytearray(path.read_bytes())
    places = [p for p in range(0, len(data), SECTOR) if any(data[p : p + SECTOR])]
    place = chances.choice(places)
    end = min(place + SECTOR, len(data))
    data[place:end] = bytes(end - place)
    path.write_bytes(data)
    return f"zeros from byte {place}"


def tail(path: Path, chances: random.Random) -> str:
    """Cut the end off."""
    size = path.stat().st_size
    left = chances.choice((0, size // 2, size - 1, chances.randrange(size)))
    path.write_bytes(path.read_bytes()[:left])
    return f"cut from {size} to {left} bytes"


def more(path: Path, chances: random.Random) -> str:
    """Add something at the end."""
    added = chances.randbytes(chances.choice((1, 8, SECTOR, 100_000)))
    with path.open("ab") as file:
        file.write(added)
    return f"{len(added)} bytes more"


def gone(path: Path, chances: random.Random) -> str:
    """Remove the file."""
    path.unlink()
    return "removed"


#: What a disk does.
FLIPS: tuple[Callable[[Path, random.Random], str], ...] = (bit, bit, byte, sector, tail)

#: What happens to the length of a file.
LENGTHS: tuple[Callable[[Path, random.Random], str], ...] = (tail, more, tail, more, gone)
