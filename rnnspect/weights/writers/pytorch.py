"""PyTorch: a .safetensors file with the state dict of torch.nn.RNN, LSTM or GRU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from torch import Tensor

from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec
from rnnspect.weights.readers import converted
from rnnspect.weights.readers.pytorch import UNTOLD
from rnnspect.weights.writers.interface import Target, packed


def _write(spec: Spec, parameters: Mapping[str, Tensor], file: IO[bytes]) -> None:
    from safetensors.torch import save

    arrays = {
        name + suffix(*place): array
        for place in spec.places
        for name, array in packed("pytorch", spec, parameters, *place).items()
    }
    file.write(save(arrays, {"format": "pt", converted.NAME: converted.keys_as_text(spec, UNTOLD)}))


def _code(spec: Spec, file: str) -> str:
    arguments = [f"{spec.input_size}, {spec.hidden_size}"]
    usual = {"num_layers": 1, "nonlinearity": "tanh", "bias": True, "batch_first": False, "bidirectional": False}
    values = {name: getattr(spec, name) for name in usual}
    arguments += [f"{name}={value!r}" for name, value in values.items() if value not in (usual[name], None)]
    arguments += [f"proj_size={spec.proj_size}"] if spec.proj_size else []
    arguments += [f"dtype=torch.{spec.dtype}"] if spec.dtype != "float32" else []
    return f"""\
import torch
from safetensors.torch import load_file

model = torch.nn.{spec.cell_type.torch_name}({", ".join(arguments)})
model.load_state_dict(load_file({file!r}))
"""


TARGET = Target(
    name="pytorch",
    title="torch.nn's modules",
    suffix=".safetensors",
    layout="pytorch",
    engine="torch",
    write=_write,
    code=_code,
    holds=("proj_size",),
)
