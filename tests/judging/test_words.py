"""Each phrase that says where differences are, and how findings are joined."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from rnnspect import Spec
from rnnspect.judging import case as judging
from rnnspect.judging.chunks import Chunk
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.finding import Deviation, Finding, PlaceFinding, WrongValues, combine, side_by_side
from rnnspect.judging.observation import Observation
from rnnspect.judging.stack import Judged
from rnnspect.judging.words import verdict_of
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from tests.judging.cases import Case, judge, of_case, prepared

if TYPE_CHECKING:
    from rnnspect.judging.verdict import Verdict

STEPS = 20


def over(steps: Any, units: Any = range(8), items: Any = range(2)) -> WrongValues:
    u, b = torch.zeros(8, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    u[list(units)], b[list(items)] = True, True
    marked = torch.zeros(max(steps) - min(steps) + 1, dtype=torch.bool)
    marked[[step - min(steps) for step in steps]] = True
    return WrongValues(len(steps) * int(u.sum()) * int(b.sum()), min(steps), marked, u, b)


def finding(where: WrongValues | None, reverse: bool = False, gates: int = 4) -> Finding:
    first = None
    if where is not None:
        step = where.last_step if reverse else where.first_step
        order = STEPS - 1 - step if reverse else step
        first = Deviation(order, step, int(where.items.nonzero()[0]), int(where.units.nonzero()[0]), 0, 1, 0.1, 10)
    return Finding(STEPS, STEPS * 16, first, first, where, resolution=torch.full((gates, 8), 1e-6))


def verdict(*places: PlaceFinding, **spec: Any) -> Verdict:
    made = Spec(**({"cell": "lstm", "hidden_size": 8} | spec))
    sequence = Sequence(torch.zeros(STEPS, 2, 1), torch.zeros(0), None, None, True)
    seen = Observation(EngineInfo("", "", "", "float32"))
    return verdict_of(judging.Case(made, {}, sequence, seen, ARITHMETICS["float32"]), Judged(list(places)))


def pattern(*places: PlaceFinding, **spec: Any) -> str | None:
    return verdict(*places, **spec).pattern


def h(where: WrongValues | None, layer: int = 0, direction: str = "forward") -> PlaceFinding:
    return PlaceFinding(layer, direction, "h", finding(where, direction == "reverse"))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (over(range(STEPS)), "320 of 320 values"),
        (over(range(1, STEPS)), "from step 1 on (step 0 is right); 304 of 320 values"),
        (over(range(5, STEPS)), "from step 5 on (steps 0 to 4 are right); 240 of 320 values"),
        (over([5, STEPS - 1]), "2 steps between 5 and 19; 32 of 320 values"),
        (over([3]), "step 3 alone; 16 of 320 values"),
        (over([3], [4], [1]), "step 3 alone; unit 4; batch item 1; 1 of 320 values"),
        (over(range(STEPS), range(4, 8)), "units 4–7; 160 of 320 values"),
        (over(range(STEPS), [1, 4, 6]), "units 1, 4, 6; 120 of 320 values"),
    ],
)
def test_steps_units_items(where: WrongValues, said: str) -> None:
    assert pattern(h(where)) == said


def test_steps_that_items_meet_at_different_places_are_those_of_the_input() -> None:
    """In reverse an item of three steps meets steps 2, 1, 0, and one of two meets steps 1 and 0."""
    at, none = torch.tensor([[2, 1], [1, 0]]), torch.zeros(2, 2, 8)

    def wrong(start: int, stop: int, *where: tuple[int, int]) -> WrongValues:
        over = torch.zeros(2, 2, 8, dtype=torch.bool)
        for place, item in where:
            over[place, item] = True
        chunk = Chunk(0, none, none, none, at).cut(start, stop)
        found = WrongValues.of(chunk, over[start:stop])
        assert found is not None
        return found

    both = wrong(0, 2, (0, 0), (0, 1))
    assert (both.steps, both.first_step, both.last_step) == (2, 1, 2)
    said = pattern(h(None), h(both, direction="reverse"), bidirectional=True)
    assert said == "only the reverse direction; steps 1 to 2; 16 of 640 values"
    once = wrong(0, 1, (0, 1)).joined(wrong(1, 2, (1, 0)))
    assert (once.count, once.steps, once.first_step, once.last_step) == (16, 1, 1, 1)
    apart = wrong(0, 2, (0, 0), (1, 1))
    assert (apart.steps, apart.first_step, apart.last_step) == (2, 0, 2)


def test_steps_of_items_that_were_judged_apart_are_counted_once() -> None:
    parts = [replace(finding(over(steps)), resolution=torch.ones(1, 8)) for steps in ([1, 9], [4, 9])]
    found = side_by_side([(2, part) for part in parts])
    assert found.over is not None
    assert (found.over.steps, found.over.first_step, found.over.last_step) == (3, 1, 9)


def test_many_scattered_units() -> None:
    chosen = torch.zeros(40, dtype=torch.bool)
    chosen[::3] = True
    where = WrongValues(14, 0, torch.ones(STEPS, dtype=torch.bool), chosen, torch.ones(1, dtype=torch.bool))
    assert pattern(h(where)) == "14 of 40 units; 14 of 320 values"


def test_directions() -> None:
    both = {"bidirectional": True}
    said = pattern(h(None), h(over(range(5)), direction="reverse"), **both)
    assert said == "only the reverse direction; from step 4 down (later steps are right); 80 of 640 values"
    said = pattern(h(over(range(STEPS))), h(over(range(STEPS)), direction="reverse"), **both)
    assert said == "640 of 640 values"
    assert pattern(h(over(range(STEPS)), direction="reverse"), **both) == "320 of 320 values"  # the other was not seen


def test_layers() -> None:
    said = pattern(h(None), h(over(range(STEPS)), 1), h(None, 2), num_layers=3)
    assert said == "only layer 1; 320 of 960 values"
    said = pattern(h(over(range(STEPS))), h(None, 1), h(over([1]), 2), num_layers=3)
    assert said == "only layers 0, 2; 336 of 960 values"


def test_gates_and_c() -> None:
    places = [
        h(None),
        PlaceFinding(0, "forward", "f", finding(over([3], [2], [0]))),
        PlaceFinding(0, "forward", "i", finding(None)),
    ]
    assert pattern(*places) == "gate f; step 3 alone; unit 2; batch item 0; 1 of 960 values"
    c = PlaceFinding(0, "forward", "c", finding(over(range(3, 9), [2])))
    assert pattern(h(None), c) == "c from step 3 on; unit 2; 12 of 640 values"
    c = PlaceFinding(0, "reverse", "c", finding(over(range(3, 9), [2]), reverse=True))
    assert pattern(h(None, 0, "reverse"), c, bidirectional=True) == "c from step 8 down; unit 2; 12 of 640 values"


def test_the_quantity_that_is_computed_first_is_named_first() -> None:
    wrong = over([3], [2], [0])
    first = verdict(*(PlaceFinding(0, "forward", name, finding(wrong)) for name in ("h", "c", "f"))).first
    assert first is not None
    assert first.quantity == "f"


def test_what_is_computed_first_is_named_whatever_its_unit_is() -> None:
    units = {"h": 1, "c": 4, "o": 7}
    places = [PlaceFinding(0, "forward", name, finding(over([3], [unit], [0]))) for name, unit in units.items()]
    first, without_gate = verdict(*places).first, verdict(*places[:2]).first
    assert first is not None
    assert (first.quantity, first.unit) == ("o", 7)
    assert without_gate is not None
    assert (without_gate.quantity, without_gate.unit) == ("c", 4)
    earlier = verdict(PlaceFinding(0, "forward", "h", finding(over([2], [1], [0]))), *places[1:]).first
    assert earlier is not None
    assert (earlier.quantity, earlier.step) == ("h", 2)


@pytest.mark.parametrize(("given", "said"), [(math.nan, True), (math.inf, True), (1.0, False)])
def test_values_that_follow_from_what_is_not_finite_are_told(given: float, said: bool) -> None:
    """Whether it is the first one, or one of another item."""
    found = finding(over([0], [4], [1]))
    assert found.first is not None
    found = replace(found, worst=replace(found.first, engine=given), unjudged=15)
    following = (
        "step 0; unit 4; batch item 1; 15 more values cannot be checked, as they follow from one that is not finite"
    )
    alone = "step 0 alone; unit 4; batch item 1"
    for one in (found, replace(found, first=found.worst)):
        assert pattern(PlaceFinding(0, "forward", "h", one)) == f"{following if said else alone}; 1 of 320 values"


def drawn(rng: random.Random) -> Finding:
    where = None if rng.random() < 0.4 else over(sorted(rng.sample(range(STEPS), 3)), [rng.randrange(8)])
    seen = [Deviation(*(rng.randrange(5) for _ in range(4)), *(rng.random() for _ in range(4))) for _ in range(2)]
    resolution = torch.tensor([[rng.random() for _ in range(8)] for _ in range(4)])
    worst, first = rng.choice([None, seen[0]]), rng.choice([None, seen[1]])
    counts = rng.randrange(3), rng.randrange(3)
    return Finding(rng.randrange(9), rng.randrange(9), worst, first, where, *counts, resolution=resolution)


def same(a: Finding, b: Finding) -> bool:
    return str(a) == str(b)


def test_combine_is_associative() -> None:
    rng = random.Random(0)
    for _ in range(200):
        a, b, c = drawn(rng), drawn(rng), drawn(rng)
        assert same(combine(combine(a, b), c), combine(a, combine(b, c)))


def test_parts_judged_apart_are_joined() -> None:
    for kind in ("tanh", "gru"):
        case = Case(kind, torch.float32, 90, 2, 4, 5)
        module, run, u = prepared(case)
        run = replace(run, h=run.h.clone())
        run.h[50, 1, 3] += 1e-3
        whole = judge(case, of_case(case, module), run, u)
        parts = []
        for start, stop in itertools.pairwise((0, 20, 55, 90)):
            h0 = run.h[start - 1] if start else run.h0
            part = replace(run, x=run.x[start:stop], h=run.h[start:stop], h0=h0)
            parts.append(judge(case, of_case(case, module), part, u))
        joined = combine(combine(parts[0], parts[1]), parts[2])
        assert (joined.steps, joined.values, joined.unjudged) == (whole.steps, whole.values, whole.unjudged)
        assert joined.first is not None
        assert whole.first is not None
        assert joined.first.order + 20 == whole.first.order
        assert joined.first.ratio == pytest.approx(whole.first.ratio, rel=1e-4)
        assert joined.over is not None
        assert whole.over is not None
        assert joined.over.count == whole.over.count
        assert torch.equal(joined.over.units, whole.over.units)
