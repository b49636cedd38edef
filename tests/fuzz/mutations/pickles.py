"""Pickles: instructions that are dropped, repeated, exchanged or put in between, and calls that must never be made."""

from __future__ import annotations

import pickle
import pickletools
import struct
from random import Random

from tests.fuzz.mutations.numbers import CANARY, damaged, number, packed

_CALL = f"cos\nsystem\n(S'touch {CANARY}'\ntR".encode()
INSERTED = (
    _CALL,
    _CALL + b"0",
    f'cbuiltins\nexec\n(S\'open("{CANARY}", "w")\'\ntR'.encode(),
    f"(S'touch {CANARY}'\nios\nsystem\n".encode(),
    b"(cos\nsystem\n" + f"S'touch {CANARY}'\no".encode(),
    b"\x8c\x02os\x8c\x06system\x93",
    b"cbuiltins\ngetattr\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"cnumpy\ndtype\n(S'O8'\ntR",
    *(b"(", b")", b"]", b"}", b"0", b"1", b"2", b"N", b"t", b"l", b"d", b"R", b"b", b"s", b"u", b"a", b"e", b"Q", b"."),
    *(b"\x81", b"\x85", b"\x86", b"\x87", b"\x88", b"\x89", b"\x8f", b"\x90", b"\x91", b"\x92", b"\x93", b"\x94"),
    b"\x82\x01",
    b"\x97",
    b"\x98",
    b"(" * 3000,
    b"]" * 2000 + b"a" * 1999,
    b"\x85" * 3000,
    b"2" * 2000,
    b"Pid\n",
    b"I" + b"9" * 5000 + b"\n",
    b"L" + b"9" * 3000 + b"L\n",
    b"F1e999\n",
    b"Fnan\n",
    b"\x8b\xff\xff\xff\x7f",
    b"\x8a\xff" + b"\x7f" * 255,
    b"X\x04\0\0\0\x1b[2J",
    b"X\x05\0\0\0\xff\xfe\xfd\xfc\xfb",
    "X\x09\0\0\0\u202e\u2028\u2029".encode(),
)


def places(data: bytes) -> list[tuple[int, int, str]]:
    """Where each instruction begins and ends, and its name; as far as the bytes are a pickle, and of the first that
    ends the following, too."""
    found: list[tuple[int, int, str]] = []
    start = 0
    while start < len(data) and len(found) < 5000:
        try:
            for opcode, _, at in pickletools.genops(data[start:]):
                if found and found[-1][1] < 0:
                    found[-1] = found[-1][0], start + (at or 0), found[-1][2]
                found.append((start + (at or 0), -1, opcode.name))
        except Exception:  # noqa: BLE001 - what is no pickle goes by itself
            break
        found[-1] = found[-1][0], found[-1][0] + 1, found[-1][2]
        start = found[-1][1]
    return [one for one in found if one[1] > 0]


def instructions(data: bytes, rng: Random) -> bytes:
    """Some instructions go, come twice, change places, or stand where others were put in."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        every = places(bytes(found))
        if not every:
            return damaged(bytes(found), rng)
        begin, end, _ = rng.choice(every)
        other, until, _ = rng.choice(every)
        kind = rng.randrange(5)
        if kind == 0:
            del found[begin:end]
        elif kind == 1:
            found[begin:begin] = found[other:until]
        elif kind == 2:
            found[begin:end] = found[other:until]
        elif kind == 3:
            found[begin:end] = rng.choice(INSERTED)
        else:
            found[begin:begin] = rng.choice(INSERTED)
    return bytes(found)


def argument(data: bytes, rng: Random) -> bytes:
    """A number, a length or a place in the memo becomes another one."""
    every = [one for one in places(data) if one[1] - one[0] > 1]
    if not every:
        return damaged(data, rng)
    begin, end, name = rng.choice(every)
    near = int.from_bytes(data[begin + 1 : min(end, begin + 5)], "little")
    if name.startswith(("BININT", "LONG", "INT")):
        new = rng.choice((b"J" + packed(number(rng, near), 4), pickle.dumps(number(rng, near), 2)[2:-1], b"I01\n"))
    elif "PUT" in name or "GET" in name:
        new = rng.choice((b"r", b"j")) + packed(number(rng, near), 4)
    elif "STRING" in name or "UNICODE" in name or "BYTES" in name:
        size = rng.choice((number(rng, near), end - begin))
        opcode, form = rng.choice(((b"X", "<I"), (b"\x8d", "<Q"), (b"B", "<I"), (b"\x8e", "<Q"), (b"T", "<I")))
        new = opcode + struct.pack(form, size % 256 ** struct.calcsize(form)) + data[begin + 2 : end]
    elif name == "FRAME":
        new = b"\x95" + packed(number(rng, near), 8)
    else:
        new = data[begin : begin + 1] + damaged(data[begin + 1 : end], rng)
    return data[:begin] + new + data[end:]
