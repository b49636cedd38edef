"""The thresholds that keep a mistake from being named by chance, each with a run just on either side of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from rnnspect.causes.search import hypotheses
from rnnspect.causes.search.effort import Effort
from rnnspect.causes.search.hypotheses import Search, _After
from rnnspect.causes.search.would_agree import comes_nearer, shows_enough
from rnnspect.judging.finding import Deviation, Finding, PlaceFinding, WrongValues
from rnnspect.judging.stack import Judged
from tests.causes.test_equal_changes import AT, case_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def deviation(ratio: float, engine: float = 1.0) -> Deviation:
    return Deviation(0, 0, 0, 0, 0.0, engine, 1.0, ratio)


def judged(ratio: float, count: int = 1) -> Judged:
    """A run in which so many values are wrong, at most by so many times the bound."""
    one, some = deviation(ratio), torch.ones(1, dtype=torch.bool)
    found = Finding(1, 9, one, one, WrongValues(count, 0, some, some, some), resolution=torch.zeros(1, 1))
    made: Any = SimpleNamespace(seen=False)  # nothing is asked of a run that was not observed
    return Judged([PlaceFinding(*AT, "h", found)], assumptions={AT: made})


@pytest.mark.parametrize(
    ("bits", "count", "enough"), [(8.9, 1, False), (9.1, 1, True), (4.4, 2, False), (4.6, 2, True), (0.1, 3, True)]
)
def test_one_or_two_wrong_values_name_a_mistake_only_where_they_say_more_than_nine_bits(
    bits: float, count: int, enough: bool
) -> None:
    assert shows_enough(judged(2.0**bits, count), [AT]) is enough


@pytest.mark.parametrize(("left", "nearer"), [(0.49, True), (0.51, False)])
def test_a_mistake_leaves_at_most_half_of_the_largest_difference(left: float, nearer: bool) -> None:
    values = SimpleNamespace(v=torch.full((1, 1, 1), 1 - left))
    chunk = SimpleNamespace(after=torch.ones(1, 1, 1), inside=torch.ones(1, 1, dtype=torch.bool))
    compared = SimpleNamespace(chunk=chunk, q={"h": values})
    equations = SimpleNamespace(compared=lambda _run, _rows: [compared])
    with_it: Any = SimpleNamespace(assumptions={AT: SimpleNamespace(equations=equations, run=None)})
    assert comes_nearer(judged(100), with_it, AT) is nearer


@pytest.mark.parametrize(("share", "explained"), [(0.49, True), (0.51, False)])
def test_a_mistake_leaves_at_most_half_of_the_largest_ratio(
    monkeypatch: pytest.MonkeyPatch, share: float, explained: bool
) -> None:
    case, found = case_of(cell="gru")
    search = Search(case, found, Effort(None))
    place = found.places[0]
    assert place.finding.worst is not None
    left = replace(place.finding.worst, ratio=share * place.finding.worst.ratio)
    righted = replace(found, places=[replace(place, finding=replace(place.finding, worst=left, first=None, over=None))])
    monkeypatch.setattr(search._again, "whole", lambda *_args, **_keys: righted)
    monkeypatch.setattr(hypotheses, "comes_nearer", lambda *_: True)
    (cause, *_) = search._again.catalogue(AT).values()
    assert (search._after((cause,), [AT], AT) is not None) is explained


@pytest.mark.parametrize(("times", "first"), [(2.9, "likely"), (3.1, "near")])
def test_the_likelier_mistake_comes_first_unless_it_leaves_three_times_as_much(
    monkeypatch: pytest.MonkeyPatch, times: float, first: str
) -> None:
    search = Search(*case_of(cell="gru"), Effort(None))
    (cause, *_) = search._again.catalogue(AT).values()

    def survivors(_at: object) -> Iterator[Any]:
        for name, ratio in (("likely", 0.1 * times), ("near", 0.1)):
            yield (replace(cause, name=name),), _After(100.0, ratio, [AT], [], [])

    monkeypatch.setattr(search, "_survivors", lambda at: list(survivors(at)))
    assert search.explained().causes[0].name == first
