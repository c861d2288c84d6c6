"""Damage of files and messages, the same for the same random numbers. No bench itself; see bench/fuzz.py."""

import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias

Mutation: TypeAlias = Callable[[bytes, random.Random], bytes]

_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"-0.0",
    b"nan",
    b"99999999999999999999",
    b"2147483648",
    b"0.5",
    b"null",
    b'"x"',
    b"[]",
)
_EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def flip(data: bytes, rng: random.Random) -> bytes:
    """Some bits."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        spoilt[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def truncate(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(len(data))]


def duplicate(data: bytes, rng: random.Random) -> bytes:
    """A part is there twice."""
    start, end = _part(data, rng)
    return data[:end] + data[start:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Something is added."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 3, 16, 300))) + data[at:]


def cut_out(data: bytes, rng: random.Random) -> bytes:
    """A part is missing."""
    start, end = _part(data, rng)
    return data[:start] + data[end:]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """A part is zeros, ones or noise."""
    start, end = _part(data, rng)
    return (
        data[:start]
        + rng.choice((bytes(end - start), b"\xff" * (end - start), rng.randbytes(end - start)))
        + data[end:]
    )


def change_a_number(data: bytes, rng: random.Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes is an extreme one."""
    code = rng.choice(("<B", "<H", "<I", "<Q", ">H", ">I", ">Q"))
    size = struct.calcsize(code)
    at = rng.randrange(max(1, len(data) - size))
    number = rng.choice(_EXTREMES) & ((1 << 8 * size) - 1)
    return data[:at] + struct.pack(code, number) + data[at + size :]


def change_a_written_number(data: bytes, rng: random.Random) -> bytes:
    """A number of a text is another, or something else."""
    found = list(_NUMBER.finditer(data, rng.randrange(len(data))))[:1]
    if not found:
        return flip(data, rng)
    return data[: found[0].start()] + rng.choice(_NUMBERS) + data[found[0].end() :]


def drop_a_line(data: bytes, rng: random.Random) -> bytes:
    """A line of a text is missing, there twice, or indented otherwise."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [b"  " + lines[at]], [lines[at].lstrip()]))
    return b"".join(lines)


BINARY: tuple[Mutation, ...] = (
    flip,
    flip,
    truncate,
    duplicate,
    insert,
    cut_out,
    overwrite,
    change_a_number,
    change_a_number,
)
TEXT: tuple[Mutation, ...] = (
    *BINARY,
    change_a_written_number,
    change_a_written_number,
    drop_a_line,
    drop_a_line,
)


def mutated(data: bytes, rng: random.Random, kinds: Sequence[Mutation] = BINARY) -> bytes:
    """The data damaged in one to three ways."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            data = rng.choice(kinds)(data, rng)
    return data


def _part(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 2, 8, 64, 1000)))
