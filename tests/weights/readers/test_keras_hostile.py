"""Keras files that lie, point elsewhere or never end: one message, exit status 2, memory under control."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from rnnspect import RnnspectError
from rnnspect.cli import main
from rnnspect.weights.readers import keras
from tests.marks import sampled
from tests.weights.readers import keras_files as made
from tests.weights.readers.keras_files import Layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLACE = "layers/lstm/cell/vars/0"


def itself(file: h5py.File) -> None:
    file["layers/again"] = file["layers"]


def deep(file: h5py.File) -> None:
    group = file["layers"]
    for _ in range(200):
        group = group.create_group("g")


def soft_cycle(file: h5py.File) -> None:
    file["layers/a"], file["layers/b"] = h5py.SoftLink("/layers/b"), h5py.SoftLink("/layers/a")


def external_link(file: h5py.File) -> None:
    file["layers/out"] = h5py.ExternalLink("/etc/passwd", "/")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("layers/out", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 16), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 16))
    del file[PLACE]
    file.create_virtual_dataset(PLACE, layout)


def claims(**how: Any) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        del file[PLACE]
        file.create_dataset(PLACE, (10**6, 10**6), "f4", **how)

    return write


def packed_a_millionfold(file: h5py.File) -> None:
    """One chunk of zeros is there, of ten million."""
    del file[PLACE]
    there = file.create_dataset(PLACE, (10**6, 10**6), "f4", chunks=(10**3, 10**2), compression="gzip")
    there[:1, :1] = 1


def unusual_filter(file: h5py.File) -> None:
    del file[PLACE]
    file.create_dataset(PLACE, data=np.ones((3, 16), "f4"), chunks=(3, 16), scaleoffset=2)


def text_for_numbers(file: h5py.File) -> None:
    del file[PLACE]
    file.create_dataset(PLACE, data=np.full((3, 16), "x", dtype=h5py.string_dtype()))


def whole_numbers(file: h5py.File) -> None:
    del file[PLACE]
    file[PLACE] = np.ones((3, 16), "i4")


def other_shape(file: h5py.File) -> None:
    del file[PLACE]
    file[PLACE] = np.ones((3, 15), "f4")


def no_axes(file: h5py.File) -> None:
    del file[PLACE]
    file[PLACE] = h5py.Empty("f4")


INSIDE = {
    itself: "the file is damaged: a group is linked twice or contains itself",
    deep: "groups are nested too deeply",
    soft_cycle: "a link to another place",
    external_link: "a link to another file",
    external_storage: "the numbers of this dataset are stored in another file",
    virtual: "the numbers of this dataset are stored in another file",
    claims(): "the shape (1000000, 1000000) needs 3.6 TiB, found 0 bytes",
    claims(chunks=(1000, 1000)): "the shape (1000000, 1000000) needs 3.6 TiB",
    packed_a_millionfold: "the shape (1000000, 1000000) needs 3.6 TiB",
    unusual_filter: "unsupported HDF5 compression filter 6",
    text_for_numbers: "weights of dtype object",
    whole_numbers: "weights of dtype int32",
    other_shape: "the shapes fit no cell",
    no_axes: "the shapes fit no cell",
}


def said(path: Path, capsys: Any, command: str = "shapes") -> str:
    """The only line of a refusal, and less than 64 MiB of Python's memory taken for it."""
    tracemalloc.start()
    status = main([command, str(path)])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    shown = capsys.readouterr()
    assert (status, shown.out, shown.err.count("\n")) == (2, "", 1), shown
    assert shown.err.startswith(f"error: {path}"), shown.err
    assert most < 2**26
    return shown.err


@pytest.mark.each_value_once
@pytest.mark.parametrize("form", ["keras", "h5"])
@pytest.mark.parametrize(
    ("spoil", "reason"), INSIDE.items(), ids=[f"{at} {one.__name__}" for at, one in enumerate(INSIDE)]
)
def test_what_lies_in_an_hdf5_file(tmp_path: Path, capsys: Any, form: str, spoil: Any, reason: str):
    path = made.keras_3(tmp_path / "m.keras", [Layer("lstm", "one")])
    with zipfile.ZipFile(path) as archive:
        config, weights = archive.read("config.json").decode(), archive.read("model.weights.h5")
    if form == "h5":
        path = tmp_path / "m.weights.h5"
        path.write_bytes(weights)
        with h5py.File(path, "r+") as file:
            spoil(file)
            file.attrs["model_config"] = config
    else:
        memory = io.BytesIO(weights)
        with h5py.File(memory, "r+") as file:
            spoil(file)
        made.zipped(path, config, memory.getvalue())
    assert reason in said(path, capsys)
    assert reason in said(path, capsys, "check")


