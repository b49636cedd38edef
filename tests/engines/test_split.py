"""An engine that is called for one part of a sequence after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rnnspect import Spec
from rnnspect.engines.shared.pieces import SplitEngine
from rnnspect.errors import EngineError, InputError
from rnnspect.network.split import Split
from rnnspect.tracing.prepare import prepare


@pytest.mark.parametrize("split", [Split(1), Split(7), Split(4, 1), Split(2, 3)])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_it_gives_what_one_call_gives(cell: str, split: Split) -> None:
    """Bit for bit in float64, once it is rounded to float32: what a call sums in another order is far below that."""
    spec = Spec(cell=cell, num_layers=2, input="randn:9", batch=3, h0="randn", dtype="float64")
    made = prepare(spec)
    whole, parts = made.run(), replace(made, engine=SplitEngine(made.engine, split)).run()
    for name in ("output", "h_n", *(["c_n"] if cell == "lstm" else [])):
        assert torch.equal(getattr(whole, name).float(), getattr(parts, name).float())
    for at, h in whole.layers.items():
        assert torch.equal(h.float(), parts.layers[at].float())
    assert f"in {len(split.calls(9))} calls" in parts.notes[-1]


def test_what_has_no_state_to_carry_is_refused() -> None:
    for keys in ({"bidirectional": True}, {"batch": 2, "lengths": [5, 3]}):
        made = prepare(Spec(cell="gru", input="randn:5", **keys))
        with pytest.raises(EngineError, match="in several calls"):
            SplitEngine(made.engine, Split(2)).run(made.spec, made.parameters, made.sequence)


def test_a_split_lies_inside_of_the_sequence() -> None:
    made = prepare(Spec(cell="gru", input="randn:5"))
    with pytest.raises(InputError, match="a split at step 5 of 5 steps; expected 1 to 4"):
        SplitEngine(made.engine, Split(5)).run(made.spec, made.parameters, made.sequence)
