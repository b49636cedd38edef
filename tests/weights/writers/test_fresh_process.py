"""A converted file in a process that does not know rnnspect, loaded by the lines that `convert` shows: it gives what
torch.nn gives, with states that are not zero, and from states of zeros as a whole.

All cases of a target run in one process, since a framework takes seconds to load.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rnnspect import Spec
from rnnspect.checking.converting import convert
from rnnspect.engines.torch import TorchEngine
from rnnspect.tracing.prepare import prepare
from rnnspect.weights import writers
from tests.marks import covering, sampled
from tests.weights.writers.loaders import LOADERS, NEEDS, SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm", "c0": "randn"},
    "gru": {"cell": "gru"},
}
FROM_TORCH = 1.7e-6
"""Ten roundings of the largest number here: no float32 engine is further from torch on such a network
(tests/engines/test_engines.py)."""
RUN = """
import json, sys
import numpy
for case in json.load(sys.stdin):
    arrays = numpy.load(case["arrays"])
    x, h0, c0 = (arrays[name] for name in ("x", "h0", "c0"))
    names = {"x": x, "h0": h0, "c0": c0, "lstm": bool(case["lstm"]), "D": case["D"]}
    exec(case["code"], names)
    exec(case["run"], names)
    whole = {"whole": names["whole"]} if "whole" in names else {}
    numpy.savez(case["found"], **whole, **{str(at): v.astype("float32") for at, v in enumerate(names["found"])})
assert not any(name.partition(".")[0] == "rnnspect" for name in sys.modules)
"""


def spec_of(cell: str, layers: int, bidirectional: bool, bias: bool, **more: Any) -> Spec:
    sizes: dict[str, Any] = {"input_size": 4, "hidden_size": 6, "num_layers": layers, "bidirectional": bidirectional}
    return Spec(**CELLS[cell], **sizes, bias=bias, input="randn:7", batch=3, h0="randn", **more)


def cases(target: str) -> list[tuple[str, int, bool, bool]]:
    """All; where JAX compiles each for a second, as many as it takes for any two of their properties to meet."""
    every = list(itertools.product(CELLS, (1, 2), (False, True), (True, False)))
    pairs = [set(itertools.combinations(enumerate(case), 2)) for case in every]
    return [every[at] for at in sorted(covering(pairs))] if NEEDS[target] == "flax" else every


def converted(spec: Spec, target: str, folder: Path, name: str) -> dict[str, Any]:
    """A converted file as a case for a fresh process, with x and states in a file beside it."""
    done = convert(spec, target, folder / f"{name}{SUFFIXES[target]}", lossy=target == "flax")
    assert done.kept
    sequence = prepare(spec).sequence
    c0 = sequence.h0 if sequence.c0 is None else sequence.c0
    np.savez(
        folder / f"{name}.npz",
        x=sequence.x.transpose(0, 1).float().numpy(),
        h0=sequence.h0.float().numpy(),
        c0=c0.float().numpy(),
    )
    where = {"arrays": str(folder / f"{name}.npz"), "found": str(folder / f"{name}-found.npz")}
    # Of a session's lines the last one runs it, and gives names.
    code = "\n".join(line for line in done.code.splitlines() if "session.run" not in line)
    return where | {"code": code, "run": LOADERS[target], "lstm": spec.cell == "lstm", "D": spec.num_directions}


def run_fresh(found: list[dict[str, Any]], folder: Path) -> None:
    """Isolated, in a folder where nothing can be imported from."""
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"} | {"KERAS_BACKEND": "torch"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN],
        input=json.dumps(found),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert result.returncode == 0, result.stderr


def from_torch(spec: Spec, lost: bool) -> list[np.ndarray]:
    """output (B, T, D·H), h_n and perhaps c_n; without b_hn where that is lost."""
    prepared = prepare(spec)
    parameters = dict(prepared.parameters)
    for name, values in parameters.items():
        if lost and name.startswith("bias_hh"):
            parameters[name] = torch.cat([values[:12], values.new_zeros(6)])
    ran = TorchEngine().run(spec, parameters, prepared.sequence)
    given = [ran.output.transpose(0, 1), ran.h_n, ran.c_n]
    return [values.float().numpy() for values in given if values is not None]


@pytest.mark.filterwarnings("ignore")  # whatever a framework warns of is not ours
@pytest.mark.parametrize("target", sampled(writers.names(), 3))
def test_it_gives_what_torch_gives(target, tmp_path):
    if importlib.util.find_spec(NEEDS[target]) is None:
        pytest.skip(f"skipped: {NEEDS[target]} is not installed")
    specs = {"-".join(map(str, case)): spec_of(*case) for case in cases(target)}
    run_fresh([converted(spec, target, tmp_path, name) for name, spec in specs.items()], tmp_path)
    for name, spec in specs.items():
        lost = target == "flax" and spec.cell == "gru"
        with np.load(tmp_path / f"{name}-found.npz") as found:
            for at, values in enumerate(from_torch(spec, lost)):
                assert np.abs(found[str(at)] - values).max() <= FROM_TORCH, (name, at)
            if "whole" in found:
                zeros = spec.with_changes(h0=None, **({"c0": None} if spec.cell == "lstm" else {}))
                assert np.abs(found["whole"] - from_torch(zeros, lost)[0]).max() <= FROM_TORCH, name


HALF = {"float16": 2.0**-11, "bfloat16": 2.0**-8}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("target", "dtype"), [("keras", "float16"), ("flax", "float16"), ("flax", "bfloat16")])
def test_a_file_of_a_half_type_is_loaded_too(target, dtype, tmp_path):
    """The initializers of these frameworks do not take half types. Sixteen roundings of the largest number, which is
    below 1, are more than four steps of one layer make."""
    if importlib.util.find_spec(NEEDS[target]) is None:
        pytest.skip(f"skipped: {NEEDS[target]} is not installed")
    specs = {cell: spec_of(cell, 1, False, True, dtype=dtype).with_changes(input="randn:4") for cell in CELLS}
    found = [converted(spec, target, tmp_path, name) for name, spec in specs.items()]
    if target == "flax":  # its states keep the dtype that they come in
        in_half = f"\nx, h0, c0 = (jnp.asarray(one, jnp.{dtype}) for one in (x, h0, c0))\n"
        found = [one | {"code": one["code"] + in_half} for one in found]
    run_fresh(found, tmp_path)
    for name, spec in specs.items():
        with np.load(tmp_path / f"{name}-found.npz") as found:
            for at, values in enumerate(from_torch(spec, lost=target == "flax" and spec.cell == "gru")):
                assert np.abs(found[str(at)].astype(float) - values).max() <= 16 * HALF[dtype], (name, at)
