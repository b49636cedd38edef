"""Mistakes in the chunks of an mLSTM: one block of its state alone that is wrong where a chunk begins, and decays that
are those of another step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.engines.own.loading import load_cell
from rnnspect.tracing.prepare import prepare
from tests.causes.delta_chunked import SHIFTED
from tests.causes.mlstm_chunked import AT_EDGES, BLOCKS, mlstm
from tests.marks import sampled

CELL = load_cell("examples/cells/mlstm.py:mlstm")
NAMES = {
    "zeros": "chunk-state-lost",
    "initial": "chunk-state-lost",
    "doubled": "chunk-state-doubled",
    "left out": "chunk-step-apart",
}
AT_AN_EDGE = [(kind, blocks) for kind in AT_EDGES for blocks in (*((one,) for one in BLOCKS), ("S", "m"))]
SHIFTED_IN = [(mistake, where) for mistake in SHIFTED for where in ("both", "read", "handed")]
EVERYWHERE = SHIFTED[:3]
"""Those that, made in both, have nothing to do with chunks."""


def checked(form: Callable[..., Any], steps: int = 21, **keys: Any) -> Verdict:
    """Of a network whose input gates are so far open that the normaliser counts."""
    given = {"input_size": 3, "hidden_size": 4, "c0": "randn", "seed": 5, "batch_first": True, **keys}
    spec = Spec(cell=CELL, **given)
    weights = prepare(spec, "zeros:1").parameters
    weights["bias_ih_l0"][20:22] += 2
    spec = spec.with_changes(weights={name: values.tolist() for name, values in weights.items()})
    return rnnspect.check(spec, f"randn:{steps}", engine=form)


@pytest.mark.parametrize("keys", [{}, {"dtype": "float64"}, {"batch": 2}], ids=str)
def test_a_right_one_agrees(keys: dict[str, Any]) -> None:
    assert checked(mlstm(8), **keys).agrees


@pytest.mark.slow
@pytest.mark.parametrize("keys", sampled([{"batch": 2, "seed": 6}, {}, {"dtype": "float64"}], 3), ids=str)
@pytest.mark.parametrize(("kind", "blocks"), sampled(AT_AN_EDGE, 12))
def test_blocks_that_are_wrong_where_a_chunk_begins(kind: str, blocks: tuple[str, ...], keys: dict[str, Any]) -> None:
    found = checked(mlstm(8, at_edges=kind, blocks=blocks), **keys)
    assert found.verdict == "differ"
    first = found.causes[0]
    said = first.name, first.parameters["from"], first.parameters["which"]
    assert said == (NAMES[kind], kind, ", ".join(blocks))
    assert (first.parameters["step"], first.parameters["every"]) == (8, 8)
    assert not first.left
    assert not found.indistinguishable


@pytest.mark.slow
def test_a_lost_normaliser_that_the_first_step_of_a_chunk_hides() -> None:
    """There |n·q| is below its limit, with the right n and with the wrong one."""
    found = checked(mlstm(8, at_edges="zeros", blocks=("n",)))
    assert found.first is not None
    assert found.first.step == 9
    assert found.causes[0].parameters["which"] == "n"
    assert found.causes[0].parameters["step"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("keys", sampled([{}, {"dtype": "float64"}, {"batch": 2, "c0": None}], 3), ids=str)
@pytest.mark.parametrize(("mistake", "where"), sampled(SHIFTED_IN, 12))
def test_decays_that_are_those_of_another_step(mistake: str, where: str, keys: dict[str, Any]) -> None:
    """The logarithms of which are added to m, too. From zeros the first one makes no difference."""
    found = checked(mlstm(8, mistake, where), **keys)
    assert found.verdict == "differ"
    first = found.causes[0]
    assert first.name == "decay-shifted"
    told = [cause.parameters["which"] for cause in found.causes if cause.parameters["in"] == where]
    assert mistake in (told if "c0" in keys else told[:1])
    assert first.parameters.get("every") == (None if where == "both" and mistake in EVERYWHERE else 8)
    assert not first.left
