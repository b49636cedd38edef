"""Reads a probe from a .npz file, only as data, since it may come from anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rnnspect.causes.probing import ELSEWHERE
from rnnspect.cells import Cell
from rnnspect.checking.recording_inputs import INPUTS
from rnnspect.engines.torch import TorchEngine
from rnnspect.errors import FileError, Problem, SpecError, listed
from rnnspect.files.npy import read_npz, read_npz_spec
from rnnspect.files.reading import size_of
from rnnspect.files.yaml import read_spec
from rnnspect.network import memory
from rnnspect.network.drawing import generator_of
from rnnspect.network.sequence import sequence_of
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared
from rnnspect.weights.loading import fitting


def read_probe(path: Path, cell: Cell | None = None) -> Prepared:
    """The spec, parameters, x, states and lengths of a probe, ready to run or to hold a recording to. `cell` is the
    probe's, where that is a cell of somebody's own: a name in a file runs no code.

    Raises `FileError` for what is no probe, `SpecError` for a spec in it that is wrong or names a file, `WeightsError`
    and `SequenceError` for arrays that do not fit it.
    """
    size_of(path)
    text = read_npz_spec(path)
    if text is None:
        raise FileError("the file holds no spec", allowed="a file that rnnspect probe wrote", where=str(path))
    data, where = read_spec(text, Path(f"{path}:spec"))
    beside = [key for key in ELSEWHERE if data.pop(key, None) is not None]
    if beside:
        allowed = "only the network in the spec of a probe; the file's arrays are the rest"
        raise SpecError(Problem(f"the spec has the key {key}", allowed, where=where((key,))) for key in beside)
    if cell is not None and data.get("cell") != cell.name:
        found = f"the probe is of cell {data.get('cell')!r}, not {cell.name!r}"
        raise SpecError([Problem(found, where=where(("cell",)))])
    data = data if cell is None else {**data, "cell": cell}
    arrays = read_npz(path, str(path))
    given = {name: arrays.pop(name) for name in INPUTS if name in arrays}
    if missing := [name for name in ("x", "h0") if name not in given]:
        raise FileError(f"missing: {listed(missing)}", allowed="a file that rnnspect probe wrote", where=str(path))
    lengths: Any = given["lengths"].tolist() if "lengths" in given else None

    def place(keys: tuple[int | str, ...]) -> str:
        if keys and keys[0] in ("input", "h0", "c0", "lengths"):
            return f"{path}:{'x' if keys[0] == 'input' else keys[0]}"
        return where(keys)

    spec = Spec.from_data(data | dict.fromkeys(ELSEWHERE) | {"lengths": lengths, "device": "cpu"}, place)
    parameters = fitting(spec, arrays, lambda name: f"{path}:{name}")
    sequence = sequence_of(spec, generator_of(spec), place, memory.run_needs, given["x"], given["h0"], given.get("c0"))
    dtype = getattr(torch, spec.dtype)
    return Prepared(spec, {name: values.to(dtype) for name, values in parameters.items()}, sequence, TorchEngine())
