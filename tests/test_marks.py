"""Of what the README's suite leaves out of a test, each value of each parameter is still run; CI runs more of it."""

from __future__ import annotations

import itertools

import pytest

from tests.marks import a_part, covered, covering, sampled, thin


def test_all_that_occurs_is_kept_in_as_few_cases_as_the_longest_parameter_has_values() -> None:
    cases = [{f"a{a}", f"b{b}", f"c{c}"} for a, b, c in itertools.product(range(3), range(2), range(4))]
    kept = covering(cases)
    assert len(kept) == 4
    assert set().union(*(cases[at] for at in kept)) == set().union(*cases)


def test_what_occurs_in_one_case_alone_is_not_lost() -> None:
    assert covering([{"a0", "b0"}, {"a1", "b0"}, {"a1", "b1"}]) == {0, 2}
    assert covering([]) == set()


def test_of_values_as_many_are_run_as_show_all_that_is_asked_for() -> None:
    found = covered(["ab", "a", "bc", "c"], set)
    assert [value if isinstance(value, str) else value.values[0] for value in found] == ["ab", "a", "bc", "c"]
    assert [isinstance(value, str) for value in found] == [True, False, True, False]


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("layers", sampled([1, 2, 3, 4], 2))
def test_what_is_left_out_is_slow(kind: str, layers: int, request: pytest.FixtureRequest) -> None:
    """Of 12 cases 6 were slow before. Each kind and each number of layers needs 3 of the others."""
    cases = [one for one in request.session.items if getattr(one, "originalname", "") == request.node.originalname]
    run = [one for one in cases if not one.get_closest_marker("slow")]
    assert len(run) <= 3
    if len(run) == 3:  # not one of them alone, by its name
        assert {one.callspec.params["kind"] for one in run} == {"rnn", "gru", "lstm"}
        assert {one.callspec.params["layers"] for one in run} == {1, 3}
    thin(cases)
    assert run == [one for one in cases if not one.get_closest_marker("slow")]


def test_of_slow_cases_a_part_is_run_by_ci_with_every_value_of_parameters() -> None:
    cases = [f"test[{cell}-{how}-{n}]" for cell, how, n in itertools.product("abc", "defg", range(3))]
    kept = a_part(cases, 4)
    assert len(kept) == len(cases) / 4
    assert {letter for one in kept for letter in one[5:-1]} == set("abcdefg012-")
    assert a_part(cases[:1], 4) == set(cases[:1])
