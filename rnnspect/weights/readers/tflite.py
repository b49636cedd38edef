"""Models of TensorFlow Lite (LiteRT), read without TensorFlow: the LSTM and RNN operators in a .tflite file, and loops
that compute an RNN, LSTM or GRU, known by the equations of one step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import neg
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, listed
from rnnspect.files import flatbuffers, tflite_file
from rnnspect.files.first_bytes import Glimpse
from rnnspect.files.operators import FileArray, Operator
from rnnspect.files.reading import Stored
from rnnspect.files.tflite_graph import LOOP
from rnnspect.weights.readers.interface import Module, Reader, functions_of
from rnnspect.weights.readers.operators import PEEPHOLES, DescribedOperator, changed, joined, modules_of, require

if TYPE_CHECKING:
    from torch import Tensor


_STATE = re.compile(r"U h\[(s\d+)\]")
_MARKED = re.compile(r"(W x|\(U h\[s\d+\]\+W x\))'")
_NOTE = "is a loop of single operators that compute these equations; its input is taken as batch first, as Keras has it"


def loop_described(loop: Operator) -> DescribedOperator | None:
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
    keys = {"batch_first": True, **functions_of(form.removesuffix("-before"), functions)}
    return DescribedOperator(form, "keras", (arrays,), keys, (_NOTE,))


def _transposed(held: FileArray) -> FileArray:
    return FileArray(Stored(held.stored.shape[::-1], held.stored.dtype), lambda: _turn(held.read()), held.packed)


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


_FUNCTIONS = {0: "affine(1, 0)", 1: "relu", 4: "tanh"}
"""What fused_activation_function says: NONE, RELU, TANH."""
_OTHER_FUNCTIONS = {2: "RELU_N1_TO_1", 3: "RELU6", 5: "SIGN_BIT"}
_RNN = ("weights", "recurrent_weights", "bias")
_INSTEAD = "a model whose weights are constants"


def _recognises(seen: Glimpse) -> bool:
    return seen.head[flatbuffers.IDENTIFIER] == tflite_file.MAGIC


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    model = tflite_file.read_model(path)
    known = [one for one in model.operators if one.kind != LOOP or loop_described(one)]
    if not known:
        found = "the model has no LSTM or RNN operator"
        loops = {"WHILE": len(model.operators)} if model.operators else {}
        if others := [f"{count} {kind}" for kind, count in (loops | model.others).items()]:
            found += f", but {listed(others)}, which may be a recurrent network built from single operators"
        raise FileError(found, advice="use the model that it was converted from", where=str(path))
    return modules_of(known, path, flags, _describe)


def _describe(operator: Operator, where: str) -> DescribedOperator:
    """Raises `FileError` for what no spec describes."""
    settings, kind = operator.settings, operator.kind
    if loop := loop_described(operator) if kind == LOOP else None:
        return loop
    function = settings["fused_activation_function"]
    if function not in _FUNCTIONS:
        found = f"unsupported activation {_OTHER_FUNCTIONS.get(function, function)}"
        raise FileError(found, allowed="NONE, RELU or TANH", where=where)
    ways = ("fw_", "bw_") if kind.startswith("BIDIRECTIONAL") else ("",)
    if aux := [name for name in operator.arrays if "aux" in name]:
        raise FileError(f"the operator has a second input ({listed(aux, 2)}), which is not supported", where=where)
    keys: dict[str, Any] = {"batch_first": not settings.get("time_major", False)}
    notes = [] if "SEQUENCE" in kind else ["is a single step; the loop is outside it"]
    if any("integers" in held.packed for held in operator.arrays.values()):
        notes.append("also rounds x and h to 8 bits when it runs; here they are not rounded")
    if "LSTM" not in kind:
        keys |= functions_of("rnn", [_FUNCTIONS[function]])
        require(operator, (way + name for way in ways for name in _RNN), where, _INSTEAD)
        arrays = tuple(
            {name: operator.arrays[way + name] for name in _RNN if way + name in operator.arrays} for way in ways
        )
        return DescribedOperator("rnn", "tflite", arrays, keys, tuple(notes))
    _refuse(operator, where)
    directions = [_lstm(operator, way, where) for way in ways]
    if settings["cell_clip"] > 0:
        notes.append(f"clips c to ±{settings['cell_clip']:g}; not clipped here, which is the same while |c| is smaller")
    if coupled := [arrays for arrays in directions if "input_to_input_weights" not in arrays]:
        if len(coupled) != len(directions):
            raise FileError("only one direction has coupled gates", allowed="both or neither", where=where)
        keys["input_forget"] = True
        notes.append("has coupled gates, i = 1 − f; shown as f = 1 − i, with the weights of f negated")
        directions = [_coupled(arrays) for arrays in directions]
    keys |= functions_of("lstm", ["sigmoid", _FUNCTIONS[function], _FUNCTIONS[function]])
    return DescribedOperator("lstm", "tflite", tuple(directions), keys, tuple(notes))


def _refuse(operator: Operator, where: str) -> None:
    """Raises `FileError` for what changes the equations of an LSTM beyond a spec."""
    settings, arrays = operator.settings, operator.arrays
    beyond = [name for name in arrays if name.endswith(("layer_norm_coefficients", "projection_bias"))]
    beyond += [name for name in ("kernel_type", "diagonal_recurrent_tensors", "proj_clip") if settings.get(name)]
    if beyond:
        raise FileError(f"the LSTM has {listed(beyond)}, which is not supported", where=where)


def _lstm(operator: Operator, way: str, where: str) -> dict[str, FileArray]:
    """The arrays of one direction of an LSTM by the layout's names."""
    names = (*tflite_file.KERNELS, *tflite_file.BIASES, *tflite_file.PEEPHOLES, "projection_weights")
    require(operator, (way + name for name in names), where, _INSTEAD)
    found = {name: operator.arrays[way + name] for name in names if way + name in operator.arrays}
    peepholes = [found.pop(name) for name in tflite_file.PEEPHOLES if name in found]
    if len(peepholes) == 2 and "input_to_input_weights" not in found:
        peepholes = [peepholes[0], *peepholes]
    if len(peepholes) not in (0, 3):
        raise FileError(f"{len(peepholes)} vectors of peephole weights", allowed="0 or 3", where=where)
    return found | ({PEEPHOLES: joined(peepholes)} if peepholes else {})


def _coupled(arrays: dict[str, FileArray]) -> dict[str, FileArray]:
    """With an input gate that is 1 − f: σ(−s) = 1 − σ(s). In place of its peepholes stand those of f."""
    found = dict(arrays)
    for of_i, of_f in (
        ("input_to_input_weights", "input_to_forget_weights"),
        ("recurrent_to_input_weights", "recurrent_to_forget_weights"),
        ("input_gate_bias", "forget_gate_bias"),
    ):
        if of_f in found:
            found[of_i] = changed(found[of_f], neg)
    if PEEPHOLES in found:
        found[PEEPHOLES] = changed(found[PEEPHOLES], _first_negative)
    return found


def _first_negative(peepholes: Tensor) -> Tensor:
    import torch

    of_i, *others = peepholes.chunk(3)
    return torch.cat([-of_i, *others])


READERS = {
    "tflite": Reader(
        "a model of TensorFlow Lite", _recognises, _modules, (".tflite",), engine="onnxruntime", noun="operator"
    )
}
