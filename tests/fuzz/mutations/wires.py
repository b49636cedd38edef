"""Protocol buffers: one field somewhere in a message changes its number, type, length or value, or goes deeper."""

from __future__ import annotations

from random import Random

from tests.fuzz.mutations.numbers import damaged, number, packed
from tests.wire_format import varint

Field = tuple[int, int, bytes]
"""Its number, its wire type, and its bytes without their length."""


def parsed(data: bytes) -> list[Field] | None:
    """The fields of a message; None for bytes that are none."""
    found: list[Field] = []
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number_, kind = key >> 3, key & 7
        begin = at
        if kind == 2:
            size, begin = _varint(data, at)
            at = begin + size
        elif kind == 0:
            at = _varint(data, at)[1]
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return None
        if key < 0 or not number_ or begin < 0 or not begin <= at <= len(data):
            return None
        found.append((number_, kind, data[begin:at]))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and the place after it; -1 and the end for one that is cut short."""
    found = 0
    for shift in range(0, 70, 7):
        if not 0 <= at + shift // 7 < len(data):
            break
        byte = data[at + shift // 7]
        found |= (byte & 127) << shift
        if byte < 128:
            return found, at + shift // 7 + 1
    return -1, len(data) + 1


def joined(fields: list[Field]) -> bytes:
    return b"".join(
        varint(number_ << 3 | kind) + (varint(len(value)) if kind == 2 else b"") + value
        for number_, kind, value in fields
    )


def fields(data: bytes, rng: Random) -> bytes:
    """A field at any depth is changed; every length around it is right."""
    held = parsed(data)
    if not held:
        return damaged(data, rng)
    at = rng.randrange(len(held))
    number_, kind, value = held[at]
    if kind == 2 and value and rng.random() < 0.8 and parsed(value):
        held[at] = number_, kind, fields(value, rng)
    elif (choice := rng.randrange(9)) == 0:
        del held[at]
    elif choice == 1:
        held[at:at] = [held[at]] * min(rng.choice((1, 1, 2, 100)), 1 + 2**18 // (len(value) + 1))
    elif choice == 2:
        held[at] = rng.choice((0, 1, 2, 3, 4, 5, 8, 15, 20, 2**29 - 1, number_ + 1)), kind, value
    elif choice == 3:
        held[at] = number_, *rng.choice(((0, varint(number(rng))), (1, packed(number(rng), 8)), (5, b"\0\0\x80\x7f")))
    elif choice == 4:
        held[at] = (
            number_,
            2,
            rng.choice((b"", b"\0", b"\xff\xfe", b"\x1b[31m\n\x07", b"x" * 20_000, value * 2, b"\x80" * 30)),
        )
    elif choice == 5:
        other = rng.randrange(len(held))
        held[at], held[other] = (number_, *held[other][1:]), (held[other][0], kind, value)
    elif choice == 6:
        held[at] = number_, 2, nested(number_, rng.choice((20, 90, 150, 1200)), value)
    elif kind == 0:
        held[at] = (
            number_,
            0,
            rng.choice((varint(number(rng, _varint(value, 0)[0])), b"\xff" * 9 + b"\1", b"\x80" * 12)),
        )
    else:
        held[at] = number_, kind, damaged(value, rng)
    return joined(held)


def nested(number_: int, depth: int, value: bytes) -> bytes:
    """The value in so many messages, one inside the other."""
    for _ in range(depth):
        value = joined([(number_, 2, value)])
    return value


def length(data: bytes, rng: Random) -> bytes:
    """The length of one field says more or less than there is."""
    held = parsed(data)
    longer = [at for at, (_, kind, _) in enumerate(held or ()) if kind == 2]
    if not held or not longer:
        return damaged(data, rng)
    at = rng.choice(longer)
    number_, kind, value = held[at]
    before, after = joined(held[:at]), joined(held[at + 1 :])
    if rng.random() < 0.5 and parsed(value):
        return before + joined([(number_, kind, length(value, rng))]) + after
    return before + varint(number_ << 3 | 2) + varint(number(rng, len(value))) + value + after
