"""A small file or folder of every format, whole: what the campaign damages."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import onnx
import torch
from safetensors.torch import save_file

from tests import onnx_models
from tests.files import pickles
from tests.tensorflow_files import unpacked
from tests.weights.readers import keras_files
from tests.weights.readers.coreml_files import FOLDER as MOBILE
from tests.weights.readers.every_format import every_format
from tests.weights.readers.keras_files import Layer

CONFIGS = Path(__file__).parents[2] / "configs"
MODEL, ARRAY = "model", "array"
OTHERS_TFLITE = ("both.tflite", "keras3_gru.tflite", "peepholes.tflite", "projected.tflite")
OTHERS_COREML = ("both_3_table.mlmodel", "both_half.mlmodel", "gru.mlmodel")
OTHERS_GRAPHS = ("block_peepholes.pb", "gru.pb", "keras_lstm_frozen_while.pb", "unrolled.pb")


@dataclass(frozen=True)
class Seed:
    """The files of one input by their paths, what of them a command is given, and how."""

    files: dict[str, bytes]
    given: str
    """The path of a file, or empty for the folder of them all."""
    role: str = MODEL
    """A model or spec that is read, or an array as input or recording."""

    def write(self, folder: Path) -> Path:
        """Writes every file, and returns what the command is given."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.given


def every_seed(folder: Path) -> dict[str, Seed]:
    """By the name of its format. Makes files in the folder."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        single = every_format(folder)
    found = {kind: _one(path.name, path.read_bytes()) for kind, path in single.items()}
    weights = single["safetensors"]
    index = Seed(
        {**found["safetensors_index"].files, weights.name: weights.read_bytes()}, single["safetensors_index"].name
    )
    found["safetensors_index"] = index
    del found["tensorflow_checkpoint"]  # which comes with its other files below
    for more in (_pickles, _keras, _onnx, _mobile, _tensorflow, _folders, _specs, _arrays):
        (inner := folder / more.__name__).mkdir(exist_ok=True)
        found |= more(inner)
    return found


def _one(name: str, content: bytes, role: str = MODEL) -> Seed:
    return Seed({name: content}, name, role)


def _tree(folder: Path, given: str = "") -> Seed:
    """Every file below a folder."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return Seed(files, given)


