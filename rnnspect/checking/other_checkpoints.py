"""Other checkpoints, whose weights an engine may have in place of ours: files, live modules or parameters by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from rnnspect.errors import InputError, RnnspectError, listed
from rnnspect.files.sources import parse_file
from rnnspect.judging.evidence.elsewhere import OtherWeights, layers_of
from rnnspect.network import tensors, torch_modules
from rnnspect.network.drawing import generator_of
from rnnspect.network.parameters import recurrent_parameters
from rnnspect.network.spec import Spec
from rnnspect.weights import readers
from rnnspect.weights.loading import fitting, weights_of
from rnnspect.weights.readers.interface import Module


def checkpoints_of(given: Any, spec: Spec, where: str) -> tuple[OtherWeights, ...]:
    """The checkpoints that were given for `where`: one, several, or None. A file may hold several networks. Raises
    `InputError` for what is no checkpoint, or has no weight with a shape that a network of this spec has."""
    every = given if isinstance(given, list | tuple) else [given] if given is not None else []
    names = [Path(parse_file(os.fspath(one)).path).name for one in every if isinstance(one, str | os.PathLike)]
    found: list[OtherWeights] = []
    for at, one in enumerate(every):
        place = where if len(every) == 1 else f"{where}[{at}]"
        if not isinstance(one, str | os.PathLike):
            read = [_in_memory(one, place)]
        else:
            read = list(_in_file(os.fspath(one), spec, where, names.count(Path(one).name) > 1))
            place = f"{where} {one}"
        _require_fit(read, spec, place)
        found += read
    return tuple(found)


def _in_file(source: str, spec: Spec, where: str, whole_path: bool) -> Iterator[OtherWeights]:
    """Every network in a file, or the one after a colon."""
    file = parse_file(source)
    called = str(file.path) if whole_path else file.path.name
    try:
        if readers.kind_of(file.path) is None:
            yield OtherWeights(called, _of_spec(file.path))
            return
        modules = _modules(file.path, spec, file.member)
        for name, module in modules.items():
            keys = module.tell().keys
            own = Spec.from_data(keys, lambda _keys: source)
            read = fitting(own, module.read(own).parameters, lambda _name: source)
            yield OtherWeights(f"{called}:{name}" if len(modules) > 1 or file.member else called, read)
    except RnnspectError as error:
        raise type(error)(replace(one, where=f"{where} {one.where or source}") for one in error.problems) from None


def _modules(path: Path, spec: Spec, member: str | None) -> Mapping[str, Module]:
    """The modules that the file describes, or in our layout, where its names and shapes describe none."""
    flags: dict[str, Any] = {"cell": spec.cell, "dtype": spec.dtype, "reset": spec.reset}
    try:
        return readers.modules_in(path, flags, member)
    except InputError:
        if spec.layout is None:
            raise
        return readers.modules_in(path, flags | {"layout": spec.layout}, member)


def _of_spec(path: Path) -> Mapping[str, Any]:
    """The weights of a spec in YAML."""
    from rnnspect.files.yaml import read_spec_file  # loads yaml, which most checks do without

    data, in_file = read_spec_file(path)
    spec = Spec.from_data(data, in_file)
    return weights_of(spec, generator_of(spec), in_file)


def _in_memory(given: Any, where: str) -> OtherWeights:
    """A live module, or its parameters by name."""
    if isinstance(given, nn.Module):
        spec = torch_modules.spec_of_module(given)
        return OtherWeights(where, torch_modules.parameters_of_module(given, spec))
    if isinstance(given, Mapping):
        named = {str(name): tensors.from_anything(of, f"{where}[{name!r}]") for name, of in given.items()}
        return OtherWeights(where, named)
    allowed = "a file of weights, a module such as torch.nn.LSTM, a state_dict, or a list of these"
    raise InputError(f"got an object of type {type(given).__name__}", allowed=allowed, where=where)


def _require_fit(given: Iterable[OtherWeights], spec: Spec, where: str) -> None:
    """Raises `InputError` where no weight of a checkpoint fits into the network."""
    ours = {(one.name.rpartition("_l")[0], one.shape) for one in recurrent_parameters(spec)}
    theirs = {(name, tuple(of.shape)) for one in given for _, own in layers_of(one) for name, of in own.items()}
    theirs = {(name, shape) for name, shape in theirs if name.startswith("weight")}
    if not theirs & ours:
        allowed = _said({(name, shape) for name, shape in ours if name.startswith("weight")})
        found = f"no weight of this network's shapes: {_said(theirs)}" if theirs else "no recurrent weights"
        raise InputError(found, allowed=allowed, where=where)


def _said(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> str:
    return listed(f"{name} {shape}" for name, shape in sorted(shapes))
