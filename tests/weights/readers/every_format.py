"""A small file of each format that a reader reads, for what must hold of all of them."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from rnnspect.cli import main
from rnnspect.weights import readers
from tests.files import test_flax_file
from tests.files.test_dynet_file import network, written
from tests.tensorflow_files import unpacked
from tests.weights.readers import keras_files, torch_files
from tests.weights.readers.coreml_files import FOLDER as MOBILE
from tests.weights.readers.keras_files import Layer

FILES = [kind for kind in readers.READERS if kind != "tensorflow_saved_model"]
"""The readers of single files."""


def every_format(folder: Path) -> dict[str, Path]:
    """By the reader's name; each has an LSTM that reads 3 numbers."""
    state = torch.nn.LSTM(3, 4, batch_first=True).state_dict()
    made = {kind: folder / f"{kind}{(*readers.find(kind).ends, '')[0]}" for kind in FILES}
    torch.save(state, made["torch_checkpoint"])
    torch_files.script(torch.nn.LSTM(3, 4, batch_first=True), made["torchscript"])
    torch_files.export(torch.nn.LSTM(3, 4, batch_first=True), made["torch_export"], torch.randn(2, 5, 3))
    made["pickles"].write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in state.items()}))
    save_file(state, made["safetensors"])
    index = {"weight_map": dict.fromkeys(state, made["safetensors"].name)}
    made["safetensors_index"].write_text(json.dumps(index))
    written(made["dynet"], network(inputs=3))
    test_flax_file.written(made["flax"], test_flax_file.network())
    np.savez(made["npz"], **{name: tensor.numpy() for name, tensor in state.items()})
    keras_files.keras_3(made["keras"], [Layer("lstm", "one")])
    assert main(["convert", str(made["npz"]), "--to", "onnx", "-o", str(made["onnx"])]) == 0
    for kind, name in (("coreml", "both.mlmodel"), ("tflite", "lstm.tflite")):
        shutil.copy(MOBILE / name, made[kind])
    unpacked(folder, "basic_lstm.pb", "basic_lstm")
    (folder / "basic_lstm.pb").replace(made["tensorflow_graph"])
    (folder / "basic_lstm" / "model.ckpt.index").replace(made["tensorflow_checkpoint"])
    return made