def _pickles(folder: Path) -> dict[str, Seed]:
    model = torch.nn.Sequential(torch.nn.LSTM(3, 4, 2, bidirectional=True), torch.nn.GRU(8, 4))
    torch.save(model, folder / "module.pt")
    torch.save(model.state_dict(), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    held = {name: tensor.numpy() for name, tensor in model[1].state_dict().items()}
    return {
        "torch module": _one("module.pt", (folder / "module.pt").read_bytes()),
        "torch 1.5": _one("legacy.pt", (folder / "legacy.pt").read_bytes()),
        "torch 0.1": _one("old.pt", pickles.tar()),
        "pickle protocol 2": _one("held.pkl", pickle.dumps(held, 2)),
        "pickle protocol 5": _one("held.pkl", pickle.dumps({"model": held, "epoch": 3}, 5)),
    }


def _keras(folder: Path) -> dict[str, Seed]:
    layers = [Layer("gru", "g", {"reset_after": True}), Layer("lstm", "two", bidirectional=True, inputs=4)]
    keras_files.keras_2(folder / "2.h5", layers)
    keras_files.keras_3(folder / "3.keras", layers, packed=8)
    with h5py.File(folder / "1.h5", "w") as file:
        keras_files.write_keras_1(file, Layer("lstm", "lstm_1"))
    with h5py.File(folder / "3.weights.h5", "w", libver="latest") as file:
        keras_files.write_vars(file, Layer("rnn", "r"), "layers/simple_rnn")
    with h5py.File(folder / "c.weights.h5", "w") as file:
        keras_files.write_vars(file, Layer("lstm", "r"), "layers/lstm")
        file.create_dataset("other", data=np.ones((40, 8), "f4"), chunks=(8, 8), compression="gzip", shuffle=True)
    named = {
        "1.h5": "keras 1 weights",
        "2.h5": "keras 2",
        "3.keras": "keras 3 packed",
        "3.weights.h5": "keras 3 weights",
        "c.weights.h5": "keras 3 in chunks",
    }
    return {what: _one(name, (folder / name).read_bytes()) for name, what in named.items()}


def _onnx(folder: Path) -> dict[str, Seed]:
    found = {
        "onnx of a node": onnx_models.of_node("GRU", linear_before_reset=1),
        "onnx with if": onnx_models.in_if("LSTM"),
        "onnx with loop": onnx_models.in_loop("LSTM"),
        "onnx with scan": onnx_models.in_scan("RNN"),
        "onnx with function": onnx_models.in_function("GRU"),
    }
    outside = onnx_models.of_node("LSTM")
    onnx.save(outside, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    seeds = {what: _one("m.onnx", model.SerializeToString()) for what, model in found.items()}
    return seeds | {"onnx with external data": _tree(folder, "m.onnx")}


def _mobile(_: Path) -> dict[str, Seed]:
    files = {f"{Path(name).suffix[1:]} {Path(name).stem}": MOBILE / name for name in OTHERS_TFLITE + OTHERS_COREML}
    found = {what: _one(path.name, path.read_bytes()) for what, path in files.items()}
    for name in ("lstm.mlpackage", "lstm_int8.mlpackage"):
        seed = _tree(MOBILE / name)
        found[name.replace(".", " ")] = Seed({f"{name}/{inner}": data for inner, data in seed.files.items()}, name)
    return found


def _tensorflow(folder: Path) -> dict[str, Seed]:
    unpacked(folder, *OTHERS_GRAPHS, "gru", "basic_lstm_saved", "exported_gru", "keras_lstm", "keras_both_weights")
    found = {f"graph {Path(name).stem}": _one(name, (folder / name).read_bytes()) for name in OTHERS_GRAPHS}
    found["checkpoint v1"] = _tree(folder / "gru", "model.ckpt.index")
    found["checkpoint of keras"] = _tree(folder / "keras_both_weights", "ckpt.index")
    for name in ("basic_lstm_saved", "exported_gru", "keras_lstm"):
        found[f"saved model {name}"] = _tree(folder / name)
    return found


def _folders(folder: Path) -> dict[str, Seed]:
    state = torch.nn.LSTM(3, 4, 2).state_dict()
    (whole := folder / "whole").mkdir(exist_ok=True)
    (parts := folder / "parts").mkdir(exist_ok=True)
    save_file(state, whole / "model.safetensors", {"format": "pt"})
    (whole / "config.json").write_text(json.dumps({"model_type": "lstm", "hidden_size": 4}))
    names = {name: f"model-0000{1 + at % 2}-of-00002.safetensors" for at, name in enumerate(state)}
    for part in sorted(set(names.values())):
        save_file({name: state[name] for name in state if names[name] == part}, parts / part)
    index = {"metadata": {"total_size": sum(t.nbytes for t in state.values())}, "weight_map": names}
    (parts / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return {"folder of safetensors": _tree(whole), "folder of shards": _tree(parts)}


def _specs(folder: Path) -> dict[str, Seed]:
    found = {}
    for name in ("bidirectional", "by-hand", "gru", "lstm", "packed", "projected"):
        found[f"spec {name}"] = _one(f"{name}.yaml", (CONFIGS / f"{name}.yaml").read_bytes())
    said = {
        "cell": "gru",
        "input_size": 3,
        "hidden_size": 4,
        "num_layers": 2,
        "input": [[1, 2, 3], [4, 5, 6]],
        "seed": 1,
    }
    found["spec in JSON"] = _one("net.json", json.dumps(said, indent=1).encode())
    np.savez(folder / "w.npz", **{name: t.numpy() for name, t in torch.nn.LSTM(3, 4).state_dict().items()})
    np.save(folder / "x.npy", np.ones((5, 3), "f4"))
    (folder / "net.yaml").write_text("cell: lstm\ninput_size: 3\nhidden_size: 4\nweights: w.npz\ninput: x.npy\n")
    return found | {"spec with files": _tree(folder, "net.yaml")}


def _arrays(folder: Path) -> dict[str, Seed]:
    x = np.linspace(-1, 1, 15).reshape(5, 3)
    np.save(folder / "x.npy", x.astype("f4"))
    np.save(folder / "fortran.npy", np.asfortranarray(x))
    np.savez(folder / "x.npz", output=np.zeros((5, 3), "f4"))
    np.savetxt(folder / "x.csv", x, delimiter=",", header="a,b,c")
    np.savetxt(folder / "x.tsv", x, delimiter="\t")
    (folder / "x.json").write_text(json.dumps(x.tolist()))
    run = torch.nn.LSTM(3, 3)(torch.tensor(x, dtype=torch.float32))
    torch.save((run[0].detach(), tuple(state.detach() for state in run[1])), folder / "x.pt")
    save_file({"output": run[0].detach().contiguous()}, folder / "x.safetensors")
    return {
        f"array {path.name if path.stem != 'x' else path.suffix}": _one(path.name, path.read_bytes(), ARRAY)
        for path in sorted(folder.iterdir())
    }
