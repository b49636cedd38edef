"""Final states h_n and c_n: whether they can be judged, and what a wrong one is instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.judging.case import Case
from rnnspect.judging.chunks import LayerRun, chunks
from rnnspect.judging.finding import PAST_USE
from rnnspect.judging.layer import LayerEquations
from rnnspect.judging.recorded_gates import ROWS
from rnnspect.network.spec import Spec

FinalKey = tuple[str, int, str]
"""h_n or c_n, layer, direction."""


class Lookalike(NamedTuple):
    """Another state of the run that equals a wrong final state: "that of layer 1", by its kind; and the largest ratio
    of difference to its own bound."""

    kind: str
    said: str
    ratio: float


_CLEAR = 4
"""To be another item's state, a state has to have a number that is so many limits away from the right one."""
_WORK = 2**28
"""How many comparisons of items with each other are made: they take about a second."""
_LISTED = 8
"""At most so many items are named one by one."""
LOST = "could not be checked: rounding, or an overflow of its dtype, could explain any value"


@dataclass(frozen=True)
class Expected:
    """A final state (B, ·) by the equations, how far that of a correct engine may be from it, the same one step
    earlier, and where a sum on the way to it may have left the range of its dtype."""

    value: Tensor
    bound: Tensor
    earlier: Callable[[], Tensor | None] = lambda: None
    overflow: Callable[[], Tensor | None] = lambda: None
    padded: Callable[[Tensor, Tensor | None], tuple[str, str, Tensor, Tensor] | None] = lambda _h_n, _c_n: None
    """From the engine's final h, and its cell state if wanted, to the additional steps that lead there, as in a
    `Lookalike`, and the state after these, with its error."""


def past_use(expected: Expected, limit: float) -> str | None:
    """Why a final state cannot be judged: most of its bounds are too wide. None where it can."""
    known = ~expected.value.isnan()
    coarse = is_coarse(expected, limit) & known
    if 2 * int(coarse.sum()) <= int(known.sum()):
        return None
    typical = float(expected.bound[known].nan_to_num(torch.inf, torch.inf).median())
    if typical == torch.inf:
        return LOST
    return f"could not be checked: even a correct one may be off by {typical:.2g}"


def overflowed(layer: LayerEquations, run: LayerRun) -> Tensor | None:
    """(B, H): where the cell state of some step may have been infinite, which h need not show; None if nowhere."""
    every = (layer.overflow(chunk.x, chunk.before, chunk.error) for chunk in chunks(run, ROWS))
    found = [lost.any(0) for lost in every if lost is not None]
    return torch.stack(found).any(0) if found else None


def is_coarse(expected: Expected, limit: float) -> Tensor:
    """(B, ·): where the bound is a large share of 1 and of the value (`PAST_USE`), or is not finite."""
    return ~expected.bound.isfinite() | (expected.bound > limit * expected.value.abs().clamp(min=1))


def meaning(
    case: Case,
    key: FinalKey,
    engine: Tensor,
    expected: Mapping[FinalKey, Expected],
    histories: Mapping[tuple[int, str], Tensor],
) -> Lookalike | None:
    """The other state of the run that equals a wrong final state (B, ·), if there is one: "that of layer 1"."""
    own = expected[key]
    bound = own.bound if own.bound.isfinite().all() else own.bound.nan_to_num(0).median()
    storage = torch.finfo(getattr(torch, case.spec.dtype)).eps * 4
    same = None
    for kind, said, value, error in _others(case, key, expected, histories):
        if value.shape != engine.shape:
            continue
        value = value.double()
        allowed = bound + value.abs() * storage + error
        ratio = torch.where(engine == value, 0, (engine - value).abs() / allowed)
        if bool((ratio <= 1).all()):
            same = Lookalike(kind, said, float(ratio.max()))
            break
    if same is not None and (same.kind != "zeros" or not bool(engine.any())):
        return same
    right = own.value.double()
    found = _of_other_items(engine, right, bound + right.abs() * storage)
    # Padding comes before nearly zero, which it may make of a state.
    return found or _padded(case, key, engine, own, storage) or same


def _padded(case: Case, key: FinalKey, engine: Tensor, own: Expected, storage: float) -> Lookalike | None:
    h_n = case.observation.h_n
    found = None if h_n is None else own.padded(h_n[case.spec.row(*key[1:])], engine if key[0] == "c_n" else None)
    if found is None:
        return None
    kind, said, value, error = found
    top = float(((engine - value).abs() / (error + value.abs() * storage)).max())
    return Lookalike(kind, said, top) if top <= 1 else None


