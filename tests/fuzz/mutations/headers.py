"""Headers with a length and a text: safetensors' JSON, and the dictionary of .npy."""

from __future__ import annotations

import re
from random import Random

from tests.fuzz.mutations.numbers import damaged, number, packed
from tests.fuzz.mutations.texts import values

SHAPES = (
    "()",
    "(0,)",
    "(1,)",
    "(0, 0)",
    "(-1,)",
    "(3, -4)",
    "(1" + ", 1" * 70 + ")",
    "(3.0,)",
    "[3, 4]",
    "(3L, 4L)",
    "3",
)
SHAPES += ("(1 << 40,)", "('3',)", "(True,)", "(99999999999999999999,)", "(4294967296, 4294967296)", "None", "((3,),)")
TYPES = ("<f2", ">f4", ">f8", "|b1", "<i8", "<u2", "|O", "<U4", "<U999999999", "|S3", "<c16", "<f16", "|V8", "<M8[ns]")
TYPES += ("f4", "", "=f4", "<f3", "<i1", "x\x1b[31m", "<f4" * 2000)
DESCR = ("[('a', '<f4')]", "('<f4', (2,))", "3", "__import__('os').system('x')")


def safetensors(data: bytes, rng: Random) -> bytes:
    """The header changes as JSON does, and its length with it; or the length alone."""
    length = int.from_bytes(data[:8], "little")
    text, rest = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.2:
        return packed(number(rng, length), 8) + data[8:]
    text = values(text, rng)
    if rng.random() < 0.2:
        rest = rng.choice((rest[: len(rest) // 2], rest + b"\0" * 8, b""))
    return packed(len(text), 8) + text + rest


def npy(data: bytes, rng: Random) -> bytes:
    """Its shape, dtype, order or version says something else; half of the time the header's length is right."""
    size = int.from_bytes(data[8:10], "little")
    text, rest = data[10 : 10 + size].decode("latin-1"), data[10 + size :]
    kind = rng.randrange(6)
    if kind == 0:
        text = re.sub(r"\([^)]*\)", lambda _: rng.choice((*SHAPES, f"({number(rng)}, {number(rng)})")), text)
    elif kind == 1:
        text = re.sub(r"'[<>|=][^']*'", lambda _: rng.choice((*(repr(one) for one in TYPES), *DESCR)), text)
    elif kind == 2:
        text = text.replace("False", rng.choice(("True", "None", "0", "'False'", "")))
    elif kind == 3:
        text = damaged(text.encode("latin-1"), rng).decode("latin-1")
    elif kind == 4:
        text = text.strip() + " " * rng.choice((0, 1, 3000, 70_000))
    else:
        rest = rng.choice((rest[: len(rest) // 2], rest * 2, b""))
    version = rng.choice((b"\1\0", b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\4\0", b"\0\0"))
    width = 2 if version[0] < 2 else 4
    said = len(text) if rng.random() < 0.8 else number(rng, len(text))
    return data[:6] + version + packed(said, width) + text.encode("latin-1", "replace") + rest
