"""The parameters of a spec: drawn from its seed, or as its `weights` give them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from rnnspect.errors import FileError, Problem, WeightsError, Where, listed, nearest
from rnnspect.files import text
from rnnspect.files.sources import parse_file
from rnnspect.network import drawing, tensors
from rnnspect.network.parameters import parameters_of
from rnnspect.network.spec import Spec
from rnnspect.weights import readers


def weights_of(spec: Spec, generator: Generator, where: Where) -> dict[str, Tensor]:
    """Every parameter by PyTorch's name, in the spec's dtype, on the CPU.

    They are drawn even where `weights` replaces them, so that a drawn x is the same with and without a file.

    Raises `WeightsError` for names or shapes that do not fit the spec, `FileError` for a file that cannot be read.
    """
    parameters = drawing.draw_parameters(spec, generator)
    if spec.weights is not None:
        parameters = _given(spec, spec.weights, where)
    return {name: tensor.to(getattr(torch, spec.dtype)) for name, tensor in parameters.items()}


def _given(spec: Spec, weights: str | dict[str, Any], where: Where) -> dict[str, Tensor]:
    if isinstance(weights, str):
        file = parse_file(weights)
        known = {key: getattr(spec, key) for key in ("cell", "dtype", "num_layers", "reset")}
        known["layout"] = spec.layout or "pytorch"
        given = readers.module_in(file.path, known, file.member, "name it after a colon:").read(spec)
        found = given.parameters

        def place(name: str) -> str:
            return f"{file.path}:{given.names[name]}" if name in given.names else weights
    else:
        found = {name: _one(name, value, where) for name, value in weights.items()}

        def place(name: str) -> str:
            return where(("weights", name))

    return fitting(spec, found, place)


def _one(name: str, value: Any, where: Where) -> Tensor:
    """A parameter by itself: numbers, or FILE:TENSOR."""
    if isinstance(value, str):
        file = parse_file(value)
        found = readers.tensors_in(file.path)
        if file.member is None or file.member not in found.stored:
            what = (
                f"no tensor named {file.member!r}" if file.member else "the name of a tensor is missing after the file"
            )
            raise FileError.unknown(what, file.member or "", found.stored, where(("weights", name)))
        return found.read([file.member])[file.member]
    plain = value.tolist() if hasattr(value, "tolist") else value
    return text.from_lists(plain if isinstance(plain, list) else [plain], lambda at: where(("weights", name, *at)))


def fitting(spec: Spec, found: Mapping[str, Tensor], place: Callable[[str], str]) -> dict[str, Tensor]:
    """The parameters of the spec, in its order, from those that were found; `place` says where one was found.

    Raises `WeightsError` for a name too many, a name that is missing, or another shape.
    """
    expected = {parameter.name: parameter.shape for parameter in parameters_of(spec)}
    problems = _names(found, expected, place)
    problems += [
        Problem(f"{name} has the shape {tuple(found[name].shape)}", str(shape), where=place(name))
        for name, shape in expected.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    if problems:
        raise WeightsError(problems)
    return {name: tensors.real(found[name], place(name)) for name in expected}


def _names(found: Collection[str], expected: Collection[str], place: Callable[[str], str]) -> list[Problem]:
    """A problem for each name that no parameter has and one for all that are missing; the last one lists every name."""
    unknown = [name for name in found if name not in expected]
    likely = {name: nearest(name, expected) for name in unknown}
    missing = [name for name in expected if name not in found and name not in likely.values()]
    problems = [Problem(f"unknown parameter {name!r}", nearest=likely[name], where=place(name)) for name in unknown]
    if missing:
        names = listed(map(repr, missing))
        problems.append(Problem(f"missing: {names}", where=place(missing[0])))
    if problems:
        problems[-1] = replace(problems[-1], allowed=listed(expected))
    return problems
