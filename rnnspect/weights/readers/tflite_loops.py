"""Loops of a TensorFlow Lite model that compute an RNN, LSTM or GRU: known by the equations of one step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rnnspect.files.operators import FileArray
from rnnspect.files.reading import Stored
from rnnspect.weights.readers.interface import functions_of
from rnnspect.weights.readers.operators import DescribedOperator, changed

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.files.operators import Operator

_STATE = re.compile(r"U h\[(s\d+)\]")
_MARKED = re.compile(r"(W x|\(U h\[s\d+\]\+W x\))'")
_NOTE = "is a loop of single operators that compute these equations"


def described(loop: Operator) -> DescribedOperator | None:
    """The network that a loop is; None where its equations are none that are known here."""
    if not {"weights", "recurrent_weights"} <= loop.arrays.keys() or "candidate_bias" in loop.arrays:
        return None
    steps = {f"s{at}": _with_bias_always(equation) for at, equation in enumerate(loop.settings["equations"])}
    for h, equation in steps.items():
        found = _STATE.search(equation)
        if found is None or found[1] != h:
            continue
        for function in ("tanh", "relu", "sigmoid"):
            if equation == f"{function}({_sum(f'U h[{h}]', 'W x')})":
                return _described(loop, "rnn", [function])
        if equation == _gru(h, after=True):
            return _described(loop, "gru", [])
        if equation == _gru(h, after=False) and "candidate_weights" in loop.arrays:
            return _described(loop, "gru-before", [])
        if any((new_c := _cell_state(h, c)) == other and equation == _output(h, new_c) for c, other in steps.items()):
            return _described(loop, "lstm", [])
    return None


def _with_bias_always(equation: str) -> str:
    """The equation without its marks for a bias that is added later; empty where the bias is added in one place and
    not in another."""
    unmarked = equation.replace("'", "")
    for marked in set(_MARKED.findall(equation)):
        if unmarked.count(marked) != equation.count(f"{marked}'"):
            return ""
    return unmarked


def _sum(one: str, other: str) -> str:
    return f"({'+'.join(sorted((one, other)))})"


def _product(one: str, other: str) -> str:
    return f"({'*'.join(sorted((one, other)))})"


def _gru(h: str, *, after: bool) -> str:
    """h' of a GRU that resets after the product or before it, with the gates z r n, as Keras has them."""
    z, r = (f"sigmoid({_sum(f'U h[{h}].{at}', f'W x.{at}')})" for at in (0, 1))
    state = _product(r, f"U h[{h}].2") if after else f"V[{_product(r, h)}]"
    n = f"tanh({_sum('W x.2', state)})"
    return _sum(_product(f"(1-{z})", n), _product(z, h))


def _cell_state(h: str, c: str) -> str:
    """c' of an LSTM with the gates i f g o, as Keras has them."""
    gates = _sum(f"U h[{h}]", "W x")
    kept = _product(f"sigmoid({gates}.1)", c)
    return _sum(kept, _product(f"sigmoid({gates}.0)", f"tanh({gates}.2)"))


def _output(h: str, new_c: str) -> str:
    return _product(f"sigmoid({_sum(f'U h[{h}]', 'W x')}.3)", f"tanh({new_c})")


def _described(loop: Operator, form: str, functions: list[str]) -> DescribedOperator:
    """The arrays as Keras has them: kernels in×out, and of a GRU that resets after the product two rows of biases."""
    arrays = {"kernel": _transposed(loop.arrays["weights"])}
    recurrent = loop.arrays["recurrent_weights"]
    if form == "gru-before":
        recurrent = _stacked(recurrent, loop.arrays["candidate_weights"])
    arrays["recurrent_kernel"] = _transposed(recurrent)
    biases = [loop.arrays.get(name) for name in ("bias", "recurrent_bias")]
    if any(biases):
        arrays["bias"] = _biases(biases, as_rows=form == "gru")
    keys = {"batch_first": False, **functions_of(form.removesuffix("-before"), functions)}
    return DescribedOperator(form, "keras", (arrays,), keys, (_NOTE,))


def _transposed(held: FileArray) -> FileArray:
    turned = changed(held, _turn)
    return FileArray(Stored(held.stored.shape[::-1], held.stored.dtype), turned.read, held.packed)


def _stacked(one: FileArray, other: FileArray) -> FileArray:
    """The rows of two matrices as one; no matrix where their columns differ, which is then refused by its shape."""

    def read() -> Tensor:
        import torch

        return torch.cat([one.read(), other.read()])

    shapes = one.stored.shape, other.stored.shape
    fit = all(len(shape) == 2 for shape in shapes) and shapes[0][1] == shapes[1][1]
    shape = (shapes[0][0] + shapes[1][0], shapes[0][1]) if fit else ()
    return FileArray(Stored(shape, one.stored.dtype), read, one.packed)


def _turn(values: Tensor) -> Tensor:
    return values.t().contiguous() if values.dim() == 2 else values


def _biases(given: list[FileArray | None], *, as_rows: bool) -> FileArray:
    """Both biases as two rows, or their sum; one that is not there is zero."""
    there = [held for held in given if held]

    def read() -> Tensor:
        import torch

        zeros = torch.zeros_like(there[0].read())
        rows = torch.stack([held.read() if held else zeros for held in given])
        return rows if as_rows else rows.sum(0)

    shape = there[0].stored.shape
    if any(held.stored.shape != shape for held in there):
        shape = ()
    return FileArray(Stored((2, *shape) if as_rows else shape, there[0].stored.dtype), read)
