"""ONNX: a model that runs by itself, with the states and perhaps the lengths as inputs (`shared/onnx_graph.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from torch import Tensor

from rnnspect.errors import InputError
from rnnspect.files import free_memory
from rnnspect.files.onnx_file import MOST
from rnnspect.network.parameters import parameters_of
from rnnspect.network.recording import STATES
from rnnspect.network.spec import Spec
from rnnspect.version import version
from rnnspect.weights.readers import converted
from rnnspect.weights.writers.interface import Target, needing

_COPIES = 4
"""Of all parameters in memory at once: packed, with the directions side by side, in the model, and as its bytes."""
_FRAME = 1 << 20
"""Bytes of a model beside its parameters, and more."""
VARIANTS = ("reset", "reverse", "input_forget", "peepholes", "activations", "clip")
"""The keys of a spec that ONNX's operators have beyond those that every framework has."""


def _write(spec: Spec, parameters: Mapping[str, Tensor], file: IO[bytes]) -> None:
    with needing("onnx"):
        from rnnspect.weights.writers.shared.onnx_graph import model_of
    size = sum(parameter.bytes for parameter in parameters_of(spec))
    if size > MOST - _FRAME:
        allowed = f"at most {free_memory.in_words(MOST)}"
        raise InputError(f"the parameters take {free_memory.in_words(size)} in one .onnx file", allowed=allowed)
    free_memory.require(_COPIES * size, "writing the model")
    model = model_of(spec, parameters, spec.lengths is not None, spec.batch_first)
    model.producer_name, model.producer_version = "rnnspect", version()
    if text := converted.text_of(spec):
        model.metadata_props.add(key=converted.NAME, value=text)
    file.write(model.SerializeToString())


def _code(spec: Spec, file: str) -> str:
    states = [STATES[state] for state in spec.cell_type.states]
    given = ["x", *(given for given, _ in states), *(["lengths"] if spec.lengths is not None else [])]
    feed = ", ".join(f'"{name}": {name}' for name in given)
    return f"""\
import onnxruntime

session = onnxruntime.InferenceSession({file!r})
{", ".join(["output", *(final for _, final in states)])} = session.run(None, {{{feed}}})
"""


TARGET = Target(
    name="onnx",
    title="ONNX's operators",
    suffix=".onnx",
    layout="onnx",
    engine="onnxruntime",
    write=_write,
    code=_code,
    dtypes=("float16", "float32", "float64"),
    holds=VARIANTS,
    without={"proj_size": "ONNX's LSTM has no projection"},
    takes_lengths=True,
)
