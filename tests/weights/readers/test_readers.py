"""Which reader a file is for: by its content, whatever its name."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rnnspect.cli import main
from rnnspect.errors import FileError
from rnnspect.files.sources import File, parse_file
from rnnspect.weights import readers
from rnnspect.weights.readers.interface import Reader
from tests.files.test_dynet_file import network, written
from tests.tensorflow_files import unpacked
from tests.weights.readers import keras_files, torch_files
from tests.weights.readers.coreml_files import FOLDER
from tests.weights.readers.keras_files import Layer

FILES = [kind for kind in readers.READERS if kind != "tensorflow_saved_model"]
"""The readers of single files."""
STATE = torch.nn.LSTM(3, 4, batch_first=True).state_dict()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file of each kind that a reader reads, by the reader's name."""
    made = {kind: tmp_path / f"{kind}{(*readers.find(kind).ends, '')[0]}" for kind in FILES}
    torch.save(STATE, made["torch_checkpoint"])
    torch_files.script(torch.nn.LSTM(3, 4, batch_first=True), made["torchscript"])
    torch_files.export(torch.nn.LSTM(3, 4, batch_first=True), made["torch_export"], torch.randn(2, 5, 3))
    made["pickles"].write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in STATE.items()}))
    save_file(STATE, made["safetensors"])
    index = {"weight_map": dict.fromkeys(STATE, made["safetensors"].name)}
    made["safetensors_index"].write_text(json.dumps(index))
    written(made["dynet"], network(inputs=3))
    np.savez(made["npz"], **{name: tensor.numpy() for name, tensor in STATE.items()})
    keras_files.keras_3(made["keras"], [Layer("lstm", "one")])
    for kind, name in (("coreml", "both.mlmodel"), ("tflite", "lstm.tflite")):
        shutil.copy(FOLDER / name, made[kind])
    assert main(["convert", str(made["npz"]), "--to", "onnx", "-o", str(made["onnx"])]) == 0
    unpacked(tmp_path, "basic_lstm.pb", "basic_lstm")
    (tmp_path / "basic_lstm.pb").rename(made["tensorflow_graph"])
    (tmp_path / "basic_lstm" / "model.ckpt.index").rename(made["tensorflow_checkpoint"])
    return made


@pytest.mark.parametrize("kind", FILES)
def test_the_content_says_which_reader_it_is_for(files: dict[str, Path], kind: str, tmp_path: Path, capsys: Any):
    assert isinstance(readers.find(kind), Reader)
    assert readers.kind_of(files[kind]) == kind
    for name in ("unnamed", "model.bin", "spec.yaml"):
        shutil.copy(files[kind], tmp_path / name)
        assert readers.kind_of(tmp_path / name) == kind
        assert main(["shapes", str(tmp_path / name)]) == 0
        assert "LSTM(3, " in capsys.readouterr().out


def test_what_nobody_knows_gets_the_message_of_its_name_or_of_its_format(tmp_path: Path):
    (tmp_path / "x.PT").write_bytes(bytes(range(256)))
    assert readers.kind_of(tmp_path / "x.PT") == "torch_checkpoint"
    (tmp_path / "spec.txt").write_text("cell: lstm")
    assert readers.kind_of(tmp_path / "spec.txt") is None
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("readme", "text")
    said = {
        "x": "a zip archive of other files",
        "a.gguf": "a GGUF file; allowed: .*gguf.GGUFReader",
        "b.gz": "packed by gzip; allowed: .*gunzip",
        "c": "a format that is not known",
        "eng.traineddata": "Tesseract",
    }
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(100))
    (tmp_path / "b.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    (tmp_path / "c").write_bytes(bytes(range(256)))
    (tmp_path / "eng.traineddata").write_bytes(np.array([2, 0, 20, 0, 30, 0], "<i4").tobytes()[:20] + bytes(40))
    for name, message in said.items():
        with pytest.raises(FileError, match=message):
            readers.kind_of(tmp_path / name)
    with pytest.raises(FileError, match="no such file"):
        readers.kind_of(tmp_path / "none")
    with pytest.raises(FileError, match="a folder of 7 files"):
        readers.kind_of(tmp_path)


@pytest.mark.parametrize("end", [".pt", ".npz", ".onnx", ".keras"])
def test_a_module_stands_after_a_colon(tmp_path: Path, end: str):
    path = tmp_path / f"a:b{end}"
    assert parse_file(str(path)) == File(path)
    assert parse_file(f"{path}:c/d:0") == File(path, "c/d:0")
    assert parse_file(f"{path}:") == File(path, "")
    odd = tmp_path / f"a{end}:c"
    odd.touch()
    assert parse_file(str(odd)) == File(odd)
    unusual = tmp_path / "weights"
    unusual.touch()
    assert parse_file(f"{unusual}:rnn") == File(unusual, "rnn")


def test_a_colon_without_a_file_before_it():
    assert parse_file("x.csv:rnn") == File(Path("x.csv:rnn"))
