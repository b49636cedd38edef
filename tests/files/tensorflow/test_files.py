"""Graphs and checkpoints that TensorFlow wrote: the names, shapes and numbers that it put into them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rnnspect import FileError
from rnnspect.files.protobuf import Message
from rnnspect.files.reading import Stored
from rnnspect.files.tensorflow import table
from rnnspect.files.tensorflow.checkpoint import is_index, read_checkpoint
from rnnspect.files.tensorflow.graph import graph_of, read_graph
from rnnspect.files.tensorflow.tensors import number_of, stored_in, tensor_of
from tests.tensorflow_files import drawn, unpacked
from tests.wire_format import varint

if TYPE_CHECKING:
    from pathlib import Path

LSTM = {"rnn/basic_lstm_cell/kernel": (8, 20), "rnn/basic_lstm_cell/bias": (20,)}


def test_a_frozen_graph(tmp_path: Path):
    graph = read_graph(unpacked(tmp_path, "basic_lstm.pb") / "basic_lstm.pb")
    assert graph.stored == {name: Stored(shape, "float32") for name, shape in LSTM.items()}
    for found, put in zip(graph.read(list(LSTM)).values(), drawn(*LSTM.values()), strict=True):
        assert np.array_equal(found, put)
    add = graph.nodes["rnn/while/basic_lstm_cell/Add"]
    assert (add.op, add.inputs) == ("AddV2", ("rnn/while/basic_lstm_cell/split:2", "rnn/while/basic_lstm_cell/Const_1"))


def test_attributes_of_a_node(tmp_path: Path):
    graph = read_graph(unpacked(tmp_path, "block_forget_quarter.pb") / "block_forget_quarter.pb")
    node = graph.nodes["BlockLSTM"]
    assert [node.number(name, 9) for name in ("forget_bias", "cell_clip", "use_peephole", "none")] == [0.25, -1, 0, 9]


def test_a_checkpoint(tmp_path: Path):
    checkpoint = read_checkpoint(unpacked(tmp_path, "basic_lstm") / "basic_lstm" / "model.ckpt.index")
    assert checkpoint.stored == {name: Stored(LSTM[name], "float32") for name in sorted(LSTM)}
    for found, put in zip(checkpoint.read(list(LSTM)).values(), drawn(*LSTM.values()), strict=True):
        assert np.array_equal(found, put)


def test_a_checkpoint_of_objects_has_the_names_of_variables(tmp_path: Path):
    names = {"lstm/lstm_cell/kernel": (3, 20), "lstm/lstm_cell/recurrent_kernel": (5, 20), "lstm/lstm_cell/bias": (20,)}
    unpacked(tmp_path, "keras_lstm", "keras_lstm_weights")
    for index in ("keras_lstm/variables/variables.index", "keras_lstm_weights/ckpt.index"):
        checkpoint = read_checkpoint(tmp_path / index)
        assert {name: one.shape for name, one in checkpoint.stored.items()} == names
        for found, put in zip(checkpoint.read(list(names)).values(), drawn(*names.values()), strict=True):
            assert np.array_equal(found, put)


def test_the_data_beside_the_index(tmp_path: Path):
    folder = unpacked(tmp_path, "basic_lstm") / "basic_lstm"
    data = folder / "model.ckpt.data-00000-of-00001"
    checkpoint = read_checkpoint(folder / "model.ckpt.index")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(FileError, match="expected 720 bytes, found 100 bytes"):
        checkpoint.read(["rnn/basic_lstm_cell/kernel"])
    data.unlink()
    with pytest.raises(FileError, match=r"data-00000-of-00001: no such file"):
        checkpoint.read(["rnn/basic_lstm_cell/kernel"])


def proto(dtype: int, shape: tuple[int, ...], *values: bytes) -> memoryview:
    """A TensorProto, written by hand from tensor.proto."""
    sizes = b"".join(b"\x12" + bytes([len(dim)]) + dim for size in shape for dim in [b"\x08" + varint(size)])
    return memoryview(b"\x08" + bytes([dtype, 0x12, len(sizes)]) + sizes + b"".join(values))


VALUES = {
    "one that goes on": (proto(1, (3,), b"\x2d", struct.pack("<f", 2.5)), [2.5, 2.5, 2.5]),
    "packed, the last one goes on": (proto(1, (3,), b"\x2a\x08", struct.pack("<2f", 1, 2)), [1, 2, 2]),
    "none": (proto(1, (2,)), [0, 0]),
    "float64": (proto(2, (2,), b"\x32\x10", struct.pack("<2d", 1, -2)), [1, -2]),
    "float16 as whole numbers": (proto(19, (2,), b"\x6a\x04\x80\x78\x80\x80"[:2], b"\x80\x78\x80\x78"), [1, 1]),
    "bfloat16 alone": (proto(14, (2,), b"\x68\x80\x7f"), [1, 1]),
    "bytes": (proto(1, (2,), b"\x22\x08", struct.pack("<2f", 3, 4)), [3, 4]),
    "no number": (proto(1, (0,)), []),
}


@pytest.mark.parametrize("name", VALUES)
def test_how_numbers_are_written(name: str):
    data, values = VALUES[name]
    assert tensor_of(Message(data, "x")).tolist() == values
    assert number_of(Message(data, "x")) is None


ONE = {"float32": (1, b"\x2d", "<f"), "float64": (2, b"\x31", "<d"), "bytes": (19, b"\x22\x02", "<e")}


@pytest.mark.parametrize("name", ONE)
def test_one_number(name: str):
    kind, key, form = ONE[name]
    assert number_of(Message(proto(kind, (), key, struct.pack(form, -0.5)), "x")) == -0.5
    assert number_of(Message(proto(kind, (1, 1)), "x")) == 0
    assert number_of(Message(proto(14, (), b"\x68\x80\x7f"), "x")) == 1
    assert number_of(Message(proto(3, ()), "x")) is None


WRONG = {
    "too many numbers": (
        proto(1, (1,), b"\x2a\x08", bytes(8)),
        r"float32 tensor of shape \(1,\) has 8 bytes; expected 4",
    ),
    "too few bytes": (
        proto(1, (3,), b"\x22\x08", bytes(8)),
        r"float32 tensor of shape \(3,\) has 8 bytes; expected 12",
    ),
    "half a number": (proto(1, (3,), b"\x2a\x03", bytes(3)), "has 3 bytes"),
    "whole numbers": (proto(3, (3,)), "unsupported dtype int32"),
    "a negative size": (proto(1, (2**64 - 1,)), "of known size"),
    "a number for its shape": (memoryview(b"\x08\x01\x10\x01"), "field 2 has the wrong type"),
}


@pytest.mark.parametrize("name", WRONG)
def test_numbers_that_do_not_fit(name: str):
    data, message = WRONG[name]
    with pytest.raises(FileError, match=message):
        tensor_of(Message(data, "x"))


def test_what_would_not_fit_in_memory():
    from rnnspect.errors import ResourceError

    with pytest.raises(ResourceError, match="reading this file would need"):
        tensor_of(Message(proto(1, (2**30, 2**20)), "x"))
    assert stored_in(Message(proto(1, (2**30, 2**20)), "x")) == Stored((2**30, 2**20), "float32")


def block(*pairs: tuple[int, bytes, bytes], restarts: int = 1) -> bytes:
    found = b"".join(bytes([shared, len(rest), len(value)]) + rest + value for shared, rest, value in pairs)
    return found + bytes(4) * restarts + struct.pack("<I", restarts)


def written(*blocks: bytes, kind: int = 0) -> memoryview:
    """A table of these blocks, written by hand from leveldb's doc/table_format.md."""
    data, handles = b"", []
    for at, one in enumerate(blocks):
        handles.append((0, bytes([97 + at]), varint(len(data)) + varint(len(one))))
        data += one + bytes([kind]) + bytes(4)
    index = block(*handles)
    footer = b"\0\0" + varint(len(data)) + varint(len(index))
    return memoryview(data + index + bytes(5) + footer.ljust(40, b"\0") + table.MAGIC)


