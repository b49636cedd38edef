"""Pickles written by hand, instruction by instruction, as no library would write them."""

from __future__ import annotations

import struct


def text(content: str) -> bytes:
    data = content.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def called(module: str, name: str, args: bytes = b")") -> bytes:
    """A call of that function with a tuple of arguments."""
    return f"c{module}\n{name}\n".encode() + args + b"R"


MANY = 100_000
ORDERED = b"ccollections\nOrderedDict\n"
DAMAGED: dict[str, bytes] = {
    "nothing but the end": b".",
    "no end": b"\x80\x02N",
    "an unknown instruction": b"\x00.",
    "a stack that is too short": b"N\x87.",
    "two values": b"NN.",
    "a mark alone": b"(.",
    "nothing to take": b"0.",
    "nothing remembered": b"h\x00.",
    "a key without a value": b"}(Nu.",
    "no class to call": b"(o.",
    "a class by its number": b"\x82\x01.",
    "a buffer outside the file": b"\x80\x05\x97.",
    "bytes of 4 EiB": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "bytes of 16 GiB": b"\x80\x04\x8e" + struct.pack("<Q", 2**34) + b"abc.",
    "a bytearray of 16 GiB": b"\x80\x05\x96" + struct.pack("<Q", 2**34) + b"abc.",
    "a number of 2 GiB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a name of a million characters": b"c" + b"a" * 1_000_000 + b"\nb\n.",
    "names that grow": b"\x80\x02" + text("a" * 999) + b"q\x000(" + b"}h\x00}h\x00}h\x00]Nasss" * MANY + b"l.",
    "too many instructions": b"\x80\x02(" + b"N" * 5_100_000 + b"l.",
}  # fmt: skip
"""Each of them is refused."""
UNUSUAL: dict[str, bytes] = {
    "a place of four billion": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a frame longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "tuples in one another": b"\x80\x02)" + b"\x85" * MANY + b".",
    "lists in one another": b"\x80\x02" + b"]" * MANY + b"a" * (MANY - 1) + b".",
    "a key that doubles two hundred times": b"\x80\x02})" + b"2\x86" * 200 + b"Ns.",
    "a key of tuples in one another": b"\x80\x02})" + b"\x85" * MANY + b"Ns.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a dict in itself": b"\x80\x02}q\x00K\x01h\x00s.",
    "an object whose state it is itself": b"\x80\x02cx\ny\n)Rq\x00h\x00b.",
    "objects in states of one another": b"\x80\x02" + b"cx\ny\n)R" * MANY + b"b" * (MANY - 1) + b".",
    "a text of ten million bytes, many times": b"\x80\x02c_codecs\nencode\nq\x000" + text("a" * 10_000_000)
    + text("latin1") + b"\x86q\x010(" + b"h\x00h\x01R" * MANY + b"l.",
    "a long key, many times": b"\x80\x02" + text("a" * 10_000_000) + b"q\x000" + text("a" * 10_000_000)
    + b"q\x010}h\x00Ns(" + b"h\x01N" * MANY + b"u.",
    "a long number as a key, many times": b"\x80\x02\x8b" + struct.pack("<i", 1_000_000) + b"\x01" * 1_000_000
    + b"q\x000}(" + b"h\x00N" * MANY + b"u.",
    "many pairs, many times": b"\x80\x02" + ORDERED + b"q\x000](" + b"K\x01K\x02\x86" * MANY + b"e\x85q\x030("
    + b"h\x00h\x03R" * MANY + b"l.",
    "many modules that share many parameters": b"\x80\x02}(" + b"".join(
        b"J" + struct.pack("<i", n) + b"]N\x85a" for n in range(MANY)) + b"uq\x010cx\nM\nq\x000("
    + (b"h\x00)R}(" + text("_parameters") + b"h\x01" + text("_modules") + b"}ub") * (MANY // 10) + b"l.",
    "many modules that share a large state": b"\x80\x02}(" + text("_parameters") + b"}" + text("_modules") + b"}"
    + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(MANY)) + b"uq\x010cx\nM\nq\x000("
    + b"h\x00)Rh\x01b" * MANY + b"l.",
}  # fmt: skip
"""Each of them is read at once, and holds no array."""
