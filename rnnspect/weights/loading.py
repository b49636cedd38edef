"""The parameters of a spec: drawn from its seed, or as its `weights` give them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from shlex import quote
from typing import Any

import torch
from torch import Generator, Tensor

from rnnspect.cells import CELLS
from rnnspect.errors import FileError, InputError, Problem, WeightsError, Where, listed, nearest, written
from rnnspect.files import text
from rnnspect.files.sources import parse_file
from rnnspect.network import drawing, tensors
from rnnspect.network.parameters import parameters_of
from rnnspect.network.spec import Spec
from rnnspect.weights import readers
from rnnspect.weights.readers.interface import Module
from rnnspect.weights.readers.pytorch import one_bias

_SHAPING = ("cell", "input_size", "hidden_size", "proj_size", "num_layers", "bidirectional", "bias", "peepholes")
"""Keys of a spec on which the shapes of its parameters hang."""


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
        module = readers.module_in(file.path, known, file.member)
        given = module.read(spec)
        found = given.parameters
        _check_network(spec, found, module, weights)

        def place(name: str) -> str:
            return f"{file.path}:{given.names[name]}" if name in given.names else weights
    else:
        found = {name: _one(name, value, where) for name, value in weights.items()}

        def place(name: str) -> str:
            return where(("weights", name))

    return fitting(spec, found, place)


def _check_network(spec: Spec, found: Mapping[str, Tensor], module: Module, weights: str) -> None:
    """Raises `WeightsError` where the file holds another network than the spec says: of another cell or other sizes."""
    expected = {parameter.name: parameter.shape for parameter in parameters_of(spec)}
    if {name: tuple(tensor.shape) for name, tensor in found.items()} == expected:
        return
    try:
        told = module.tell().keys
    except InputError:  # the file alone tells no network either; what does not fit is said one by one
        return
    other = [name for name in _SHAPING if name in told and told[name] != getattr(spec, name)]
    if not other:
        return
    cell = told.get("cell", spec.cell)
    gates = len((CELLS.get(cell) or spec.cell_type).gates)
    packed = [name for name in ("weight_ih_l0", "weight_hh_l0") if name in found]
    shapes = listed(f"{name} {tuple(found[name].shape)}" for name in packed or found)
    rows = f" ({gates} × hidden_size rows)" if gates > 1 else " (hidden_size rows)"
    rows = rows if packed and not spec.cell_type.has_own_sizes else ""
    theirs, ours = (listed(f"{name} {written(of[name])}" for name in other) for of in (told, vars(spec)))
    flags = " ".join(_as_option(name, told[name]) for name in other)
    same = "" if cell in CELLS else ", with the same --cell"
    advice = f"add {flags}, or pass the file in place of the spec: {quote(weights)}{same}"
    said = f"{shapes} are of a cell {cell}{rows}; the file has {theirs}, the spec has {ours}"
    raise WeightsError(said, advice=advice, where=weights)


def _as_option(name: str, value: Any) -> str:
    """--hidden-size 4, --bidirectional, --no-bias."""
    option = name.replace("_", "-")
    return f"--{'' if value else 'no-'}{option}" if isinstance(value, bool) else f"--{option} {value}"


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
        ends = [name.removeprefix("weight_ih") for name in expected if name.startswith("weight_ih")]
        advice = one_bias(missing, ends)
        problems.append(Problem(f"missing: {names}", advice=advice, where=place(missing[0])))
    if problems:
        problems[-1] = replace(problems[-1], allowed=listed(expected))
    return problems
