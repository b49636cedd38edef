"""Numbers at which readers go wrong, and changes of bytes that know no format."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Mutator = Callable[[bytes, Random], bytes]
"""A damaged copy of some bytes; the same one for the same state of the generator."""
ENDS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62)
ENDS += (2**63 - 1, 2**63, 2**64 - 1)
CANARY = "canary-of-the-fuzz-campaign"
"""A file that a mutated pickle or spec tries to make."""


def number(rng: Random, near: int = 0) -> int:
    """An end of a range, a neighbour of `near`, or any number of 64 bits."""
    kind = rng.randrange(4)
    if kind == 0:
        return max(0, near + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8)))
    if kind == 1:
        return near * rng.choice((2, 10, 1000, 10**6)) % 2**64
    return rng.choice(ENDS) if kind == 2 else rng.getrandbits(rng.choice((8, 16, 32, 64)))


def packed(value: int, width: int, order: str = "little") -> bytes:
    """The lowest bytes of a number."""
    return (value % 256**width).to_bytes(width, order)  # type: ignore[arg-type]


def places_of(data: bytes, sign: bytes) -> list[int]:
    """Where some bytes stand."""
    found, at = [], data.find(sign)
    while at >= 0 and len(found) < 200:
        found.append(at)
        at = data.find(sign, at + 1)
    return found


def _byte(found: bytearray, at: int, rng: Random) -> None:
    found[at] = rng.randrange(256)


def _bit(found: bytearray, at: int, rng: Random) -> None:
    found[at] ^= 1 << rng.randrange(8)


def _number(found: bytearray, at: int, rng: Random) -> None:
    width = rng.choice((2, 4, 8))
    order = rng.choice(("little", "big"))
    near = int.from_bytes(found[at : at + width], order)
    found[at : at + width] = packed(number(rng, near), width, order)


def _end(found: bytearray, at: int, rng: Random) -> None:
    del found[at:]


def _gap(found: bytearray, at: int, rng: Random) -> None:
    del found[at : at + rng.randrange(1, 64)]


def _twice(found: bytearray, at: int, rng: Random) -> None:
    found[at:at] = found[at : at + rng.randrange(1, 64)]


def _exchange(found: bytearray, at: int, rng: Random) -> None:
    other = rng.randrange(len(found))
    found[at : at + 16], found[other : other + 16] = found[other : other + 16], found[at : at + 16]


def _same(found: bytearray, at: int, rng: Random) -> None:
    size = rng.randrange(1, 64)
    found[at : at + size] = bytes([rng.choice((0, 255, 32, 65))]) * size


_CHANGES = (_byte, _byte, _bit, _number, _number, _end, _gap, _twice, _exchange, _same)


def damaged(data: bytes, rng: Random) -> bytes:
    """A few bytes changed, cut, repeated or exchanged: half of the time near the beginning, where headers are."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not found:
            break
        at = rng.randrange(len(found)) if rng.random() < 0.5 else rng.randrange(min(len(found), 512))
        rng.choice(_CHANGES)(found, at, rng)
    return bytes(found)
