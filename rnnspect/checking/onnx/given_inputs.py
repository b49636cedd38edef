"""Reads --input for an ONNX model: arrays of some inputs by name, one array or a file of all, or a generator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnnspect.checking.onnx.axes import in_words
from rnnspect.errors import Problem, SequenceError, listed, nearest
from rnnspect.files import arrays, sources, text
from rnnspect.files.reading import UNNAMED

if TYPE_CHECKING:
    from onnx import ValueInfoProto

PLACE = "--input"
KINDS = ("randn", "randint", "ones", "zeros")
NAMED = "NAME=x.npy,NAME=randn:20,NAME=randint:20:5000,NAME=3"
_NAMED = re.compile(r"([^=,\[\]]+)=(.*)", re.DOTALL)
_NEXT = re.compile(r",(?=[^=,\[\]]+=)")
_NUMBER = re.compile(r"[+-]?(\d{1,18}\.?\d{0,18}|\.\d{1,18})([eE][+-]?\d{1,3})?")


_Said = dict[str, torch.Tensor | sources.Generator]


def names_inputs(given: Any) -> bool:
    """Whether --input names inputs of a model: NAME=…"""
    if not isinstance(given, str) or not _NAMED.fullmatch(given.strip()):
        return False
    return not sources.is_there(Path(given.strip()))


def what_is_said(given: Any, inputs: Mapping[str, ValueInfoProto], needed: list[str]) -> _Said:
    """What --input says of each input: its numbers, or how they are drawn, with an empty kind for what fits the input;
    nothing of those that it does not name.

    `needed` are the inputs without a default, in their order. Raises `SequenceError` for names that no input has, and
    where a file leaves one out.
    """
    if given is None:
        return {}
    if names_inputs(given):
        found: _Said = {}
        for part in _NEXT.split(given.strip()):
            match = _NAMED.fullmatch(part.strip())
            assert match is not None
            name = match[1].strip()
            _check_names([name], inputs)
            found[name] = _one(match[2].strip(), name)
        return found
    how = sources.generator_in(given)
    if how is not None:
        whole = {name for name in needed if how.kind != "randint" and _is_whole(inputs[name])}
        return {name: replace(how, kind="") if name in whole else how for name in needed}
    read = _read(sources.parse(given), needed)
    _check_names(list(read), inputs)
    if missing := [name for name in needed if name not in read]:
        allowed = listed(map(in_words, inputs.values()))
        advice = f"with --input {NAMED} the others are random"
        raise SequenceError(f"missing: {listed(missing)}", allowed=allowed, advice=advice, where=PLACE)
    return dict(read)


def _is_whole(known: ValueInfoProto) -> bool:
    """Whether an input is of integers, of which a generator for all inputs does not tell what they mean."""
    from onnx import helper

    kinds = helper.get_all_tensor_dtypes()
    kind = known.type.tensor_type.elem_type
    return kind in kinds and np.dtype(helper.tensor_dtype_to_np_dtype(kind)).kind in "iub"


def _check_names(names: list[str], inputs: Mapping[str, ValueInfoProto]) -> None:
    unknown = [name for name in names if name not in inputs]
    if unknown:
        every = listed(map(in_words, inputs.values()))
        raise SequenceError(
            Problem(f"the model has no input {name!r}", every, nearest(name, inputs), PLACE) for name in unknown
        )


def _one(written: str, name: str) -> torch.Tensor | sources.Generator:
    """What stands behind NAME=."""
    how = sources.generator_in(written)
    if how is not None:
        return how
    if _NUMBER.fullmatch(written):
        return torch.tensor(float(written), dtype=torch.float64)
    match sources.parse(written):
        case sources.File(path=path, member=member):
            return arrays.read_array(path, member)
        case sources.Literal(numbers=numbers):
            return text.parse_json(numbers, f"{PLACE} {name}")
    raise SequenceError(f"{name}={written}", allowed=NAMED, where=PLACE)


def _read(source: sources.ParsedSource, needed: list[str]) -> dict[str, torch.Tensor]:
    match source:
        case sources.File(path=path, member=None):
            found = arrays.read_arrays(path)
            if list(found) == [UNNAMED] and needed:
                return {needed[0]: found[UNNAMED]}
            return found
        case sources.File(path=path, member=member) if needed:
            return {needed[0]: arrays.read_array(path, member)}
        case sources.Literal(numbers=str() as written) if needed:
            return {needed[0]: text.parse_json(written, PLACE)}
    raise SequenceError(f"cannot read {source} for a model", allowed="a file, a generator or numbers", where=PLACE)
