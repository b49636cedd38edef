"""Zip archives: the fields of their headers, the names of their members, and what is inside, with right checksums."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random

from tests.fuzz.mutations.numbers import damaged, number, packed, places_of

_LOCAL = ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))
"""Place and width of the fields of a member's own header: version, flags, method, checksum, sizes, lengths."""
_CENTRAL = ((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (42, 4))
_LAST = ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))
HEADERS = {b"PK\3\4": _LOCAL, b"PK\1\2": _CENTRAL, b"PK\5\6": _LAST}
NAMES = ("../../out", "/etc/out", "a\0b", "\x1b[31mred\x1b[0m", "a\nb", "\u202ebackwards", "", "x" * 5000, "a\\b", ".")
Members = list[tuple[str, bytes]]


def field(data: bytes, rng: Random) -> bytes:
    """A field of a header becomes another number."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        signature = rng.choice(list(HEADERS))
        places = places_of(data, signature)
        if not places:
            continue
        at, (offset, width) = rng.choice(places), rng.choice(HEADERS[signature])
        near = int.from_bytes(found[at + offset : at + offset + width], "little")
        found[at + offset : at + offset + width] = packed(number(rng, near), width)
    return bytes(found)


def renamed(data: bytes, rng: Random) -> bytes:
    """A member goes, comes twice, or has a name that leads elsewhere."""
    members = unpacked(data)
    if not members:
        return damaged(data, rng)
    at = rng.randrange(len(members))
    kind = rng.randrange(4)
    if kind == 0:
        del members[at]
    elif kind == 1:
        members.insert(rng.randrange(len(members) + 1), members[at])
    elif kind == 2:
        other = rng.randrange(len(members))
        members[at], members[other] = (members[at][0], members[other][1]), (members[other][0], members[at][1])
    else:
        name = rng.choice(NAMES)
        members[at] = name + rng.choice(("", members[at][0])), members[at][1]
    return rebuilt(members, rng)


def bomb(data: bytes, rng: Random) -> bytes:
    """A member that is far longer than its packed bytes, or says that it is."""
    members = unpacked(data)
    if not members:
        return damaged(data, rng)
    at, size = rng.randrange(len(members)), rng.choice((2**16, 2**16, 2**20, 2**20, 2**24))
    name, content = members[at]
    members[at] = (
        name,
        rng.choice((b"\0" * size, content + b"\0" * size, (content * (size // (len(content) or 1)))[:size])),
    )
    made = rebuilt(members, rng, zipfile.ZIP_DEFLATED)
    return field(made, rng) if rng.random() < 0.3 else made


def inside(data: bytes, rng: Random, mutated: Callable[[bytes, str, Random], bytes]) -> bytes:
    """One member is damaged; half of the time its checksum is right."""
    members = unpacked(data)
    if not members:
        return damaged(data, rng)
    at = rng.randrange(len(members))
    name, content = members[at]
    members[at] = name, mutated(content, name, rng)
    made = rebuilt(members, rng)
    if rng.random() < 0.5:
        made = made.replace(packed(zlib.crc32(members[at][1]), 4), packed(zlib.crc32(content), 4))
    return made


def unpacked(data: bytes) -> Members:
    """The members in their order; none of what is no archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(info.filename, archive.read(info)) for info in archive.infolist()]
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        ValueError,
        NotImplementedError,
        RuntimeError,
        OSError,
        EOFError,
    ):
        return []


def rebuilt(members: Members, rng: Random, packing: int | None = None) -> bytes:
    """An archive of these members, written by hand: names may be anything, twice as well."""
    deflated = rng.random() < 0.3 if packing is None else packing == zipfile.ZIP_DEFLATED
    body, central = bytearray(), bytearray()
    for name, content in members:
        raw = name.encode("utf-8", "surrogatepass")[: 2**16 - 1]
        squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
        stored = squeeze.compress(content) + squeeze.flush() if deflated else content
        common = struct.pack("<HHHHH", 20, 1 << 11, 8 * deflated, 0, 0)
        common += struct.pack("<IIIHH", zlib.crc32(content), len(stored), len(content), len(raw), 0)
        central += b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + raw
        body += b"PK\3\4" + common + raw + stored
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), len(body), 0)
    return bytes(body + central + end)
