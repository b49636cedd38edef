"""Numbers, one step: (B, units) in the parameters' own dtype, every operation rounded in it.

`Numbers` computes with torch, on any device; `SmallNumbers` with numpy, where a step is so small that calling torch
costs more than computing.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.activations import plain
from rnnspect.arithmetic.matrices import PlainMatrices
from rnnspect.arithmetic.norms import PlainNorms
from rnnspect.cells.functions import CHOSEN, FIXED, Functions, Nonlinearity, functions_of
from rnnspect.network.parameters import LayerParameters

Array = npt.NDArray[Any]
V = TypeVar("V", Tensor, Array)

MOST_PRODUCTS = 2**18
"""From so many multiplications in W_hh h on, torch is faster than numpy in spite of its calls."""


class Plain(PlainMatrices[V], PlainNorms, Generic[V]):
    """The operations over plain tensors and arrays alike."""

    functions: Functions
    relu: Callable[[V], V]
    softplus: Callable[[V], V]
    exp: Callable[[V], V]
    log: Callable[[V], V]
    silu: Callable[[V], V]
    reciprocal: Callable[[V], V]
    cos: Callable[[V], V]
    sin: Callable[[V], V]
    elu: Callable[[V], V]
    hard_sigmoid: Callable[[V], V]
    products: list[V] | None = None
    """If it is a list, every W_hh h + b_hh is appended to it."""

    def _choose(self, nonlinearity: Nonlinearity, usual: Mapping[str, Any], of_torch: Callable[..., Any]) -> None:
        """Sets the functions of a layer: φ from the `usual` ones, or all four, where others are chosen, through
        `of_torch`, which makes a function of V from one of tensors."""
        self.functions = functions = functions_of(nonlinearity)
        for name in FIXED:
            setattr(self, name, of_torch(plain(functions.named(name), None)))
        if functions.are_usual:
            self.phi: Callable[[V], V] = usual[functions.phi.name]
            return
        for name in CHOSEN:
            setattr(self, name, of_torch(plain(getattr(functions, name), functions.clip_of(name))))

    def hidden(self, h: V) -> V:
        product = self.hidden_product(h)
        if self.products is not None:
            self.products.append(product)
        return product

    def hidden_product(self, h: V) -> V:
        raise NotImplementedError

    def split(self, packed: V) -> tuple[V, ...]:
        raise NotImplementedError

    def gates(self, wx: V, h: V) -> tuple[V, ...]:
        return self.split(wx + self.hidden(h))

    def rest(self, v: V) -> V:
        rest: V = 1 - v
        return rest

    def lerp(self, n: V, h: V, z: V) -> V:
        mixed: V = n + z * (h - n)
        return mixed

    def carry(self, f: V, c: V, v: V) -> V:
        return f * c + v

    def constant(self, name: str) -> Any:
        """A plain number, which can be combined with tensors and arrays."""
        return self.functions.constant(name)


class OfParameters(Plain[Tensor]):
    """The operations with the blocks of one layer's parameters, over tensors."""

    _p: LayerParameters
    _gates: int

    def split(self, packed: Tensor) -> tuple[Tensor, ...]:
        return self._p.split(packed, self._gates)

    def peepholes(self) -> tuple[Tensor, ...]:
        assert self._p.weight_ch is not None
        return self._p.weight_ch.reshape(-1, self._p.units(self._gates)).unbind()

    def parameter(self, name: str) -> Tensor:
        return self._p.own[name].flatten()


class Numbers(OfParameters):
    """Over tensors; parameters and values are on one device."""

    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)
    squash = staticmethod(torch.tanh)
    where = staticmethod(torch.where)

    def __init__(self, parameters: LayerParameters, gates: int, nonlinearity: Nonlinearity) -> None:
        self._p = parameters
        self._gates, self.state_sizes = gates, parameters.state_sizes(gates)
        self._choose(nonlinearity, {"tanh": torch.tanh, "relu": torch.relu}, lambda function: function)

    def input(self, x: Tensor) -> Tensor:
        """W_ih x + b_ih, packed."""
        return linear(x, self._p.weight_ih, self._p.bias_ih)

    @functools.cached_property
    def _weight_hh(self) -> Tensor:
        """A copy that lies as the product reads it: a third faster at each of many small steps."""
        return self._p.weight_hh.t().contiguous()

    def hidden_product(self, h: Tensor) -> Tensor:
        bias = self._p.bias_hh
        return h @ self._weight_hh if bias is None else torch.addmm(bias, h, self._weight_hh)

    def project(self, m: Tensor) -> Tensor:
        return m if self._p.weight_hr is None else linear(m, self._p.weight_hr)

    def joined(self, blocks: Sequence[Tensor]) -> Tensor:
        """One block a gate, packed."""
        return torch.cat(list(blocks), -1)

    def taken(self, values: Tensor) -> Tensor:
        """(…, B, units) in the form that this arithmetic computes with; iterating gives one step at a time."""
        return values

    def keep(self, steps: Sequence[Tensor], place: Tensor) -> None:
        """Packs one value for each step into (steps, B, units); what is made of parameters alone is the same for each
        item."""
        if steps[0].ndim == 1:
            place.copy_(torch.stack(list(steps)).unsqueeze(1))
        else:
            torch.stack(list(steps), out=place)

    def given(self, value: Tensor) -> Tensor:
        """A value as a tensor."""
        return value.clone()


