"""Headers that lie, by hand and by chance: one error of ours, and never more read than the header."""

from __future__ import annotations

import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rnnspect import FileError, RnnspectError
from rnnspect.files import npy, pickle_file, safetensors_file
from rnnspect.files.reading import Stored, Tensors

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def tensors_of(path: Path) -> Tensors:
    formats = {".npz": npy.tensors, ".safetensors": safetensors_file.tensors, ".pt": pickle_file.tensors}
    return formats[path.suffix](path)


def safetensors(folder: Path, header: Any, data: bytes = bytes(16), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_a_plain_header(tmp_path: Path):
    path = safetensors(tmp_path, {"__metadata__": {"format": "pt"}, "w": ENTRY})
    assert tensors_of(path).stored == {"w": Stored((2, 2), "float32")}


HEADERS: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{{", "not valid JSON"),
    "no text": (b"\xff\xfe", "not valid JSON"),
    "nested without end": (b"[" * 100_000, "not valid JSON"),
    "a name twice": (b'{"w": {}, "w": {}}', "repeats a name"),
    "a number of ten thousand digits": (b'{"w": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    "a list": ([1], "not a JSON object"),
    "nothing": ({}, "no tensor"),
    "metadata alone": ({"__metadata__": {}}, "no tensor"),
    "an entry that is none": ({"w": 3}, "x.safetensors:w: .*lacks the dtype, shape or offsets"),
    "no shape": ({"w": {"dtype": "F32", "data_offsets": [0, 16]}}, "lacks the dtype, shape or offsets"),
    "a dtype that is a number": ({"w": ENTRY | {"dtype": 1}}, "lacks the dtype, shape or offsets"),
    "a negative size": ({"w": ENTRY | {"shape": [-2, -2]}}, "lacks the dtype, shape or offsets"),
    "a size that is true": ({"w": ENTRY | {"shape": [True, 4]}}, "lacks the dtype, shape or offsets"),
    "a size beyond all": ({"w": ENTRY | {"shape": [2**63]}}, "lacks the dtype, shape or offsets"),
    "a thousand axes": ({"w": ENTRY | {"shape": [1] * 1000}}, "lacks the dtype, shape or offsets"),
    "a place with one end": ({"w": ENTRY | {"data_offsets": [16]}}, "are not a range"),
    "a place that ends first": ({"w": ENTRY | {"data_offsets": [16, 0]}}, "are not a range"),
    "a place beyond the file": (
        {"w": ENTRY | {"data_offsets": [0, 2**40]}},
        r"expected 1\.0 TiB, found 16 bytes",
    ),
    "a shape beyond its place": ({"w": ENTRY | {"shape": [2**40, 2**20]}}, "takes 4.0 EiB, its offsets span 16 bytes"),
    "bytes of nobody": ({"w": ENTRY | {"shape": [1], "data_offsets": [0, 4]}}, "describes 4 bytes, the file has 16"),
}


@pytest.mark.parametrize(("header", "said"), HEADERS.values(), ids=HEADERS.keys())
def test_a_hostile_safetensors_header(tmp_path: Path, header: Any, said: str):
    with pytest.raises(FileError, match=said):
        tensors_of(safetensors(tmp_path, header))


@pytest.mark.parametrize("length", [0, 1, 10_000, 2**40, 2**64 - 1])
def test_a_safetensors_header_of_another_length(tmp_path: Path, length: int):
    with pytest.raises(FileError, match="length of its header is wrong"):
        tensors_of(safetensors(tmp_path, {"w": ENTRY}, length=length))


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pt"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_any_bytes_changed_or_cut(tmp_path: Path, suffix: str, data: st.DataObject):
    path = tmp_path / f"x.{suffix}"
    tensors = {"rnn.weight_ih": torch.ones(3, 2), "rnn.weight_hh": torch.ones(3, 1)}
    if suffix == "npz":
        np.savez_compressed(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    elif suffix == "pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        there = tensors_of(path)
        found = there.read(list(there.stored))
    except RnnspectError:
        return
    assert found


def test_an_npz_that_claims_more_than_it_can_unpack_to(tmp_path: Path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 1000)}\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(100)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", content)
    with pytest.raises(FileError, match=r"x\.npz:w: .*expected 3\.8 MiB, found 100 bytes"):
        tensors_of(tmp_path / "x.npz")


def test_arrays_of_anything_else_are_named_and_not_read(tmp_path: Path):
    np.savez(tmp_path / "x.npz", words=np.array(["a"]), things=np.array([{}], dtype=object), w=np.ones(2))
    found = tensors_of(tmp_path / "x.npz").stored
    assert (found["words"].dtype, found["things"].dtype, found["w"]) == ("'<U1'", "objects", Stored((2,), "float64"))
    assert tensors_of(tmp_path / "x.npz").read(["w"])["w"].tolist() == [1, 1]


def test_dictionaries_in_themselves_and_in_each_other_are_looked_at_once(tmp_path: Path):
    inner: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(3):
        inner = {str(at): inner for at in range(100)}
    inner["0"]["again"] = inner
    torch.save(inner, tmp_path / "x.pt")
    assert list(tensors_of(tmp_path / "x.pt").stored) == ["0.0.0.w"]


def test_a_large_checkpoint_is_mapped_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.save({"rnn.weight_ih": torch.zeros(1 << 18, 4), "w": torch.ones(2)}, tmp_path / "x.pt")
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 1 << 20}))
    assert tensors_of(tmp_path / "x.pt").stored["rnn.weight_ih"].shape == (1 << 18, 4)
    assert tensors_of(tmp_path / "x.pt").read(["w"])["w"].tolist() == [1, 1]


def test_the_older_format_is_read_too(tmp_path: Path):
    torch.save({"a": {"w": torch.ones(2)}}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert tensors_of(tmp_path / "x.pt").stored == {"a.w": Stored((2,), "float32")}