MANY = "other layers without end"
"""So many that watching their memory takes seconds."""
CONFIGS: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "the config is not valid JSON"),
    "nested without end": ("[" * 100_000, "the config is not valid JSON"),
    "a number of ten thousand digits": ('{"class_name": ' + "9" * 10_000 + "}", "the config is not valid JSON"),
    "a list": ("[1]", "the config describes no model"),
    "models in models": (
        '{"class_name": "Sequential", "config": {"layers": [' * 200 + "]}}" * 200,
        "models are nested too deeply",
    ),
    "layers without end": (
        json.dumps(made.model([Layer("lstm", "one").entry()] * 300)),
        "more than 256 recurrent layers",
    ),
    "longer than any": (
        json.dumps({"class_name": "x" * 2**23}),
        "the config is 8.0 MiB long; expected at most 8.0 MiB",
    ),
    MANY: (json.dumps(made.model([{"class_name": "D"}] * 100_000)), "its layers: D"),
    "wrappers in wrappers": (
        json.dumps(made.model([])).replace("[]", "[" + '{"config": {"layer": ' * 200 + "{}" + "}}" * 200 + "]"),
        "layers are nested too deeply",
    ),
}


@pytest.mark.parametrize("form", sampled(["keras", "h5"], 2))
@pytest.mark.parametrize(
    ("config", "reason"),
    [pytest.param(*one, id=name, marks=[pytest.mark.slow] * (name == MANY)) for name, one in CONFIGS.items()],
)
def test_a_hostile_config(tmp_path: Path, capsys: Any, form: str, config: str, reason: str):
    path = tmp_path / f"m.{form}"
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["x"] = np.zeros(3)
        if form == "h5":
            attribute = np.array(config.encode(), h5py.string_dtype())
            file.attrs.create("model_config", attribute, dtype=h5py.string_dtype())
    if form == "h5":
        path.write_bytes(memory.getvalue())
    else:
        made.zipped(path, config, memory.getvalue())
    assert reason in said(path, capsys)


ODD: dict[str, Any] = {
    "layers of a number": made.model([]) | {"config": {"layers": 3}},
    "layers that are none": made.model([1, None, "LSTM", {}]),  # type: ignore[list-item]
    "no config": {"class_name": "Sequential"},
    "a layer without a config": made.model([{"class_name": "LSTM"}]),
    "a config of text": made.model([{"class_name": "LSTM", "config": "x"}]),
    "a class of a list": made.model([{"class_name": ["LSTM"], "config": {}}]),
    "an activation of a list": made.model([Layer("lstm", "one", {"activation": ["tanh"]}).entry()]),
    "a policy of a policy": made.model([Layer("lstm", "one", {"dtype": {"config": 3}}).entry()]),
    "a cell of text": made.model([{"class_name": "RNN", "config": {"cell": "LSTMCell"}}]),
    "a huge size": made.model([Layer("lstm", "one", {"units": 10**30}).entry()]),
    "a backward layer that is none": made.model(
        [{"class_name": "Bidirectional", "config": {"layer": Layer("lstm", "x").entry(), "backward_layer": {}}}]
    ),
}


@pytest.mark.parametrize("config", ODD.values(), ids=ODD.keys())
def test_an_odd_config_is_no_crash(tmp_path: Path, capsys: Any, config: Any):
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        made.write_vars(file, Layer("lstm", "one"), "layers/lstm")
    path = made.zipped(tmp_path / "m.keras", json.dumps(config), memory.getvalue())
    status = main(["shapes", str(path)])
    assert status in (0, 2)
    assert len(capsys.readouterr().err.splitlines()) <= 2


def test_a_zip_that_is_none(tmp_path: Path, capsys: Any):
    path = tmp_path / "m.keras"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "not a .keras file" in said(path, capsys)
    path.write_bytes(b"")
    assert "the file is empty" in said(path, capsys)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    assert "the file has no model.weights.h5" in said(path, capsys)
    made.zipped(path, "{}", b"no HDF5")
    assert "not an HDF5 file, or damaged" in said(path, capsys)
    path.unlink()
    assert "no such file" in said(path, capsys)


def test_a_zip_that_unpacks_to_more_than_there_is(tmp_path: Path, capsys: Any):
    path = tmp_path / "m.keras"
    made.zipped(path, "{}", bytes(1000), zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02")
    # The size that the archive's index claims of its last member: 24 bytes into its entry.
    path.write_bytes(data[: at + 24] + (2**32 - 2).to_bytes(4, "little") + data[at + 28 :])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 2**30}))
        assert "unpacking this file would need 8.0 GiB" in said(path, capsys)
    made.zipped(path, "x" * (2**26 + 1), b"", zipfile.ZIP_DEFLATED)
    assert "config.json takes 64.0 MiB" in said(path, capsys)


def test_what_is_no_hdf5(tmp_path: Path, capsys: Any):
    path = tmp_path / "m.h5"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "not a .keras file, or damaged: file is not a zip file" in said(path, capsys)
    path.unlink()
    path.mkdir()
    assert "a folder" in said(path, capsys)


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_no_prefix_of_a_file_is_a_crash(tmp_path: Path, form: str):
    whole = tmp_path / f"whole.{form}"
    (made.keras_3 if form == "keras" else made.keras_2)(whole, [Layer("lstm", "one")])
    data, path = whole.read_bytes(), tmp_path / f"m.{form}"
    for length in range(1, len(data), len(data) // 60):
        path.write_bytes(data[:length])
        with pytest.raises(RnnspectError):
            keras.layers_in(path)
