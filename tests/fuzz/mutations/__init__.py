"""Damage that knows the format, so that it comes past the first check: a plain function for each way of doing it.

`FAMILIES` is the table of them. What family some bytes are of is known by their content, so that members of an archive
are damaged as the files they are.
"""

from __future__ import annotations

from random import Random

from tests.fuzz.mutations import archives, headers, offsets, pickles, texts, wires
from tests.fuzz.mutations.numbers import Mutator, damaged


def _inside(data: bytes, rng: Random) -> bytes:
    return archives.inside(data, rng, lambda content, name, rng: mutated(content, name, rng))


FAMILIES: dict[str, tuple[Mutator, ...]] = {
    "zip": (damaged, archives.field, archives.renamed, archives.bomb, *(_inside,) * 8),
    "pickle": (damaged, pickles.instructions, pickles.instructions, pickles.argument),
    "protobuf": (damaged, wires.fields, wires.fields, wires.fields, wires.length),
    "flatbuffers": (damaged, offsets.flatbuffers, offsets.flatbuffers),
    "hdf5": (damaged, offsets.hdf5, offsets.hdf5),
    "safetensors": (damaged, headers.safetensors, headers.safetensors),
    "npy": (damaged, headers.npy, headers.npy),
    "json": (damaged, texts.values, texts.values, texts.values),
    "yaml": (damaged, texts.lines, texts.lines, texts.lines),
    "rows": (damaged, texts.cells, texts.cells),
    "other": (damaged,),
}
_BEGIN = {b"PK": "zip", b"\x89HDF": "hdf5", b"\x93NUMPY": "npy", b"\x80": "pickle"}
_ENDS = {
    ".yaml": "yaml",
    **dict.fromkeys((".onnx", ".mlmodel", ".pb", ".meta"), "protobuf"),
    **dict.fromkeys((".csv", ".tsv"), "rows"),
}


def family_of(data: bytes, name: str) -> str:
    """The family of a file, by its first bytes, else by its name."""
    if found := next((family for begin, family in _BEGIN.items() if data.startswith(begin)), None):
        return found
    if data[4:8] == b"TFL3":
        return "flatbuffers"
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return "safetensors"
    if data[:1] in (b"{", b"["):
        return "json"
    return next((family for end, family in _ENDS.items() if name.endswith(end)), "other")


def mutated(data: bytes, name: str, rng: Random) -> bytes:
    """A damaged copy of a file's content."""
    return rng.choice(FAMILIES[family_of(data, name)])(data, rng)
