"""Explains final states that are wrong although every step is right, by which other state of the run was returned."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known import squashed
from rnnspect.causes.known.cell_clip import clipped_at_the_end
from rnnspect.causes.known.forms._final_states import blocks_at_the_end, decayed_at_the_end, steps_left_out
from rnnspect.causes.known.forms._last_chunk import GIVE, handed_at_the_end
from rnnspect.causes.known.forms.convolutions import kept_at_the_end
from rnnspect.causes.known.forms.exchanged import exchanged_at_the_end
from rnnspect.causes.known.lengths import BEFORE_THE_LAST, IN_PADDING, ended_elsewhere
from rnnspect.causes.known.order import MASK
from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.case import Case
from rnnspect.judging.final_states import Lookalike
from rnnspect.judging.stack import Judged
from rnnspect.judging.verdict import Explained, Explanation, Point

_Ends = Callable[[Assumption, Tensor], tuple[Cause, float] | None]
"""From a run and the final state that was returned to the mistake that gives it, and the largest ratio of difference to
limit that is left."""
_LOST = (
    "state-not-carried",
    "states",
    "the final state is {}: the state that the cell ended with was not returned",
    GIVE,
)
_EXCHANGED = (
    "h-c-exchanged",
    "states",
    "h and c are swapped: the final state is {}",
    "PyTorch, Keras and ONNX return (h, c); TensorFlow 1 and Flax return (c, h).",
)
_CAUSES = {
    "elsewhere": (
        "states-interleaved",
        "states",
        "the final states are not in the order layer by layer, forward before reverse: this final state is {}",
        "Order them as (layers × directions, batch, units); h_n.view(layers, directions, …) takes them apart.",
    ),
    "padding": (
        "padding-not-masked",
        "order",
        IN_PADDING,
        MASK,
    ),
    "padded": (
        "padding-not-masked",
        "order",
        "the final state is {}: the padding that fills the last chunk moves it",
        "Let padded steps keep the state (a decay of 1, nothing added), or return the state after the last step.",
    ),
    "twice": (
        "chunk-step-apart",
        "order",
        "the final state is {}: the last step is processed twice",
        "Return the state after the last step, each step processed once.",
    ),
    "items": (
        "batch-mixed",
        "order",
        "the final state is {}: items end with the states of others",
        "Put the final states back into the order of the batch, as after sorting it by length.",
    ),
    "reverse begun": (
        "reverse-not-realigned",
        "order",
        "the reverse direction's final state is taken at the last step, where that direction starts",
        "Take it at step 0; output[:, -1] is the final state of the forward direction only.",
    ),
    "begun": ("directions-exchanged", "order", "the final state is taken at the first step", GIVE),
    "earlier": ("shifted-by-one", "order", BEFORE_THE_LAST, GIVE),
    "squashed": (squashed.NAME, "squashed", "the final state is {}, not c", squashed.FIX),
    "zeros": _LOST,
    "initial": _LOST,
}
"""By the kind of a `Lookalike`: the mistake's name and family, its explanation and its fix."""


def means(judged: Judged, at: At) -> set[str]:
    """The names of the mistakes that explain the wrong final states of a layer and direction; "" stands for a state
    that none explains."""
    return {
        _cause(meaning, at[1])[0] if (meaning := judged.meanings.get((point.quantity, *at))) else ""
        for point in judged.finals
        if point.ratio > 1 and point.at == at
    }


