"""A float16 node between casts, which onnxruntime leaves out: it receives more digits than the graph says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from rnnspect import Spec, Verdict
from rnnspect.checking.check import CheckTerms, check_observation
from rnnspect.checking.onnx.check import check_model
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.observation import observed_by
from rnnspect.judging.rounding import RecordedPrecision
from rnnspect.tracing.prepare import prepare
from tests import onnx_models as made

if TYPE_CHECKING:
    from pathlib import Path

HALF = onnx.TensorProto.FLOAT16


def cast_around(op: str) -> onnx.ModelProto:
    """x and h0 in float32, the node in float16, y in float32, as converters with `keep_io_types` write it."""
    held = {name: values.astype(np.float16) for name, values in made.weights(op).items()}
    inputs = [made.value("x", made.F, ["T", "N", made.INPUTS]), made.value("h0", made.F, [1, "N", made.HIDDEN])]
    nodes = [
        helper.make_node("Cast", ["x"], ["x half"], to=HALF),
        helper.make_node("Cast", ["h0"], ["h0 half"], to=HALF),
        helper.make_node(
            op, ["x half", "W", "R", "B", "", "h0 half"], ["y half"], name="the node", hidden_size=made.HIDDEN
        ),
        helper.make_node("Cast", ["y half"], ["y"], to=made.F),
    ]
    return made.model(nodes, held, inputs)


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_casts_that_are_left_out_are_no_difference(tmp_path: Path, op: str) -> None:
    onnx.save(cast_around(op), tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    given = {"x": rng.normal(0, 8, (60, 4, made.INPUTS)), "h0": rng.normal(0, 0.5, (1, 4, made.HIDDEN))}
    exact = {name: values.astype(np.float16).astype(np.float32) for name, values in given.items()}

    def checked(given: dict[str, np.ndarray]) -> Verdict:
        for name, values in given.items():
            np.save(tmp_path / f"{name}.npy", values)
        said = ",".join(f"{name}={tmp_path / name}.npy" for name in given)
        (call,) = check_model(tmp_path / "m.onnx", said, None, None, 0, CheckTerms()).calls
        assert isinstance(call.found, Verdict)
        return call.found

    found = checked({name: values.astype(np.float32) for name, values in given.items()})
    assert found.agrees, found
    assert any("leaves out casts" in note for note in found.notes)
    found = checked(exact)
    assert found.agrees
    assert not any("leaves out casts" in note for note in found.notes)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_x_and_states_may_be_off_by_what_is_said_and_no_more(cell: str, layers: int) -> None:
    states = {"h0": "randn"} | ({"c0": "randn"} if cell == "lstm" else {})
    spec = Spec(cell=cell, input_size=3, hidden_size=4, num_layers=layers, input="randn:20", batch=3, **states)
    ran = prepare(spec)
    seen = observed_by(ran.run())

    def verdict(off: float, known: float) -> str:
        """Of x, h0 and c0 that are off by so many units of float16, of which so many are said."""
        torch.manual_seed(0)
        x, h0, c0 = (
            None if v is None else v * (1 + off * 2**-11 * (2 * torch.rand_like(v) - 1))
            for v in (ran.sequence.x, ran.sequence.h0, ran.sequence.c0)
        )
        assert x is not None
        assert h0 is not None
        sequence = replace(ran.sequence, x=x, h0=h0, c0=c0)
        case = Case(spec, ran.parameters, sequence, seen, ARITHMETICS["float32"])
        return check_observation(replace(case, received=RecordedPrecision(known * 2**-11)), explain=0).verdict

    assert verdict(0, 0) == "agree"
    assert verdict(1, 0) == "differ"
    assert verdict(1, 1) != "differ"
    assert verdict(64, 1) == "differ"
