"""Files whose parts refer to each other by their places: FlatBuffers and HDF5."""

from __future__ import annotations

from random import Random

from tests.fuzz.mutations.numbers import damaged, number, packed, places_of

_SIGNS = (b"\x89HDF", b"OHDR", b"OCHK", b"TREE", b"HEAP", b"SNOD", b"GCOL", b"FRHP", b"FHDB", b"BTHD", b"BTLF", b"FADB")
UNDEFINED = 2**64 - 1


def flatbuffers(data: bytes, rng: Random) -> bytes:
    """An offset, a table's list of fields, a length or a number, some tables down from the root, is another one."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place, width = _field(found, rng)
        near = int.from_bytes(found[place : place + width], "little")
        new = rng.choice((number(rng, near), rng.randrange(len(found)), (len(found) - place) // 4 * 4))
        found[place : place + width] = packed(new, width)
    return bytes(found)


def _field(data: bytearray, rng: Random) -> tuple[int, int]:
    """The place of something that a table says, and its width."""

    def at(place: int, width: int = 4) -> int:
        return int.from_bytes(data[place : place + width], "little")

    table = at(0)
    for _ in range(rng.randrange(1, 12)):
        fields = table - int.from_bytes(data[table : table + 4], "little", signed=True)
        if not (0 <= fields < len(data) - 4 and 0 <= table < len(data) - 4):
            break
        count = min(max(at(fields, 2) - 4, 2) // 2, 40)
        entry = fields + 4 + 2 * rng.randrange(count)
        place = table + at(entry, 2)
        if rng.random() < 0.15:
            return rng.choice(((entry, 2), (fields, 2), (table, 4), (place, 4), (place, 1), (place, 8)))
        target = place + at(place)
        if place == table or not 0 < target < len(data) - 8:
            continue
        size = at(target)
        inner = target + 4 + 4 * rng.randrange(min(max(size, 1), 32))
        if rng.random() < 0.15:
            return rng.choice(((target, 4), (inner, 4), (inner, 1)))
        further = inner + at(inner)
        table = further if rng.random() < 0.6 and 0 < further < len(data) - 8 else target
    return max(0, min(table, len(data) - 4)), 4


def hdf5(data: bytes, rng: Random) -> bytes:
    """An address leads to another part, to itself or out of the file, or a field behind a signature is another."""
    found = bytearray(data)
    signs = [at for sign in _SIGNS for at in places_of(data, sign)] or [0]
    for _ in range(rng.choice((1, 1, 2, 4))):
        words = range(0, len(data) - 8, 8)
        addresses = [at for at in words if 0 < int.from_bytes(data[at : at + 8], "little") <= len(data)]
        kind = rng.randrange(4)
        if kind == 0 and addresses:
            at, other = rng.choice(addresses), rng.choice(addresses)
            there = int.from_bytes(data[other : other + 8], "little")
            new = rng.choice((there, there, rng.choice(signs), at, 0, len(data), UNDEFINED, number(rng)))
            found[at : at + 8] = packed(new, 8)
        elif kind == 1:
            at, width = rng.choice(signs) + rng.randrange(4, 72), rng.choice((1, 2, 4, 8))
            near = int.from_bytes(found[at : at + width], "little")
            found[at : at + width] = packed(number(rng, near), width)
        elif kind == 2 and addresses:
            at = int.from_bytes(data[(place := rng.choice(addresses)) : place + 8], "little") + rng.randrange(64)
            found[at : at + 1] = bytes([rng.choice((0, 1, 2, 3, 4, 8, 11, 16, 17, 255, rng.randrange(256)))])
        else:
            return damaged(bytes(found), rng)
    return bytes(found)
