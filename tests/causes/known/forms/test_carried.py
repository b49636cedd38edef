"""Decays that are wrong in a form that computes a chunk of steps at once, planted in such forms in torch."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor
from torch.nn.functional import pad

import rnnspect
from rnnspect import Spec, Verdict
from tests.causes.carried import AT_EDGES, EVERYWHERE, MISTAKES, NAMED, OF_STEPS, TERMS, carried, cell_of
from tests.causes.own_cells import READING
from tests.marks import sampled

CONSTANT = ("retnet", "lru")
"""Cells whose decays are the same at each step, so that it makes no difference which of them is left out or twice in a
product."""
IN_CHUNKS = ("earlier in its chunk", "later in its chunk")
SHIFTED = (*EVERYWHERE, *IN_CHUNKS)
FROM_ZEROS, FROM_DRAWN = {}, {"h0": "randn", "c0": "randn"}


def checked(cell: str, mistake: str, where: str = "both", **keys: Any) -> Verdict:
    given = {"input_size": 3, "hidden_size": 6, "input": "randn:27", **keys}
    if not cell_of(cell).has_cell_state:
        given.pop("c0", None)
    return rnnspect.check(Spec(cell=cell_of(cell), **given), engine=carried(cell, 8, mistake, where))


def told(found: Verdict, cell: str, mistake: str, where: str) -> dict[str, Any]:
    """What is said of the mistake, which comes first where decays differ."""
    assert found.verdict == "differ"
    name = NAMED.get(mistake, "chunk-decay-apart")
    made = [(one.name, one.parameters.get("which"), one.parameters.get("in")) for one in found.causes]
    assert (name, mistake, where) in (made if cell in CONSTANT else made[:1])
    cause = found.causes[made.index((name, mistake, where))]
    assert not cause.left
    return cause.parameters


BEGUN = [
    pytest.param(cell, FROM_DRAWN if n % 2 else FROM_ZEROS, id=f"{cell} from {'drawn states' if n % 2 else 'zeros'}")
    for n, cell in enumerate(TERMS)
]
"""Half of the cells begin with zeros, half with states that are drawn."""


@pytest.mark.slow
@pytest.mark.each_value_once
@pytest.mark.parametrize(("cell", "state"), BEGUN)
@pytest.mark.parametrize("where", ["both", "read", "handed"])
@pytest.mark.parametrize("mistake", OF_STEPS)
def test_a_mistake_of_each_step(cell: str, mistake: str, where: str, state: dict[str, Any]) -> None:
    found = checked(cell, mistake, where, **state)
    everywhere = (mistake, where) in [
        ("itself", "both"),
        ("all but its own", "read"),
    ]  # it has nothing to do with chunks
    said = told(found, cell, mistake, "both" if everywhere else where)
    if everywhere:
        assert "step" not in said
    else:
        assert (said["step"], said["every"]) == (8, 8)


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "state"), BEGUN)
@pytest.mark.parametrize("where", ["both", "read"])
@pytest.mark.parametrize("mistake", AT_EDGES)
def test_a_mistake_of_the_first_step_of_a_chunk(cell: str, mistake: str, where: str, state: dict[str, Any]) -> None:
    said = told(checked(cell, mistake, where, **state), cell, mistake, where)
    assert (said["step"], said["every"]) == (8, 8)


@pytest.mark.slow
@pytest.mark.parametrize("state", [FROM_ZEROS, FROM_DRAWN], ids=["from zeros", "from drawn states"])
@pytest.mark.parametrize("cell", TERMS)
def test_the_state_before_a_chunk_that_is_not_handed_on(cell: str, state: dict[str, Any]) -> None:
    mistake = "all but the last chunk"
    assert told(checked(cell, mistake, "handed", **state), cell, mistake, "handed")["every"] == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys", [{"batch": 3}, {"dtype": "float64"}, {"input": "randn:9"}, {"input": "randn:3"}], ids=str
)
@pytest.mark.parametrize("cell", TERMS)
def test_other_runs(cell: str, keys: dict[str, Any]) -> None:
    """Of which one has a single chunk."""
    said = told(checked(cell, "itself", **FROM_DRAWN, **keys), cell, "itself", "both")
    assert "step" not in said
    if keys.get("input") != "randn:3":
        said = told(checked(cell, "every", **FROM_DRAWN, **keys), cell, "every", "both")
        assert said["step"] == 8


@pytest.mark.parametrize("cell", TERMS)
def test_a_right_run_is_given_no_cause(cell: str) -> None:
    assert checked(cell, "", **FROM_DRAWN).agrees


@pytest.mark.each_value_once
@pytest.mark.parametrize("mistake", ["its own", "every", "added", "all but the last chunk"])
@pytest.mark.parametrize("cell", TERMS)
def test_what_the_last_chunk_hands_on(cell: str, mistake: str) -> None:
    """Every step is right."""
    (cause,) = checked(cell, mistake, "last", **FROM_DRAWN).causes
    assert cause.name == NAMED.get(mistake, "chunk-decay-apart")
    assert cause.parameters == {"from": mistake, "step": 24}


@pytest.mark.parametrize("cell", [cell for cell in TERMS if cell_of(cell).has_cell_state])
def test_steps_that_fill_the_last_chunk_and_move_the_cell_state_alone(cell: str) -> None:
    right = carried(cell, 8)

    def engine(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        output, (h, _) = right(x, state, parameters)
        _, (_, c) = right(pad(x, (0, 0, 0, 5)), state, parameters)
        return output, (h, c)

    spec = Spec(cell=cell_of(cell), input_size=3, hidden_size=6, input="randn:19", c0="randn")
    (cause,) = rnnspect.check(spec, engine=engine).causes
    assert cause.name == "padding-not-masked"
    assert "that after 5 steps of zeros more" in cause.explanation


def test_every_mistake_is_planted() -> None:
    assert {*OF_STEPS, *AT_EDGES, "all but the last chunk", "none", *IN_CHUNKS, ""} == set(MISTAKES)


@pytest.mark.each_value_once
@pytest.mark.parametrize("state", [FROM_ZEROS, FROM_DRAWN], ids=["from zeros", "from drawn states"])
@pytest.mark.parametrize("mistake", SHIFTED)
@pytest.mark.parametrize("cell", [cell for cell in TERMS if cell not in CONSTANT])
def test_decays_that_are_those_of_another_step(cell: str, mistake: str, state: dict[str, Any]) -> None:
    """From zeros the first decay makes no difference."""
    found = checked(cell, mistake, **state)
    causes = [one for one in found.causes if one.name == "decay-shifted"]
    assert found.causes[0].name == "decay-shifted"
    assert mistake in [one.parameters["which"] for one in causes]
    assert ("every" in causes[0].parameters) == (mistake in IN_CHUNKS)


@pytest.mark.parametrize("cell", CONSTANT)
def test_decays_that_are_all_the_same_are_not_called_shifted(cell: str) -> None:
    found = checked(cell, "earlier in its chunk", **FROM_DRAWN)
    assert "chunk-decay-apart" in [one.name for one in found.causes]
    assert "decay-shifted" not in [one.name for one in found.causes]


@pytest.mark.parametrize("cell", sampled(TERMS, 3))
def test_a_state_that_is_never_decayed(cell: str) -> None:
    """From zeros it is as if what steps add were not decayed."""
    assert checked(cell, "none", **FROM_DRAWN).causes[0].parameters["which"] == "none"
    assert checked(cell, "none", **FROM_ZEROS).causes[0].parameters["which"] == "added"


def never_decayed(x: Tensor, state: Any) -> Any:
    """`READING` without its decays."""
    _f, v, q = x.chunk(3, -1)
    c = state[1][0][:, None] + v.cumsum(1)
    return q * c, ((q * c)[:, -1][None], c[:, -1][None])


@pytest.mark.parametrize("state", [FROM_ZEROS, FROM_DRAWN], ids=["from zeros", "from drawn states"])
def test_a_gate_that_only_decays_need_not_be_seen(state: dict[str, Any]) -> None:
    """Where the mistake is made it makes no difference, so that no input would show it."""
    spec = Spec(cell=READING, input_size=12, hidden_size=4, seed=3, batch_first=True, input="randn:20", **state)
    found = rnnspect.check(spec, engine=never_decayed)
    assert isinstance(found, Verdict)
    assert found.causes[0].name == "decay-left-out"
