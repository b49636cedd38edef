"""HDF5 bytes that are damaged, or made to take all memory or to never end: one message, and little taken for it."""

from __future__ import annotations

import io
import random
import re
import struct
import time
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from rnnspect import FileError, RnnspectError
from rnnspect.cli import main
from rnnspect.files import hdf5, hdf5_structures
from rnnspect.files.reading import FilePart
from tests.weights.readers import keras_files as made
from tests.weights.readers.keras_files import Layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UNDEFINED = 2**64 - 1


def read(data: bytes) -> dict[str, np.ndarray]:
    part = FilePart(io.BytesIO(data), 0, len(data))
    tree = hdf5.read_tree(part, "m.h5", ("model_config", "name"))
    return {path: one.numpy() for path, one in hdf5.read_datasets(part, "m.h5", list(tree.datasets)).items()}


def refusal(data: bytes) -> str | None:
    """Our error's message; None where there are numbers. Any other exception is what these tests are for."""
    try:
        read(data)
    except RnnspectError as error:
        return str(error)
    return None


def written(write: Callable[[h5py.File], Any], **options: Any) -> bytes:
    memory = io.BytesIO()
    with h5py.File(memory, "w", **options) as file:
        write(file)
    return memory.getvalue()


def layers(file: h5py.File) -> None:
    made.write_vars(file, Layer("lstm", "one"), "layers/lstm")
    made.write_vars(file, Layer("gru", "two", {"reset_after": True}, True), "layers/bidirectional")
    file.attrs["model_config"] = "{}" * 100


def packed(file: h5py.File) -> None:
    values = np.arange(35, dtype="f4").reshape(7, 5)
    file.create_dataset("layers/lstm/cell/vars/0", data=values, chunks=(3, 2), compression="gzip", shuffle=True)


def linked(file: h5py.File) -> None:
    layers(file)
    file["layers/other"] = h5py.SoftLink("/layers/lstm")


# Files that are as they should be


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "|i1", ">i4", "<u8"])
def test_numbers_of_any_dtype(dtype: str):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    found = read(written(lambda file: file.create_dataset("a/b", data=values)))["a/b"]
    assert (found.dtype, found.tolist()) == (values.dtype.newbyteorder("="), values.tolist())


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}], ids=str)
@pytest.mark.parametrize("chunks", [(1, 1), (3, 2), (7, 5)])
def test_numbers_in_chunks(chunks: tuple[int, int], options: Any):
    values = np.random.default_rng(0).normal(size=(7, 5))
    found = read(written(lambda file: file.create_dataset("a", data=values, chunks=chunks, **options)))["a"]
    assert np.array_equal(found, values)


def test_chunks_that_are_not_there():
    def half(file: h5py.File) -> None:
        file.create_dataset("a", (8,), "f4", chunks=(4,))[:4] = 1

    with pytest.raises(FileError, match="values are missing"):
        read(written(half))


def test_more_groups_than_one_node_holds():
    found = read(written(lambda file: [file.create_dataset(f"layers/{n}/vars/0", data=[n]) for n in range(300)]))
    assert {path: values.tolist() for path, values in found.items()} == {f"layers/{n}/vars/0": [n] for n in range(300)}


def test_the_newest_format():
    values = np.ones((3, 4), "f4")
    assert read(written(lambda file: file.create_dataset("a/b", data=values), libver="latest"))["a/b"].shape == (3, 4)


@pytest.mark.parametrize("kind", ["links", "attributes"])
def test_what_lies_in_a_heap_of_its_own_is_said_not_left_out(kind: str):
    def many(file: h5py.File) -> None:
        for at in range(20):
            if kind == "links":
                file[f"{at}"] = np.ones(1)
            else:
                file.attrs[f"{at}"] = "text"

    with pytest.raises(FileError, match=f"{kind} are stored in a fractal heap"):
        read(written(many, libver="latest"))


# Damaged files

