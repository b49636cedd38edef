"""Mistakes in a causal convolution over steps, whose last inputs are blocks of the cell state: in which of them a chunk
of steps, or a later call, begins with, and in the order of the weights.

Which blocks these are is seen from the lines of the cell (`_delay_lines.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import edges_of, forwards, where_of
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, Inexact, begun_anew, first_that_stands, zeros
from rnnspect.causes.known.forms._delay_lines import DelayLine, delay_lines
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.stack import unchanged

_KEPT, _THERE = "the inputs kept in {line} are ", " {where}, where a chunk or a later call begins"
_ALL = "Begin each chunk, and each later call, with the last {count} inputs before it: the newest in {newest}."
_WORDS = {
    "zeros": ("conv-state-lost", f"{_KEPT}lost{_THERE}: they are zeros", _ALL),
    "initial": ("conv-state-lost", f"{_KEPT}lost{_THERE}: they are the initial ones again", _ALL),
    "reversed": ("conv-state-reversed", f"{_KEPT}in reverse order{_THERE}", _ALL),
    "left out": ("conv-step-apart", f"{_KEPT}one step old{_THERE}: the last one before it is missing", _ALL),
    "twice": ("conv-step-apart", f"{_KEPT}one step ahead{_THERE}: the last one before it is there twice", _ALL),
    "wrong end": (
        "conv-state-misaligned",
        f"{_KEPT}at the wrong end{_THERE}, after fewer steps than they are: zeros take the place of the newest",
        "Fill up a short call with zeros on the side of its older steps, so that its last input is in {newest}.",
    ),
}


def _wrong_end(at: HandingOn, right: list[Inexact]) -> list[Inexact]:
    steps = min(at.stop - at.start, len(right))
    return [*zeros(right[steps:]), *right[:steps]]


_CHANGED: dict[str, Callable[[HandingOn, list[Inexact], DelayLine], list[Inexact]]] = {
    "zeros": lambda _at, right, _line: list(zeros(right)),
    "initial": lambda at, _right, line: _inputs(at, at.first, line),
    "reversed": lambda _at, right, _line: right[::-1],
    "left out": lambda at, _right, line: _inputs(at, at.without_last, line),
    "twice": lambda _at, right, _line: [right[0], *right[:-1]],
    "wrong end": lambda at, right, _line: _wrong_end(at, right),
}
"""By mistake: a function of where a chunk ends and of the right inputs, the newest first, to the inputs that an engine
with the mistake has."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    lines = delay_lines(assumed.cell)
    for line in lines:
        if line.weights:
            yield _turned_round(assumed, line)
    if not lines or not forwards(assumed):
        return
    for edges in edges_of(assumed):
        where, parameters = where_of(edges, assumed.run.x.shape[0])
        for made_in in dict.fromkeys([lines, *((line,) for line in lines)]):
            for kind in _kinds(assumed, made_in, edges[0]):
                wrong = functools.partial(_begun_with, lines=made_in, kind=kind)
                change = functools.partial(begun_anew, edges=edges, wrong=wrong)
                yield _told(kind, made_in, where, change, parameters)


def kept_at_the_end(assumed: Assumption, c_n: Tensor) -> tuple[Cause, float] | None:
    """The mistake that gives this final cell state (B, ·) after right steps, and the largest ratio of difference to
    limit that is left."""
    lines, run = delay_lines(assumed.cell), assumed.run
    if not lines or run.reverse or run.lengths is not None:
        return None
    at = HandingOn.at_the_end(assumed)
    kinds = _kinds(assumed, lines, run.x.shape[0])
    tried = ((_told(kind, lines, "in c_n", unchanged, {}), _begun_with(at, lines, kind)[1]) for kind in kinds)
    return first_that_stands(assumed, at.right[1][0], c_n, tried)


def _told(
    kind: str,
    lines: tuple[DelayLine, ...],
    where: str,
    change: Callable[[Assumption], Assumption],
    parameters: dict[str, int],
) -> Cause:
    names = listed(name for line in lines for name in line.names)
    newest = listed(line.names[0] for line in lines)
    said = {"line": names, "where": where, "count": _longest(lines), "newest": newest}
    name, explanation, fix = _WORDS[kind]
    which = {"from": kind, "which": names, **parameters}
    return Cause(name, explanation.format(**said), fix.format(**said), change, which)


def _longest(lines: tuple[DelayLine, ...]) -> int:
    return max(len(line.blocks) for line in lines)


def _kinds(assumed: Assumption, lines: tuple[DelayLine, ...], first: int) -> Iterator[str]:
    """The mistakes that change a number in this run, if its first chunk has `first` steps."""
    longest = _longest(lines)
    begun = assumed.run.c0 is not None and bool(assumed.run.c0.any())
    for kind in _WORDS:
        is_one = {"initial": begun, "reversed": longest > 1, "twice": longest > 1, "wrong end": first < longest}
        if is_one.get(kind, True):
            yield kind


def _begun_with(at: HandingOn, lines: tuple[DelayLine, ...], kind: str) -> Handed:
    changed: dict[int, Inexact] = {}
    for line in lines:
        inputs = _CHANGED[kind](at, _inputs(at, at.right, line), line)
        changed |= dict(zip(line.blocks, inputs, strict=True))
    return at.with_blocks(changed)


def _inputs(at: HandingOn, handed: Handed, line: DelayLine) -> list[Inexact]:
    """The inputs that a delay line keeps in these states, the newest first."""
    blocks = at.blocks(handed)
    return [blocks[block] for block in line.blocks]


def _turned_round(assumed: Assumption, line: DelayLine) -> Cause:
    own, turned = dict(assumed.p.own), line.weights[::-1]
    changed: dict[str, Any] = {name: own[other] for name, other in zip(line.weights, turned, strict=True)}
    return Cause(
        "conv-weights-reversed",
        f"the weights of the convolution are in reverse order: {listed(turned)} are used as {listed(line.weights)}",
        "Turn the weights round, in the engine or in the file: torch's Conv1d has that of the newest step last.",
        functools.partial(Assumption.with_parameters, **changed),
        {"weights": " ".join(line.weights)},
    )
