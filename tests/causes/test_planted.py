"""Each mistake, made by a plain loop, is named; right runs and mistakes that nobody knows are given no name."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rnnspect.views import documents
from tests.causes.loops import Flags
from tests.causes.mistakes import BASIC, MISTAKES, Setting
from tests.causes.pairs import pairs
from tests.causes.planted import Case, Planted, cases, judged, outcome, told
from tests.marks import sampled

NOT_YET: set[str] = set()
"""Mistakes that a check does not name: an id for all its variants, or an id and a variant."""
NOT_FROM_THE_OUTPUT = {"float16-sums", "state-rounded", "state-updated-in-place"}
"""Ids that are named where every layer was recorded, and not where the lowest of two was not: errors of sums look like
any small error of the layer below, a state is rounded up or down by less than is known of it there, and an h that was
not recorded tells nobody which units saw which h."""

NAMED = [mistake for mistake in MISTAKES if not {mistake.id, str(mistake)} & NOT_YET]
FLAGS = {mistake.id: mistake.flags for mistake in reversed(MISTAKES)}  # of the first variant


def _sample() -> list[Case]:
    """Each mistake in each of its cells once, in one setting after another."""
    by_cell: dict[tuple[str, str], list[Case]] = {}
    for case in cases():
        if case.mistake in NAMED and not case.setting.zero_biases:
            by_cell.setdefault((str(case.mistake), case.setting.kind), []).append(case)
    return [settings[at % len(settings)] for at, settings in enumerate(by_cell.values())]


@pytest.mark.parametrize("case", sampled(_sample(), 20), ids=str)
def test_a_planted_mistake_is_named(case: Case) -> None:
    assert told(case)
    verdict = case.planted.check(case.recorded)
    assert verdict.verdict == "differ"
    assert verdict.causes, verdict.pattern
    assert judged(case, tuple(cause.name for cause in verdict.causes)) != "wrong"
    named = next(cause for cause in verdict.causes if cause.name == case.mistake.id)
    assert named.worst_ratio_after <= 1 < named.worst_ratio_before
    assert named.left == ()
    if case.mistake.id == "gate-order":
        order, _, which = case.mistake.variant.partition(":")[0].partition(" in ")
        read = {"unit": "gate", "gate": "unit"}.get(case.mistake.flags.get("packed by", ""))
        more = {"in": which} if which else {"read by": read} if read else {}
        assert named.parameters == {"order": " ".join(order)} | more


def _first_of_two_layers() -> list[Case]:
    """Each id once, in the first of its cells and settings that has two layers."""
    first: dict[str, Case] = {}
    for case in cases():
        if case.setting.layers == 2 and case.mistake in NAMED and case.mistake.id not in NOT_FROM_THE_OUTPUT:
            first.setdefault(case.mistake.id, case)
    return list(first.values())


@pytest.mark.campaign
@pytest.mark.parametrize("case", _first_of_two_layers(), ids=str)
def test_a_mistake_in_both_layers_is_named_where_the_lower_one_was_not_recorded(case: Case) -> None:
    assert told(case)
    shown = {name: value for name, value in case.recorded.items() if name in ("output", "h_n", "c_n")}
    verdict, names = case.planted.named(shown)
    assert verdict == "differ"
    assert judged(case, names) != "wrong"


@pytest.mark.campaign
def test_at_least_98_in_100_of_all_that_can_be_told_are_named_first() -> None:
    answers: Counter[str] = Counter()
    wrong = []
    for case in filter(told, cases()):
        verdict, names = outcome(case)
        assert verdict == "differ", f"{verdict}: {case}"
        if case.mistake in NAMED:
            answer = judged(case, names)
            answers[answer] += 1
            if answer == "wrong":
                wrong.append(f"{case}: {names}")
    assert answers["right"] >= 0.98 * (answers["right"] + answers["wrong"]), "\n".join(wrong)


@pytest.mark.campaign
@pytest.mark.skipif("pairs" in NOT_YET, reason="pairs are not named yet")
def test_two_mistakes_at_once_are_both_named() -> None:
    missed = []
    for pair in pairs():
        verdict, names = pair.planted.named(pair.recorded)
        assert verdict == "differ", f"{verdict}: {pair}"
        if not pair.both_named(names):
            missed.append(f"{pair}: {names}")
    assert not missed, "\n".join(missed)


@pytest.mark.each_value_once
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("kind", "proj"), [("rnn", 0), ("gru", 0), ("gru-before", 0), ("lstm", 0), ("lstm", 3)])
def test_a_right_run_is_given_no_cause(kind: str, proj: int, layers: int, directions: int, packed: bool) -> None:
    planted = Planted(Setting(kind, layers, directions, proj=proj, packed=packed))
    verdict = planted.check(planted.run({}))
    assert verdict.agrees
    assert verdict.causes == ()


@pytest.mark.parametrize("kind", BASIC)
def test_a_mistake_in_one_of_two_layers_is_named_with_its_layer(kind: str) -> None:
    planted = Planted(Setting(kind, 2, 1))
    verdict = planted.check(planted.run({}, FLAGS["recurrent-kernel-transposed"]))
    assert [cause.name for cause in verdict.causes] == ["recurrent-kernel-transposed"]
    assert verdict.causes[0].scope == ("layer 1 forward",)


def test_a_mistake_in_both_layers_is_named_with_both() -> None:
    planted = Planted(Setting("gru", 2, 1))
    verdict = planted.check(planted.run(FLAGS["gru-mix-flipped"]))
    assert verdict.causes[0].scope == ("layer 0 forward", "layer 1 forward")


@pytest.mark.parametrize("kind", BASIC)
def test_one_initial_state_for_both_directions_of_one_layer_is_named(kind: str) -> None:
    planted = Planted(Setting(kind, 1, 2))
    (cause,) = planted.check({"output": planted.run({"states of the first": 1})["output"]}).causes
    assert (cause.name, cause.parameters) == ("state-shared", {"rows": "the first row"})
    assert cause.explanation.startswith("both directions begin with the first row of h0")


@pytest.mark.slow
def test_a_mistake_that_accounts_for_one_layer_only_says_so() -> None:
    planted = Planted(Setting("lstm", 2, 1))
    verdict = planted.check(planted.run(FLAGS["gate-order"], FLAGS["hard-sigmoid"]))
    assert verdict.causes[0].name == "gate-order"
    assert verdict.causes[0].parameters == {"order": "i o f g"}
    assert "onnx" in verdict.causes[0].explanation
    assert verdict.causes[0].left == ("layer 1 forward",)


@pytest.mark.slow
@pytest.mark.parametrize("parameter", ["weight_ih_l0", "weight_hh_l1", "bias_hh_l1_reverse"])
@pytest.mark.parametrize("kind", BASIC)
def test_what_is_no_known_mistake_is_given_no_name(kind: str, parameter: str) -> None:
    planted = Planted(Setting(kind, 2, 2))
    spec = planted.spec  # of the parameters as they are
    changed = planted.net.parameters[parameter]
    changed.flat[changed.size // 2] += np.float32(0.25)
    verdict = planted.check(planted.run({}))
    assert planted.spec is spec
    assert verdict.verdict == "differ"
    assert verdict.causes == ()
    assert verdict.pattern


@pytest.mark.each_value_once
@pytest.mark.parametrize(
    ("flags", "name", "parameters"),
    sampled(
        [
            ({"x moved": "late, zeros"}, "shifted-by-one", {"when": "late", "what": "the input", "first": "zeros"}),
            (
                {"x moved": "early, its own"},
                "shifted-by-one",
                {"when": "early", "what": "the input", "last": "its own"},
            ),
            ({"x turned": True}, "reverse-not-realigned", {"what": "the input"}),
            ({"items turned": True}, "batch-mixed", {"what": "the items"}),
            ({"an item twice": True}, "batch-mixed", {"what": "the items"}),
            ({"x times": 0.8}, "input-scaled", {"factor": 0.8}),
            ({"items in a row": True}, "state-left-over", {"from": "the item before"}),
            ({"calls of": 3}, "chunk-state-lost", {"from": "zeros", "which": "every layer", "every": 3, "step": 3}),
        ],
        3,
    ),
)
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_what_is_wrong_in_every_layer_is_named_from_the_output_alone(
    kind: str, flags: Flags, name: str, parameters: dict[str, object]
) -> None:
    planted = Planted(Setting(kind, 2, 1))
    verdict = planted.check({"output": planted.run(flags)["output"]})
    assert [(cause.name, cause.parameters) for cause in verdict.causes] == [(name, parameters)]


@pytest.mark.parametrize(("steps", "batch", "other"), [(1, 9, "state-left-over"), (9, 1, "state-not-carried")])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_exchanged_axes_of_which_one_is_1_are_named(kind: str, steps: int, batch: int, other: str) -> None:
    """A batch of one that was recorded the other way round is a loop over items that hands its state on: by far the
    more common mistake is that of the axes. Steps taken for items are a state that is not carried."""
    planted = Planted(Setting(kind, 1, 1, steps=steps, batch=batch, from_zero=True))
    verdict = planted.check({"output": planted.run({"axes exchanged": True})["output"]})
    assert verdict.causes[0].name == ("time-batch-exchanged" if batch > 1 else other)
    assert {cause.name for cause in verdict.causes} == {"time-batch-exchanged", other}
    assert set(verdict.indistinguishable[0]) == {"time-batch-exchanged", other}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["time-batch-exchanged", "recurrent-kernel-transposed"])
@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("kept", [["output", "l0.forward.h"], ["output", "l0.forward.h", "l1.forward.h"]])
def test_mistakes_are_named_whatever_the_order_of_a_layers_axes(name: str, time_first: bool, kept: list[str]) -> None:
    """With as many steps as items nothing says which it is, and a wrong run is wrong in both."""
    planted = Planted(Setting("gru", 2, 1, batch=6, steps=6, from_zero=True))
    found = planted.run(FLAGS[name])
    given = {key: found[key].swapaxes(0, 1) if time_first and key[0] == "l" else found[key] for key in kept}
    verdict = planted.check(given)
    assert [cause.name for cause in verdict.causes] == [name]
    read = "(step, batch, unit)" if time_first else "(batch, step, unit)"
    assert any(f"read as {read}; " in note for note in verdict.notes)


def test_mistakes_that_give_the_same_numbers_are_all_told() -> None:
    planted = Planted(Setting("gru", 1, 1), seed=3)
    planted.net.parameters["bias_ih_l0"][:] = 0
    verdict = planted.check(planted.run({"biases": "no hh"}))
    names = {cause.name for cause in verdict.causes}
    assert "bias-dropped" in names
    document = documents.check_document(verdict)
    assert set(document["indistinguishable"][0]) == names
    dropped = {cause["parameters"]["which"] for cause in document["causes"] if cause["name"] == "bias-dropped"}
    assert dropped == {"bias_hh", "both biases"}