SEEDS = {
    "layers": written(layers),
    "packed": written(packed),
    "linked": written(linked),
    "latest": written(layers, libver="latest"),
}
MARKS = re.compile(rb"TREE|HEAP|SNOD|GCOL|OHDR|\x01\x00.\x00\x01\x00\x00\x00", re.DOTALL)
"""Where groups, their names and nodes, texts, and headers begin: sizes and addresses come after."""
VALUES = (0, 1, 2, 127, 255, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def damaged(whole: bytes, drawn: random.Random) -> bytes:
    marks, data = [found.start() for found in MARKS.finditer(whole)], bytearray(whole)
    for _ in range(drawn.randint(1, 6)):
        at = drawn.choice(marks) + drawn.randrange(120) if drawn.random() < 0.7 else drawn.randrange(len(data))
        at, width = min(at, len(data) - 8), drawn.choice([1, 2, 4, 8])
        value = drawn.choice([*VALUES, drawn.choice(marks), drawn.randrange(len(data)), drawn.randrange(256)])
        data[at : at + width] = struct.pack("<Q", value)[:width]
    return bytes(data[: drawn.randrange(1, len(data))] if drawn.random() < 0.1 else data)


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_bytes_are_numbers_or_an_error_of_ours(seed: str):
    drawn = random.Random(seed)
    for _ in range(150):
        message = refusal(damaged(SEEDS[seed], drawn))
        assert message is None or message.startswith("m.h5:")


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_a_damaged_file_ends_a_command_with_one_line(tmp_path: Path, capsys: Any, form: str):
    path = tmp_path / f"m.{form}"
    (made.keras_3 if form == "keras" else made.keras_2)(path, [Layer("lstm", "one")])
    whole, drawn = path.read_bytes(), random.Random(20)
    for _ in range(15):
        path.write_bytes(damaged(whole, drawn))
        for command in ("shapes", "trace"):
            status = main([command, str(path)])
            shown = capsys.readouterr()
            assert status in (0, 2)
            assert "Traceback" not in shown.err
            assert (status == 2) == shown.err.startswith("error: "), shown.err


# Files made to take all memory, or to never end


def file_of(*blocks: bytes) -> tuple[bytes, list[int]]:
    """A file whose outermost group has its header at the first of these blocks, and where each of them begins."""
    places, at = [], 96
    for block in blocks:
        places.append(at)
        at += len(block)
    start = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHL", 4, 16, 0)
    start += struct.pack("<QQQQ", 0, UNDEFINED, at, UNDEFINED) + struct.pack("<QQLL16s", 0, 96, 0, 0, b"")
    return start + b"".join(blocks), places


def header(*messages: tuple[int, bytes], count: int | None = None) -> bytes:
    body = b"".join(struct.pack("<HHB3x", kind, len(data), 0) + data for kind, data in messages)
    return struct.pack("<BBHIII", 1, 0, len(messages) if count is None else count, 1, len(body), 0) + body


def group(tree: int, heap: int) -> bytes:
    return header((17, struct.pack("<QQ", tree, heap)))


def node(level: int, children: list[int]) -> bytes:
    pairs = b"".join(struct.pack("<QQ", 0, child) for child in children)
    return struct.pack("<4sBBHQQ", b"TREE", 0, level, len(children), UNDEFINED, UNDEFINED) + pairs + bytes(8)


def heap_of(names: int, size: int) -> bytes:
    return struct.pack("<4sB3xQQQ", b"HEAP", 0, size, 0, names)


def symbols(entries: list[tuple[int, int]]) -> bytes:
    body = b"".join(struct.pack("<QQII16s", name, address, 0, 0, b"") for name, address in entries)
    return struct.pack("<4sBBH", b"SNOD", 1, 0, len(entries)) + body


def placed(make: Callable[..., list[bytes]]) -> bytes:
    """Blocks that refer to one another: made twice, the second time knowing where each lies."""
    _, places = file_of(*make([0] * 20))
    return file_of(*make(places))[0]


def long_names(at: list[int]) -> list[bytes]:
    """Sixty thousand names, each of up to a million letters, all in the same million bytes."""
    names = b"a" * 1_000_000 + b"\0"
    entries = symbols([(n, at[0]) for n in range(20_000)])
    return [group(at[1], at[2]), node(0, [at[4]]), heap_of(at[3], len(names)), names, entries]


def same_child(at: list[int]) -> list[bytes]:
    """Each of eight levels of a tree has a hundred times the same child."""
    return [group(at[1], at[9]), *(node(8 - n, [at[n + 2]] * 100) for n in range(8)), heap_of(0, 8)]


def own_parent(at: list[int]) -> list[bytes]:
    return [group(at[1], at[2]), node(1, [at[1]]), heap_of(0, 8)]


def continued(at: list[int]) -> list[bytes]:
    """A header of sixty thousand messages, each of which says that the header goes on at its beginning."""
    again = struct.pack("<HHB3xQQ", 16, 16, 0, at[0] + 16, 24 * 1000)
    return [header(count=60_000)[:8] + struct.pack("<II", 24 * 1000, 0) + again * 1000]


def nothing_many_times(at: list[int]) -> list[bytes]:
    """A header of the second version, of a hundred million messages of no bytes."""
    return [b"OHDR" + bytes([2, 3]) + struct.pack("<Q", 4 * 10**8) + bytes(2**22)]


def many_texts(at: list[int]) -> list[bytes]:
    """An attribute that is an array of a thousand million texts."""
    space = struct.pack("<BBBB4xQ", 1, 1, 0, 0, 10**9)
    datatype = struct.pack("<BBBBI", 0x19, 1, 0, 0, 16) + bytes(8)
    start = struct.pack("<BBHHH", 1, 0, 5, len(datatype), len(space)) + b"name\0\0\0\0"
    return [header((12, start + datatype + space + bytes(16)))]


def long_text(at: list[int]) -> list[bytes]:
    """An attribute of one text of four thousand million bytes."""
    space, datatype = struct.pack("<BBBB4x", 1, 0, 0, 0), struct.pack("<BBBBI", 0x19, 1, 0, 0, 16) + bytes(8)
    start = struct.pack("<BBHHH", 1, 0, 5, len(datatype), len(space)) + b"name\0\0\0\0"
    heap = struct.pack("<4sB3xQ", b"GCOL", 1, 2**32) + struct.pack("<HH4xQ", 1, 1, 2**32 - 64)
    return [header((12, start + datatype + space + struct.pack("<IQI", 2**32 - 1, at[1], 1))), heap]


def bomb(file: h5py.File) -> None:
    """A chunk of 64 numbers of which deflate makes a hundred million bytes."""
    dataset = file.create_dataset("x", (64,), "f4", chunks=(64,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(10**8)))


HOSTILE: dict[str, bytes] = {
    make.__name__: placed(make)
    for make in (long_names, same_child, own_parent, continued, nothing_many_times, many_texts, long_text)
} | {"bomb": written(bomb)}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_small_file_cannot_take_all_memory_or_time(data: bytes):
    """Files of 200 bytes to four megabytes; for some pyfive alone asks for more than 4 GiB, or runs over 30 s."""
    tracemalloc.start()
    start = time.thread_time()
    message = refusal(data) or ""
    taken, most = time.thread_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message.startswith("m.h5: ") or message == ""
    assert most < 300 * 2**20
    assert taken < 60


def test_reading_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hdf5_structures, "SECONDS", -1)
    with pytest.raises(FileError, match="reading it takes more than"):
        read(SEEDS["layers"])