def explain_finals(case: Case, judged: Judged) -> Explained:
    """Why final states are wrong in a run whose every step is right. A final state that equals no other state of the
    run has no cause."""
    by_name: dict[str, list[tuple[Point, Lookalike]]] = {}
    causes: list[Explanation] = []
    left: list[str] = []
    for point in judged.finals:
        if point.ratio <= 1:
            continue
        if meaning := judged.meanings.get((point.quantity, *point.at)):
            by_name.setdefault(_cause(meaning, point.direction)[0], []).append((point, meaning))
        elif (kept := _kept(case, judged, point)) is not None:
            causes.append(kept)
        else:
            left.append(_place(point))
    if left:  # a number near zero says nothing if other states are wrong for no known reason
        by_name = {name: some for name, found in by_name.items() if (some := _without_zeros(case, found))}
    for name, found in by_name.items():
        first, meaning = found[0]
        _, family, explanation, fix = _cause(meaning, first.direction)
        others = [_place(point) for other, there in by_name.items() if other != name for point, _ in there]
        before, after = max(point.ratio for point, _ in found), max(meaning.ratio for _, meaning in found)
        causes.append(
            Explanation(
                name, family, {"which": first.quantity}, explanation, fix, before, after,
                tuple(_place(point) for point, _ in found), (*others, *left),
            )
        )  # fmt: skip
    return Explained(tuple(_in_one(causes)))


def _in_one(causes: list[Explanation]) -> Iterator[Explanation]:
    """The same mistake in several final states once, with all of these."""
    same: dict[tuple[str, str], list[Explanation]] = {}
    for cause in causes:
        same.setdefault((cause.name, cause.explanation), []).append(cause)
    for first, *others in same.values():
        every = first, *others
        yield replace(
            first,
            worst_ratio_before=max(one.worst_ratio_before for one in every),
            worst_ratio_after=max(one.worst_ratio_after for one in every),
            scope=tuple(place for one in every for place in one.scope),
        )


def _without_zeros(case: Case, found: list[tuple[Point, Lookalike]]) -> list[tuple[Point, Lookalike]]:
    return [(point, meaning) for point, meaning in found if (of := _returned(case, point)) is None or bool(of.any())]


def _returned(case: Case, point: Point) -> Tensor | None:
    """The whole final state (B, ·) to which a point belongs, as the engine returned it; None where the engine returned
    none."""
    of = case.observation.c_n if point.quantity == "c_n" else case.observation.h_n
    return None if of is None else of[case.spec.row(*point.at)]


def _kept(case: Case, judged: Judged, point: Point) -> Explanation | None:
    """The mistake where the inputs that a convolution keeps are not the latest ones, where the last chunk hands on a
    wrong state, or where steps are missing in the state."""
    is_c = point.quantity == "c_n"
    if (state := _returned(case, point)) is None:
        return None
    assumed = judged.assumptions[point.at]
    tried = _ends(is_c, case.observation.c_n is not None, seen=point.at not in judged.estimated)
    looked = ((ends(assumed, state), family) for ends, family in tried)
    found, family = next(((one, family) for one, family in looked if one is not None), (None, ""))
    if found is None:
        return None
    cause, after = found
    where = (_place(point),)
    return Explanation(
        cause.name, family, cause.parameters, cause.explanation, cause.fix, point.ratio, after, where, ()
    )


def _ends(is_c: bool, has_c: bool, seen: bool) -> Iterator[tuple[_Ends, str]]:
    """The functions that explain a final state, in the order in which they are tried, each with the family of its
    mistakes. Which ones there are depends on whether the state is a cell state, whether the cell has one, and whether
    the steps before it were seen."""
    yield functools.partial(ended_elsewhere, which=int(is_c)), "lengths"
    if not seen:
        return
    if is_c:
        yield from (
            (kept_at_the_end, "convolutions"),
            (exchanged_at_the_end, "exchanged"),
            (blocks_at_the_end, "chunks"),
            (clipped_at_the_end, "cell_clip"),
        )
    if is_c or not has_c:
        yield handed_at_the_end, "carried"
    yield functools.partial(steps_left_out, which=int(is_c)), "chunks"
    if is_c or not has_c:
        yield decayed_at_the_end, "carried"


def _place(point: Point) -> str:
    return f"{point.quantity} of layer {point.layer} {point.direction}"


def _cause(meaning: Lookalike, direction: str) -> tuple[str, str, str, str]:
    """Name, family, explanation and fix of a mistake that returned another state of the run."""
    kind = "reverse begun" if (meaning.kind, direction) == ("begun", "reverse") else meaning.kind
    name, family, explanation, fix = _CAUSES.get(kind, _EXCHANGED)
    return name, family, explanation.format(meaning.said), fix
