"""DyNet's files of parameters, written as its TextFileSaver does; and what is read of one beside a plain loop."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnspect.cli import main
from rnnspect.errors import FileError
from rnnspect.files.dynet_file import tensors
from rnnspect.files.reading import Tensors


def written(path: Path, arrays: dict[str, np.ndarray], full: bool = False) -> None:
    text = b""
    for name, values in arrays.items():
        numbers = "".join(f"{v:+.8e} " for v in values.ravel(order="F")).encode() + b"\n"
        shape = ",".join(map(str, values.shape)).encode()
        text += b"#Parameter# %s {%s} %d %s_GRAD\n" % (name.encode(), shape, len(numbers), b"FULL" if full else b"ZERO")
        text += numbers * (2 if full else 1)
    path.write_bytes(text)


def network(inputs: int = 5, units: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"/l/_0": (4 * units, inputs), "/l/_1": (4 * units, units), "/l/_2": (4 * units,)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("full", [False, True])
def test_the_numbers_come_back(tmp_path: Path, full: bool):
    arrays = network()
    written(tmp_path / "m", arrays, full)
    found = tensors(tmp_path / "m")
    assert {name: one.shape for name, one in found.stored.items()} == {name: one.shape for name, one in arrays.items()}
    for name, values in found.read(list(arrays)).items():
        np.testing.assert_array_equal(values.numpy(), arrays[name])  # nine digits tell float32 numbers apart


def test_it_is_the_lstm_that_dynet_computes(tmp_path: Path, capsys: Any):
    """Gates i f o g, and 1 added to the forget gate at run time (dynet nodes-lstm.cc)."""
    arrays = network()
    written(tmp_path / "m.model", arrays)
    x = np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)
    w_x, w_h, b = arrays.values()
    h, c, output = np.zeros(4), np.zeros(4), []
    for step in x.astype(np.float64):
        i, f, o, g = np.split(w_x.astype(np.float64) @ step + w_h.astype(np.float64) @ h + b, 4)
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f + 1, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        output.append(h)
    np.save(tmp_path / "x.npy", x[None])
    np.save(tmp_path / "y.npy", np.array(output, np.float32)[None])
    given = ["--input", str(tmp_path / "x.npy"), "--recorded", str(tmp_path / "y.npy"), "--format", "json"]
    assert main(["check", str(tmp_path / "m.model"), *given]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "agree"


def test_a_number_beyond_float32_is_infinite(tmp_path: Path):
    written(tmp_path / "m", network())
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes().replace(b"e-01", b"e+99", 1))
    found = tensors(tmp_path / "m")
    assert sum(int(one.isinf().sum()) for one in found.read(list(found.stored)).values()) == 1


def test_one_long_number_takes_no_memory_for_the_others(tmp_path: Path):
    """As fixed-size texts 1,500 numbers of which one has 200,000 digits would take 300 MB."""
    numbers = b" ".join([b"1." + b"0" * 200_000, *[b"2"] * 1_499]) + b"\n"
    (tmp_path / "m").write_bytes(b"#Parameter# /l/_0 {1500} %d ZERO_GRAD\n" % len(numbers) + numbers)
    found = tensors(tmp_path / "m")
    tracemalloc.start()
    assert found.read(["/l/_0"])["/l/_0"][:2].tolist() == [1, 2]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20e6


def refused(path: Path, read: Callable[[Path], Tensors], early: float) -> int:
    """How many of 400 damaged forms of a file are refused; the others are read. `early`: how often a byte near the
    beginning is changed."""
    whole, rng, count = path.read_bytes(), random.Random(0), 0
    for _ in range(400):
        data = bytearray(whole[: rng.randrange(1, len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(min(len(data), 60) if rng.random() < early else len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            found = read(path)
            found.read(list(found.stored))
        except FileError:
            count += 1
    return count


def test_damaged_files_are_told(tmp_path: Path):
    written(tmp_path / "m", network())
    refused(tmp_path / "m", tensors, early=0.7)
