"""A live torch.nn.RNN, LSTM or GRU, or one of their cells, read as a spec and its parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnspect.cells import CELLS
from rnnspect.cells.interface import Cell
from rnnspect.errors import SpecError, listed
from rnnspect.network.keys import DTYPES
from rnnspect.network.parameters import parameters_of
from rnnspect.network.spec import Spec


def spec_of(module: nn.RNNBase, **changes: Any) -> Spec:
    """The spec of a live module; x is not part of it. Raises `SpecError` for any other object."""
    cell = _cell_of(module)
    if cell is None:
        allowed = f"a Spec, or a {listed(f'torch.nn.{cell.torch_name}' for cell in CELLS.values() if cell.torch_name)}"
        raise SpecError(f"a {type(module).__name__}", allowed=allowed)
    same = ("num_layers", "batch_first", "bidirectional", "proj_size")
    own = {name: getattr(module, name) for name in same} | {"dropout": float(module.dropout)}
    return Spec(**_described(cell, module) | own | changes)


def spec_of_cell(module: nn.RNNCellBase, **changes: Any) -> Spec:
    """The spec of one layer whose steps a live nn.RNNCell, nn.LSTMCell or nn.GRUCell makes."""
    cell = _cell_of(module, "Cell")
    assert cell is not None
    return Spec(**_described(cell, module) | changes)


def is_stack(module: object) -> bool:
    """Whether it is an nn.RNN, nn.LSTM or nn.GRU, or derived from one."""
    return _cell_of(module) is not None


def is_cell(module: object) -> bool:
    """Whether it is an nn.RNNCell, nn.LSTMCell or nn.GRUCell, or derived from one."""
    return _cell_of(module, "Cell") is not None


def kind_of(module: object) -> str:
    """The class in torch.nn that a module is, or is derived from, such as LSTM or GRUCell."""
    found = next((cell.torch_name + end for end in ("", "Cell") if (cell := _cell_of(module, end))), None)
    return found or type(module).__name__


def parameters_of_module(module: nn.Module, spec: Spec) -> dict[str, Tensor]:
    """Every parameter of a stack or a cell of that spec by PyTorch's name, in the module's own memory.

    Those of a cell have the names that they have in a layer: weight_ih is weight_ih_l0. They are read as attributes,
    because weight_norm and parametrizations give the module's parameters other names, and a subclass may have more.
    """
    ending = "_l0" if is_cell(module) else ""
    names = [parameter.name for parameter in parameters_of(spec)]
    return {name: getattr(module, name.removesuffix(ending)).detach() for name in names}


def _cell_of(module: object, ending: str = "") -> Cell | None:
    kinds = ((cell, getattr(torch.nn, cell.torch_name + ending)) for cell in CELLS.values() if cell.torch_name)
    return next((cell for cell, kind in kinds if isinstance(module, kind)), None)


def _described(cell: Cell, module: Any) -> dict[str, Any]:
    """The keys that a stack and a cell have in common."""
    parameter = next(module.parameters())
    dtype = str(parameter.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise SpecError(f"a module in {dtype}", allowed=listed(DTYPES))
    return {name: getattr(module, name) for name in ("input_size", "hidden_size", "bias")} | {
        "cell": cell.name,
        "nonlinearity": module.nonlinearity if cell.has_nonlinearity else None,
        "dtype": dtype,
        "device": str(parameter.device),
        "input": None,
    }
