"""A live torch.nn.RNN, LSTM or GRU, read as a spec and its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.cells import CELLS
from rnnspect.errors import SpecError, listed
from rnnspect.spec import DTYPES, Spec

if TYPE_CHECKING:
    from torch import Tensor, nn


def spec_of(module: nn.RNNBase, **changes: Any) -> Spec:
    """The spec of a live module; x is not part of it. Raises `SpecError` for any other object."""
    import torch

    names = {cell.torch_name: cell for cell in CELLS.values()}
    kinds = {getattr(torch.nn, name): cell for name, cell in names.items()}
    cell = next((cell for kind, cell in kinds.items() if isinstance(module, kind)), None)
    if cell is None:
        allowed = f"a Spec, or a {listed(f'torch.nn.{name}' for name in names)}"
        raise SpecError(f"a {type(module).__name__}", allowed=allowed)
    parameter = next(module.parameters())
    dtype = str(parameter.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise SpecError(f"a module in {dtype}", allowed=listed(DTYPES))
    described: dict[str, Any] = {
        "cell": cell.name,
        "nonlinearity": module.nonlinearity if cell.has_nonlinearity else None,
        "dtype": dtype,
        "device": str(parameter.device),
        "input": None,
    }
    same = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional", "proj_size")
    described |= {name: getattr(module, name) for name in same}
    return Spec(**described | {"dropout": float(module.dropout)} | changes)


def parameters_of_module(module: nn.RNNBase) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}