def test_a_table_of_several_blocks():
    two = written(block((0, b"", b"h"), (0, b"abc", b"1"), (2, b"d", b"2")), block((0, b"b", b"3"), restarts=2))
    assert [(key, bytes(value)) for key, value in table.entries(two, "x")] == [
        (b"", b"h"),
        (b"abc", b"1"),
        (b"abd", b"2"),
        (b"b", b"3"),
    ]


TABLES = {
    "no table": (memoryview(bytes(100)), "not the index of a TensorFlow checkpoint"),
    "too short": (memoryview(table.MAGIC), "not the index of a TensorFlow checkpoint"),
    "compressed": (written(block((0, b"a", b"1")), kind=1), "compressed"),
    "not sorted": (written(block((0, b"b", b"1"), (0, b"a", b"2"))), "not sorted"),
    "the same block twice": (written(*2 * [block((0, b"a", b"1"))]), "not sorted"),
    "shares more than there is": (written(block((0, b"a", b"1"), (2, b"b", b"2"))), "too long for its block"),
    "longer than its block": (written(bytes([0, 9, 9]) + block((0, b"a", b"1"))), "too long for its block"),
    "restarts without end": (written(block((0, b"a", b"1"), restarts=0)[:-4] + b"\xff\xff\xff\x0f"), "end of a block"),
    "a block outside": (memoryview(bytes(8) + b"\0\0\x7f\x7f".ljust(40, b"\0") + table.MAGIC), "outside the file"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_damaged(name: str):
    data, message = TABLES[name]
    with pytest.raises(FileError, match=message):
        list(table.entries(data, "x"))


def test_keys_that_grow_without_end(monkeypatch: pytest.MonkeyPatch):
    """A few bytes an entry say a key as long as the one before."""
    monkeypatch.setattr(table, "MAX_KEYS", 1000)
    pairs = [(0, b"a" * 100, b""), *((99, bytes([98 + at]), b"") for at in range(20))]
    with pytest.raises(FileError, match="the index has too many names"):
        list(table.entries(written(block(*pairs)), "x"))


@pytest.mark.slow
def test_damaged_by_chance(tmp_path: Path):
    """Every file with one of its bytes changed, or its end cut off: read, or refused in words."""
    unpacked(tmp_path, "basic_lstm.pb", "keras_lstm_weights")
    graph = (tmp_path / "basic_lstm.pb").read_bytes()
    index = tmp_path / "keras_lstm_weights" / "ckpt.index"
    whole, data = index.read_bytes(), index.with_name("ckpt.data-00000-of-00001")
    objects = data.read_bytes()
    draw = np.random.default_rng(0)

    def damaged(given: bytes) -> bytes:
        at, other = int(draw.integers(len(given))), int(draw.integers(256))
        return given[:at] if draw.random() < 0.2 else given[:at] + bytes([other]) + given[at + 1 :]

    refused = 0
    for _ in range(700):
        try:
            found = graph_of(Message(memoryview(damaged(graph)), "x"))
            found.read(list(found.stored))
        except FileError:
            refused += 1
        first = draw.random() < 0.5
        index.write_bytes(damaged(whole) if first else whole)
        data.write_bytes(objects if first else damaged(objects))
        try:
            checkpoint = read_checkpoint(index)
            checkpoint.read(list(checkpoint.stored))
        except FileError:
            refused += 1
    assert refused > 300


def bundle(folder: Path, header: bytes, entry: bytes) -> Path:
    """The index of a checkpoint with one variable, w (tensor_bundle.proto)."""
    path = folder / "x.index"
    path.write_bytes(written(block((0, b"", header), (0, b"w", entry))))
    return path


HEADER, ENTRY = b"\x08\x02\x1a\x02\x08\x01", b"\x08\x01\x12\x04\x12\x02\x08\x02\x18\x01\x28\x08"


def test_numbers_in_the_second_of_two_files(tmp_path: Path):
    index = bundle(tmp_path, HEADER, ENTRY)
    assert is_index(index.read_bytes())
    (tmp_path / "x.data-00001-of-00002").write_bytes(struct.pack("<2f", 3, 4))
    assert read_checkpoint(index).read(["w"])["w"].tolist() == [3, 4]


def test_what_a_checkpoint_may_not_say(tmp_path: Path):
    with pytest.raises(FileError, match="big-endian"):
        read_checkpoint(bundle(tmp_path, HEADER + b"\x10\x01", ENTRY))
    with pytest.raises(FileError, match="w: this variable is stored in slices"):
        read_checkpoint(bundle(tmp_path, HEADER, ENTRY + b"\x3a\x00")).read(["w"])
    with pytest.raises(FileError, match=r"w: .*places this tensor in file 7 of 2"):
        read_checkpoint(bundle(tmp_path, HEADER, ENTRY + b"\x18\x07")).read(["w"])
    with pytest.raises(FileError, match="w: the index is damaged: a negative offset"):
        read_checkpoint(bundle(tmp_path, HEADER, ENTRY + b"\x20" + b"\xff" * 9 + b"\x01")).read(["w"])
