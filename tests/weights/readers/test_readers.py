"""Which reader a file is for: by its content, whatever its name."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnnspect.cli import main
from rnnspect.errors import FileError
from rnnspect.files.sources import File, parse_file
from rnnspect.weights import readers
from rnnspect.weights.readers.interface import Reader
from tests.weights.readers.every_format import FILES, every_format


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return every_format(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("kind", FILES)
def test_the_content_says_which_reader_it_is_for(files: dict[str, Path], kind: str, tmp_path: Path, capsys: Any):
    assert isinstance(readers.find(kind), Reader)
    assert readers.kind_of(files[kind]) == kind
    shutil.copytree(files[kind].parent, tmp_path, dirs_exist_ok=True)  # an index names the files beside it
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
        "a.gguf": "a GGUF file; .*gguf.GGUFReader",
        "b.gz": "compressed with gzip; .*gunzip",
        "c": "in an unknown format",
        "d.npy": "one array .*; give it as --input or --recorded",
        "eng.traineddata": "Tesseract",
        "e": r"several arrays without names.*\(\.eqx\); .*tree_deserialise_leaves",
        "one.eqx": "several arrays without names",
        "orbax": "a checkpoint of Orbax; restore it, then .*msgpack",
    }
    with (tmp_path / "e").open("wb") as file:
        np.save(file, np.zeros(3))
        np.save(file, np.zeros(2))
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.eqx")
    (tmp_path / "orbax").mkdir()
    (tmp_path / "orbax/manifest.ocdbt").touch()
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(100))
    (tmp_path / "b.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    (tmp_path / "c").write_bytes(bytes(range(256)))
    np.save(tmp_path / "d.npy", np.zeros(3))
    (tmp_path / "eng.traineddata").write_bytes(np.array([2, 0, 20, 0, 30, 0], "<i4").tobytes()[:20] + bytes(40))
    for name, message in said.items():
        with pytest.raises(FileError, match=message):
            readers.kind_of(tmp_path / name)
    with pytest.raises(FileError, match="no such file"):
        readers.kind_of(tmp_path / "none")
    (tmp_path / "orbax/manifest.ocdbt").unlink()
    with pytest.raises(FileError, match="a folder of 10 files"):
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


def test_a_check_lists_the_modules_of_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """One module after the other is checked; a file of a hundred modules was read a hundred times and more."""
    lstm = torch.nn.LSTM(3, 4).state_dict()
    named = {f"{name}.{key}": values.numpy() for name in ("a", "b", "c") for key, values in lstm.items()}
    np.savez(tmp_path / "many.npz", **named)
    real, listed = readers._reader_of, []

    def counting(path: Path) -> Reader:
        reader = real(path)

        def modules(path: Path, flags: Any) -> Any:
            listed.append(path)
            return reader.modules(path, flags)

        return replace(reader, modules=modules)

    monkeypatch.setattr(readers, "_reader_of", counting)
    assert main(["check", str(tmp_path / "many.npz"), "--input", "randn:20", "--h0", "randn", "--c0", "randn"]) == 0
    assert capsys.readouterr().out.count("agree") == 3
    assert len(listed) <= 2  # with other things known of the network the second time
    with readers.each_file_once():
        first = readers.modules_in(tmp_path / "many.npz", {})
        assert readers.modules_in(tmp_path / "many.npz", {}) == first
    assert readers.modules_in(tmp_path / "many.npz", {}) is not first


DENSE = {"kernel": (10, 6), "bias": (6,)}


def arrays(prefix: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    return {f"{prefix}/{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("prefix", "found"),
    [("params/Dense_0", []), ("lstm/head", []), ("rnn/cell_0", ["rnn/cell_0"]), ("my_rnn", ["my_rnn"])],
)
def test_one_kernel_and_one_bias_are_recurrent_where_their_name_says_so(prefix: str, found: list[str], tmp_path: Path):
    """A dense layer has them as well."""
    lstm = {"kernel": (4, 24), "recurrent_kernel": (6, 24), "bias": (24,)}
    np.savez(tmp_path / "a.npz", **arrays(prefix, DENSE), **arrays("encoder", lstm))
    assert sorted(readers.modules_in(tmp_path / "a.npz", {})) == sorted(["encoder", *found])


def test_a_user_may_say_that_a_kernel_and_a_bias_are_recurrent(tmp_path: Path):
    np.savez(tmp_path / "a.npz", **arrays("params/Dense_0", DENSE))
    for flags in ({"cell": "rnn"}, {"layout": "tf1"}):
        (module,) = readers.modules_in(tmp_path / "a.npz", flags).values()
        assert module.tell().keys["hidden_size"] == 6
    with pytest.raises(FileError, match="no recurrent parameters"):
        readers.modules_in(tmp_path / "a.npz", {})
