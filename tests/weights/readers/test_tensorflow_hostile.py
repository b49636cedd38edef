"""TensorFlow's files that are damaged, lie or never end: read, or one message and exit status 2, in bounded time."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rnnspect.cli import main
from tests.marks import sampled
from tests.tensorflow_files import unpacked
from tests.wire_format import varint

if TYPE_CHECKING:
    from pathlib import Path

SOON = 20.0
"""Seconds of the CPU: what is not bounded takes hours."""


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a message, written by hand from the wire format."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(name: str, op: str, *inputs: str, **attributes: bytes) -> bytes:
    """A NodeDef (node_def.proto)."""
    given = b"".join(field(3, one) for one in inputs)
    return (
        field(1, name)
        + field(2, op)
        + given
        + b"".join(field(5, field(1, key) + field(2, value)) for key, value in attributes.items())
    )


def constant(name: str, *shape: int) -> bytes:
    """A constant of float32 whose numbers are all the same (tensor.proto)."""
    sizes = b"".join(field(2, field(1, size)) for size in shape)
    return node(name, "Const", value=field(8, field(1, 1) + field(2, sizes) + b"\x2d" + bytes(4)))


def graph(*nodes: bytes, library: bytes = b"") -> bytes:
    return b"".join(field(1, one) for one in nodes) + (field(2, library) if library else b"")


def lstm(rows: int, columns: int) -> list[bytes]:
    """The nodes of a BlockLSTM with such a kernel."""
    inputs = ("t", "x", "c", "h", "w", "p", "p", "p", "b")
    return [constant("w", rows, columns), constant("b", columns), node("cell", "BlockLSTM", *inputs)]


def refused(path: Path, capsys: pytest.CaptureFixture[str], command: str = "shapes") -> str:
    """What is said, in one line that names the file."""
    started = time.process_time()
    assert main([command, str(path)]) == 2
    assert time.process_time() - started < SOON
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note:")]
    assert len(errors) == 1
    assert str(path) in errors[0]
    return errors[0]


def test_a_graph_written_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "g").write_bytes(graph(*lstm(8, 20)))
    assert main(["shapes", str(tmp_path / "g")]) == 0
    assert "LSTM(3, 5, batch_first=True)" in capsys.readouterr().out


def test_more_numbers_than_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "g").write_bytes(graph(*lstm(2**29 + 3, 2**31)))
    assert "would need" in refused(tmp_path / "g", capsys, "check")


def test_peepholes_that_are_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    *constants, _ = lstm(8, 20)
    inputs = ("t", "x", "c", "h", "w", "p", "p", "p", "b")
    cell = node("cell", "BlockLSTM", *inputs, use_peephole=field(5, 1))
    (tmp_path / "g").write_bytes(graph(*constants, cell))
    assert "no recurrent parameters found" in refused(tmp_path / "g", capsys)


def function(name: str, argument: str, *nodes: bytes) -> bytes:
    """A FunctionDef (function.proto)."""
    return field(1, field(1, field(1, name) + field(2, field(1, argument))) + b"".join(field(3, one) for one in nodes))


def call(name: str, called: str, given: str) -> bytes:
    return node(name, "PartitionedCall", given, f=field(10, field(1, called)))


def test_a_cell_inside_functions(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    inputs = ("t", "x", "c", "h", "weights", "p", "p", "p", "b")
    inner = node("read", "Identity", "weights")
    cell = node("cell", "BlockLSTM", *(one.replace("weights", "read:output:0") for one in inputs[:8]), "bias")
    signature = field(1, "outer") + field(2, field(1, "weights")) + field(2, field(1, "bias"))
    body = field(1, signature) + field(3, inner) + field(3, cell)
    outer = node("both", "PartitionedCall", "w", "b", f=field(10, field(1, "outer")))
    made = graph(constant("w", 8, 20), constant("b", 20), outer, library=field(1, body))
    (tmp_path / "g").write_bytes(made)
    assert main(["shapes", str(tmp_path / "g")]) == 0
    assert "LSTM(3, 5, batch_first=True)" in capsys.readouterr().out


@pytest.mark.slow
def test_functions_that_call_each_other_without_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    many = function("f", "x", *(call(f"a{at}", "f", "x") for at in range(50)))
    (tmp_path / "g").write_bytes(graph(node("x", "Placeholder"), call("start", "f", "x"), library=many))
    assert "no recurrent parameters found" in refused(tmp_path / "g", capsys)


@pytest.mark.slow
def test_long_chains_and_circles(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Ten thousand sums, each behind ten thousand nodes that hand on what they take, or a circle of them."""
    many = 10_000
    chain = [node(f"i{at}", "Identity", f"i{at - 1}") for at in range(1, many)]
    circle = [node("m0", "Merge", "m1"), node("m1", "Identity", "m0")]
    four, end = field(3, 4), f"i{many - 1}"
    splits = [node(f"s{at}", "Split", "axis", "m0" if at % 2 else end, num_split=four) for at in range(many)]
    sums = [node(f"a{at}", "AddV2", f"s{at}", f"a{at - 1}") for at in range(1, many)]
    gates = [node(f"t{at}", "Split", "axis", f"a{many - 1}", num_split=four) for at in range(many)]
    first = node("i0", "Placeholder")
    (tmp_path / "g").write_bytes(graph(first, *chain, *circle, *splits, *sums, *gates))
    assert "no recurrent parameters found" in refused(tmp_path / "g", capsys)


def test_a_constant_that_is_no_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "g").write_bytes(graph(node("x", "Const", value=field(8, b"\xff\xff"))))
    assert "g:x: the file is damaged or cut short" in refused(tmp_path / "g", capsys)


PARTS = {
    "basic_lstm.pb": "basic_lstm.pb",
    "keras_gru_frozen_while.pb": "keras_gru_frozen_while.pb",
    "basic_lstm/model.ckpt.index": "basic_lstm",
    "basic_lstm/model.ckpt.meta": "basic_lstm",
    "basic_lstm/checkpoint": "basic_lstm",
    "keras_both/saved_model.pb": "keras_both",
    "keras_both/keras_metadata.pb": "keras_both",
    "keras_both/variables/variables.index": "keras_both",
    "keras_both/variables/variables.data-00000-of-00001": "keras_both",
}
"""By a file what is given to the command."""


@pytest.mark.parametrize("part", sampled(PARTS, 2))
def test_damaged_by_chance(tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]):
    """Some of its bytes changed, taken out or put in: read, or refused."""
    unpacked(tmp_path, PARTS[part])
    whole = (tmp_path / part).read_bytes()
    draw = np.random.default_rng(len(part))
    for _ in range(25):
        damaged = bytearray(whole)
        for _ in range(int(draw.integers(1, 4))):
            at, what = int(draw.integers(len(damaged))), draw.random()
            put = draw.integers(0, 256, int(draw.integers(1, 6)), "u1").tobytes()
            damaged[at : at + (0 if what < 0.2 else len(put))] = b"" if what > 0.8 else put
        (tmp_path / part).write_bytes(damaged)
        status = main(["shapes", str(tmp_path / PARTS[part])])
        said = capsys.readouterr().err
        assert status in {0, 2}, bytes(damaged)
        assert (status == 2) == ("error: " in said), bytes(damaged)


def test_a_saved_model_without_its_variables(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    unpacked(tmp_path, "keras_both")
    shutil.rmtree(tmp_path / "keras_both" / "variables")
    assert "variables.index: no such file" in refused(tmp_path / "keras_both", capsys)
