"""Numbers, one step, on numpy arrays: where a step is so small that calling torch costs more than computing."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from rnnspect.arithmetic.activations import plain
from rnnspect.cells.functions import functions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt
    from torch import Tensor

    from rnnspect.cells.functions import Nonlinearity
    from rnnspect.network.parameters import LayerParameters

    Array = npt.NDArray[Any]

MOST_PRODUCTS = 2**18
"""Multiplications in W_hh h above which torch's product is worth its call."""


def serves(parameters: LayerParameters, batch: int) -> bool:
    """Whether numpy has these numbers (in main memory, no half types) and a step of them is small."""
    weight = parameters.weight_hh
    in_reach = weight.device == torch.device("cpu") and weight.dtype in (torch.float32, torch.float64)
    return in_reach and weight.numel() * batch <= MOST_PRODUCTS


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """numpy's BLAS on one thread: for steps as small as these, threads that wait for each other cost more than they
    compute, and where the machine has other work a hundred times more."""
    limited: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limited


def _sigmoid(v: Array) -> Array:
    opened: Array = np.negative(v)
    np.exp(opened, out=opened)
    opened += 1
    return np.reciprocal(opened, out=opened)


def _relu(v: Array) -> Array:
    return np.maximum(v, 0)


def _by_torch(function: Callable[[Tensor], Tensor]) -> Callable[[Array], Array]:
    """The rarer functions are written down once, in torch."""
    return lambda v: _array(function(torch.from_numpy(v)))


_NONLINEARITIES: dict[str, Callable[[Array], Array]] = {"tanh": np.tanh, "relu": _relu}


class SmallNumbers:
    """The same meaning as `Numbers`."""

    sigmoid = staticmethod(_sigmoid)
    tanh = staticmethod(np.tanh)
    squash = staticmethod(np.tanh)
    where = staticmethod(np.where)

    def __init__(self, parameters: LayerParameters, gates: int, nonlinearity: Nonlinearity) -> None:
        self._weight_hh = _array(parameters.weight_hh.t().contiguous())
        self._bias_hh = None if parameters.bias_hh is None else _array(parameters.bias_hh)
        self._weight_hr = None if parameters.weight_hr is None else _array(parameters.weight_hr.t())
        units = parameters.weight_hh.shape[0] // gates
        self._blocks = [slice(at * units, (at + 1) * units) for at in range(gates)]
        functions = functions_of(nonlinearity)
        if functions.are_usual:
            self.phi = _NONLINEARITIES[functions.phi.name]
        else:
            for name in ("sigmoid", "tanh", "squash", "phi"):
                setattr(self, name, _by_torch(plain(getattr(functions, name), functions.clip_of(name))))
        self._weight_ch = None if parameters.weight_ch is None else _array(parameters.weight_ch)
        self._units = units

    def hidden(self, h: Array) -> Array:
        product: Array = h.dot(self._weight_hh)
        if self._bias_hh is not None:
            product += self._bias_hh
        return product

    def split(self, packed: Array) -> tuple[Array, ...]:
        return tuple([packed[:, block] for block in self._blocks])

    def gates(self, u: Array, h: Array) -> tuple[Array, ...]:
        return self.split(u + self.hidden(h))

    def carry(self, f: Array, c: Array, v: Array) -> Array:
        return f * c + v

    def rest(self, v: Array) -> Array:
        rest: Array = 1 - v
        return rest

    def peepholes(self) -> tuple[Array, ...]:
        assert self._weight_ch is not None
        return tuple(self._weight_ch.reshape(-1, self._units))

    def project(self, m: Array) -> Array:
        return m if self._weight_hr is None else m @ self._weight_hr

    def taken(self, values: Tensor) -> Array:
        return _array(values)

    def keep(self, steps: Sequence[Array], place: Tensor) -> None:
        np.concatenate(steps, out=_array(place).reshape(-1, place.shape[-1]))

    def given(self, value: Array) -> Tensor:
        return torch.from_numpy(value.copy())


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().numpy()
    return array