def _of_other_items(engine: Tensor, right: Tensor, allowed: Tensor) -> Lookalike | None:
    """Whether items (B, ·) end with the states of other items."""
    batch = len(engine)
    if batch * right.numel() > _WORK or not bool(((engine - right).abs() > _CLEAR * allowed).any()):
        return None
    order, top = list[int](), 0.0
    for item, state in enumerate(engine):
        ratios = torch.where(state == right, 0, (state - right).abs() / allowed).amax(1)
        nearest = item if float(ratios[item]) <= 1 else int(ratios.argmin())
        order.append(nearest)
        top = max(top, float(ratios[nearest]))
    if not top <= 1 or order == list(range(batch)):
        return None
    said = f"items {', '.join(map(str, order))} in the places of {', '.join(map(str, range(batch)))}"
    if len(set(order)) == 1:
        said = f"item {order[0]} for all"
    elif batch > _LISTED:
        item = next(item for item, other in enumerate(order) if item != other)
        said = f"other items: that of item {order[item]} in the place of item {item}"
    return Lookalike("items", f"that of {said}", top)


def _others(
    case: Case, key: FinalKey, expected: Mapping[FinalKey, Expected], histories: Mapping[tuple[int, str], Tensor]
) -> Iterator[tuple[str, str, Tensor, Tensor | float]]:
    """Every other state of the run, as in a `Lookalike`: kind, words, and its value (B, ·), with its error where it was
    not recorded."""
    spec, sequence = case.spec, case.sequence
    name, layer, direction = key
    letter, own = name[0], (layer, direction)
    for (other, at_layer, way), one in expected.items():
        if other == name and (at_layer, way) != own and not bool(is_coarse(one, PAST_USE).any()):
            yield "elsewhere", f"that of {where(spec, at_layer, way)}", one.value, one.bound
    if name == "h_n" and own in histories:
        h, each = histories[own], torch.arange(sequence.batch)
        ends = sequence.step_counts()
        if direction == "forward":
            yield "begun", "h at step 0", h[0], 0.0
        else:
            yield "begun", "h at the last step of each item", h[ends - 1, each], 0.0
        if int(ends.min()) < sequence.steps:
            yield "padding", f"h at step {sequence.steps - 1}, beyond the end of shorter items", h[-1], 0.0
    if (earlier := expected[key].earlier()) is not None:
        yield "earlier", f"{letter} before the last step", earlier, 0.0
    if letter == "c":
        yield "squashed", "tanh(c)", torch.tanh(expected[key].value), 0.0
    yield "zeros", "zeros", torch.zeros_like(expected[key].value), 0.0
    state = sequence.h0 if letter == "h" else sequence.c0
    if state is not None:
        yield "initial", f"the initial state {letter}0", state[spec.row(layer, direction)], 0.0
    for (other, at_layer, way), one in expected.items():
        if other != name and not bool(is_coarse(one, PAST_USE).any()):
            yield other, f"{other} of {where(spec, at_layer, way)}", one.value, one.bound


def where(spec: Spec, layer: int, direction: str) -> str:
    """layer 1, or layer 1 reverse in a network of both directions."""
    return f"layer {layer} {direction}" if spec.bidirectional else f"layer {layer}"


def without_last(run: LayerRun) -> LayerRun | None:
    """The run without the step of each item that is processed last; None where an item has only one."""
    lengths = run.step_counts - 1
    if int(lengths.min()) < 1:
        return None
    return replace(run.take(slice(1, None)) if run.reverse else run, lengths=lengths)


def last(h: Tensor, lengths: Tensor | None, reverse: bool) -> Tensor:
    """(B, P): h (T, B, P) after the step of each item that is processed last."""
    if reverse or lengths is None:
        return h[0 if reverse else -1]
    return h[lengths - 1, torch.arange(h.shape[1])]


def before_last(run: LayerRun) -> Tensor | None:
    """(B, P): h after the step of each item that is processed last but one; None where an item has only one step."""
    ends = run.step_counts
    if int(ends.min()) < 2:
        return None
    return run.h[1] if run.reverse else run.h[ends - 2, torch.arange(len(ends))]
