"""Loops of a .tflite model: what the body of a WHILE computes in one step, as an equation, and the constants in it.

TensorFlow's converter writes recurrent layers for which it has no operator as such loops. Operators and options are
numbered as in schema.fbs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files.operators import Operator

if TYPE_CHECKING:
    from rnnspect.files.flatbuffers import Table
    from rnnspect.files.operators import FileArray
    from rnnspect.files.tflite_graph import TfliteGraph

LOOP = "WHILE"
MAX_INPUTS = 64
MAX_LENGTH = 400
"""Characters of an equation: one whose terms are used twice at every step would double with each."""
UNKNOWN = "?"
_ADD, _FULLY_CONNECTED, _LOGISTIC, _MUL, _RELU, _RESHAPE, _TANH, _GATHER = 0, 9, 14, 18, 19, 22, 28, 36
_SUB, _STRIDED_SLICE, _SPLIT = 41, 45, 49
_FUNCTIONS = {_LOGISTIC: "sigmoid", _RELU: "relu", _TANH: "tanh"}
_FUSED = {1: "relu", 4: "tanh"}
_SIGNS = {_ADD: "+", _MUL: "*", _SUB: "-"}


def loop(body: TfliteGraph, name: str) -> Operator:
    """A WHILE as an operator. Its settings say what each of its outputs is: W x, U h[s3] and V[…] for the products of
    x, of s3 and of a product with the constants `weights`, `recurrent_weights` and `candidate_weights`, each with its
    bias; W x' with a `bias` that is added later; W x.1 for the second part of W x; s3 for what came in at that place,
    h or c; +, * and - of two, the smaller text first in + and *."""
    inputs = body.table.numbers(1, "<i", MAX_INPUTS)
    known = {index: f"s{at}" for at, index in enumerate(inputs)}
    arrays: dict[str, FileArray] = {}
    for operator in body.operators:
        taken, outputs = operator.numbers(1, "<i", 4), operator.numbers(2, "<i", 8)
        if not taken or not outputs:
            continue
        code, texts = body.code_of(operator), [_text(body, index, known) for index in taken]
        said = UNKNOWN
        if code == _GATHER:
            said = "x" if taken[0] in inputs else UNKNOWN
        elif code == _RESHAPE:
            said = texts[0]
        elif code == _FULLY_CONNECTED and len(taken) >= 2:
            said = _fused(operator, _product(body, texts[0], taken, arrays))
        elif code == _STRIDED_SLICE and len(taken) == 4:
            said = _part(body, texts[0], taken, outputs[0])
        elif code in _FUNCTIONS:
            said = f"{_FUNCTIONS[code]}({texts[0]})"
        elif code in _SIGNS and len(texts) == 2:
            said = _with_bias(body, texts, taken, arrays) if code == _ADD else ""
            ordered = texts if code == _SUB else sorted(texts)
            said = _fused(operator, said or f"({_SIGNS[code].join(ordered)})")
        known[outputs[0]] = said if len(said) <= MAX_LENGTH else UNKNOWN
        if code == _SPLIT and len(texts) == 2 and len(texts[1]) <= MAX_LENGTH:
            known |= {index: f"{texts[1]}.{at}" for at, index in enumerate(outputs)}
    equations = tuple(known.get(index, UNKNOWN) for index in body.table.numbers(2, "<i", MAX_INPUTS))
    return Operator(LOOP, name or LOOP, arrays, {"equations": equations})


def _product(body: TfliteGraph, text: str, taken: tuple[int, ...], arrays: dict[str, FileArray]) -> str:
    """W x, U h or V of a product; the constants go to `arrays`. Another product, or a second one of the same, is not
    known."""
    start, said = ("", "W x") if text == "x" else ("recurrent_", f"U h[{text}]")
    if "*" in text:
        start, said = "candidate_", f"V[{text}]"
    weights = body.constant(taken[1]) if taken[1] >= 0 else None
    if weights is None or f"{start}weights" in arrays or not (text == "x" or text[:1] == "s" or "*" in text):
        return UNKNOWN
    arrays[f"{start}weights"] = weights
    if len(taken) > 2 and taken[2] >= 0 and (bias := body.constant(taken[2])):
        arrays[f"{start}bias"] = bias
    return said


def _with_bias(body: TfliteGraph, texts: list[str], taken: tuple[int, ...], arrays: dict[str, FileArray]) -> str:
    """The sum of W x, or of W x + U h, and a vector, which goes to `arrays` as its bias; empty for another sum."""
    for one, other in ((0, 1), (1, 0)):
        if texts[other] == UNKNOWN and "W x" in texts[one] and texts[one][-1] in "x)" and "bias" not in arrays:
            bias = body.constant(taken[other])
            if bias is not None and len(bias.stored.shape) == 1 and "sigmoid" not in texts[one]:
                arrays["bias"] = bias
                return f"{texts[one]}'"
    return ""


def _part(body: TfliteGraph, text: str, taken: tuple[int, ...], output: int) -> str:
    """A slice of columns that is one of several of the same width, as a split gives them."""
    begin, strides = (body.integers(taken[at]) for at in (1, 3))
    width = body.tensors.at(output).numbers(0, "<i", 8)[-1:]
    if not begin or not width or width[0] < 1 or begin[-1] % width[0] or any(begin[:-1]) or set(strides) != {1}:
        return UNKNOWN
    return f"{text}.{begin[-1] // width[0]}"


def _fused(operator: Table, text: str) -> str:
    """With the function that the operator's options add."""
    options = operator.table(4)
    function = options.number(0, "<b") if options else 0
    return text if function == 0 else f"{_FUSED[function]}({text})" if function in _FUSED else UNKNOWN


def _text(body: TfliteGraph, index: int, known: dict[int, str]) -> str:
    """What a tensor is: known, a constant of one number (1.0), or not known."""
    if index in known or index < 0:
        return known.get(index, UNKNOWN)
    one = body.single(index)
    return UNKNOWN if one is None else f"{one:g}"