class SmallNumbers(Plain[Array]):
    """The same over arrays in main memory, float32 or float64."""

    tanh = staticmethod(np.tanh)
    squash = staticmethod(np.tanh)
    where = staticmethod(np.where)

    def __init__(self, parameters: LayerParameters, gates: int, nonlinearity: Nonlinearity) -> None:
        self._weight_hh = _array(parameters.weight_hh.t().contiguous())
        self._bias_hh = None if parameters.bias_hh is None else _array(parameters.bias_hh)
        self._weight_hr = None if parameters.weight_hr is None else _array(parameters.weight_hr.t())
        self._own = {name: _array(w.flatten()) for name, w in parameters.own.items()}
        self._weight_ch = None if parameters.weight_ch is None else _array(parameters.weight_ch)
        self._units, self.state_sizes = parameters.units(gates), parameters.state_sizes(gates)
        ends = list(itertools.accumulate(parameters.gate_sizes(gates)))
        self._blocks = list(map(slice, [0, *ends], ends))
        self._choose(nonlinearity, {"tanh": np.tanh, "relu": lambda v: np.maximum(v, 0)}, _by_torch)

    @staticmethod
    def sigmoid(v: Array, out: Array | None = None) -> Array:
        opened: Array = np.negative(v, out=out)
        np.exp(opened, out=opened)
        opened += 1
        return np.reciprocal(opened, out=opened)

    def hidden_product(self, h: Array) -> Array:
        product: Array = h.dot(self._weight_hh)
        if self._bias_hh is not None:
            product += self._bias_hh
        return product

    def split(self, packed: Array) -> tuple[Array, ...]:
        return tuple([packed[..., block] for block in self._blocks])

    def peepholes(self) -> tuple[Array, ...]:
        assert self._weight_ch is not None
        return tuple(self._weight_ch.reshape(-1, self._units))

    def parameter(self, name: str) -> Array:
        return self._own[name]

    def project(self, m: Array) -> Array:
        return m if self._weight_hr is None else m @ self._weight_hr

    def joined(self, blocks: Sequence[Array]) -> Array:
        return np.concatenate(blocks, -1)

    def taken(self, values: Tensor) -> Array:
        return _array(values)

    def keep(self, steps: Sequence[Array], place: Tensor) -> None:
        whole = _array(place)
        if steps[0].ndim == 1:
            whole[...] = np.stack(steps)[:, None]
        else:
            np.concatenate(steps, out=whole.reshape(-1, place.shape[-1]))

    def given(self, value: Array) -> Tensor:
        return torch.from_numpy(value.copy())


def serves(parameters: LayerParameters, batch: int) -> bool:
    """Whether `SmallNumbers` supports these parameters, and a step of them is small."""
    weight = parameters.weight_hh
    in_reach = weight.device == torch.device("cpu") and weight.dtype in (torch.float32, torch.float64)
    return in_reach and weight.numel() * batch <= MOST_PRODUCTS


@dataclass
class _OneThread:
    """How many blocks are inside `one_thread` now, and the numbers of threads before."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    usual: int = 1
    limit: Any = None


_one, _here = _OneThread(), threading.local()


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for numpy's BLAS and torch: in small products threads that wait for each other cost more than they
    compute, and a hundred times more where the machine has other work.

    BLAS has one number of threads for the process. torch has one for each thread, which begins with the number that was
    last set in any thread: a thread that starts while another is inside would find 1. So the number that the first one
    found is restored in all of them.
    """
    if getattr(_here, "inside", False):
        yield
        return
    threads = torch.get_num_threads()  # also where the first one's is taken: it makes torch give this thread its number
    with _one.lock:
        if not _one.inside:
            _one.usual, _one.limit = threads, _blas().limit(limits=1, user_api="blas")
        _one.inside += 1
        usual = _one.usual
    torch.set_num_threads(1)
    _here.inside = True
    try:
        yield
    finally:
        _here.inside = False
        torch.set_num_threads(usual)
        with _one.lock:
            _one.inside -= 1
            if not _one.inside:
                _one.limit.restore_original_limits()


def _by_torch(function: Callable[[Tensor], Tensor]) -> Callable[[Array], Array]:
    """For the rarer functions there is one implementation, in torch."""
    return lambda v: _array(function(torch.from_numpy(v)))


def _array(tensor: Tensor) -> Array:
    return tensor.detach().numpy()
