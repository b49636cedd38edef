"""A wrong state where a chunk of steps begins, in what the steps of the chunk read alone, or in what the chunk hands on
alone: a form that computes a chunk at once multiplies the state before it in two places. Where it is wrong in both,
`chunks.py` and `carried.py` say so."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import Edges, edges_of, few_in_order, not_far, steps_over, where_of
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, goes_on, with_each, zeros
from rnnspect.causes.known.forms._chunk_sums import added_up, decayed
from rnnspect.causes.known.forms._decay_words import CARRY, DROPPED, HANDED, LEFT, ONCE, PLACES, READ, TWICE, WORDS
from rnnspect.causes.known.forms._parted_cell import InParts, in_parts
from rnnspect.causes.known.forms.carried import apart
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption

_Ends = dict[Edges, HandingOn]
"""A cache: where a chunk of a right run ends, by the edges up to there."""
INITIAL, DOUBLED = "initial", "doubled"
_LOST = "the state before a chunk is lost"
_ADD = "Add the state of the chunk before once to what the steps read, and once to what is handed on."
_WORDS = {
    DROPPED: ("chunk-state-lost", _LOST, CARRY),
    INITIAL: ("chunk-state-lost", "the initial state is used in place of the one before a chunk", CARRY),
    DOUBLED: ("chunk-state-doubled", "the state before a chunk counts twice", _ADD),
    LEFT: ("chunk-decay-apart", WORDS[LEFT], ONCE),
    TWICE: ("chunk-decay-apart", WORDS[TWICE], ONCE),
}
_DECAYS = (LEFT, TWICE)


@dataclass(frozen=True)
class _Made:
    """Where a mistake is made: in what, where chunks begin, and in which chunks, counted from 0."""

    place: str
    edges: Edges
    chunks: range
    adds_rightly: bool = False
    """Of a delta rule: whether what its steps add, which depends on the state before the chunk, follows from the right
    state, though what they read has the mistake."""

    @property
    def is_once(self) -> bool:
        return len(self.chunks) == 1

    @property
    def shown_at(self) -> int:
        """The number of the first chunk whose steps show the mistake."""
        return self.chunks.start + (self.place == HANDED)

    def up_to(self, number: int) -> _Made:
        """The same for the run up to the beginning of this chunk."""
        return replace(self, edges=self.edges[:number])


@dataclass(frozen=True)
class _Wrong:
    """A wrong state before a chunk."""

    kind: str
    blocks: tuple[int, ...]
    """The places of its blocks in the cell state."""

    def instead(self, at: HandingOn, parts: InParts, right: Handed) -> Handed:
        """What the mistake has in place of the state with which the chunk after `at` begins."""
        if self.kind in _DECAYS:
            return decayed(at, parts, right, self.kind)
        wrong = zeros(right) if self.kind == DROPPED else at.first
        if self.kind == DOUBLED:
            wrong = tuple((2 * v, 2 * e) for v, e in right)
        pairs = zip(at.blocks(wrong), at.blocks(right), strict=True)
        return at.with_blocks({n: one if n in self.blocks else other for n, (one, other) in enumerate(pairs)})


@dataclass(frozen=True)
class _Chain:
    """A run with its state in parts, and what chunks of a right one hand on."""

    assumed: Assumption
    parts: InParts
    ends: _Ends = field(default_factory=dict)

    def begun(self, wrong: _Wrong, made: _Made) -> list[Handed]:
        """The states with which the steps of each chunk begin."""
        at = HandingOn.of_the_first(self.assumed, 0)
        handed, found, is_right = at.begun, list[Handed](), True
        for number, stop in enumerate((*made.edges, None)):
            instead = wrong.instead(at, self.parts, handed) if number in made.chunks else handed
            found.append(instead if made.place == READ else handed)
            if stop is None:
                break
            is_right = is_right and (made.place == READ or number not in made.chunks)
            begun = instead if made.place == HANDED else handed
            rightly = made.adds_rightly and begun is not handed
            other = HandingOn(self.assumed, handed, at.stop, stop) if rightly else None
            at = HandingOn(self.assumed, begun, at.stop, stop)
            if is_right:
                at = self.ends.setdefault(made.edges[: number + 1], at)
            handed = added_up(at, self.parts, "", other)
        return found

    def shows(self, wrong: _Wrong, made: _Made) -> bool:
        """Whether the first chunk that can show the mistake agrees with it, and also the chunk after it, where that is
        right again."""
        numbers = [made.shown_at]
        if made.is_once and made.place == READ and made.shown_at < len(made.edges):
            numbers.append(made.shown_at + 1)
        starts, run = (0, *made.edges), self.assumed.run
        for number in numbers:
            stop = starts[number + 1] if number + 1 < len(starts) else run.x.shape[0]
            until = replace(self.assumed, run=run.take(slice(stop)))
            if not goes_on(until, starts[number], self.begun(wrong, made.up_to(number))[-1]):
                return False
        return True


def causes(assumed: Assumption) -> Iterator[Cause]:
    parts = in_parts(assumed.cell)
    if not few_in_order(assumed) or parts is None:
        return
    chain = _Chain(apart(assumed, ""), parts)
    usual, is_begun = not_far(edges_of(assumed)), bool(assumed.run.state[-1].any())
    for wrong in _wrongs(assumed, parts, is_begun):
        for made in dict.fromkeys(_made_at(chain, wrong, usual, is_begun)):
            shown = next((one for one in _adding(made, wrong, parts) if chain.shows(wrong, one)), None)
            if shown is not None:
                yield _cause(assumed, wrong, shown)


def _adding(made: _Made, wrong: _Wrong, parts: InParts) -> list[_Made]:
    """The variants of a mistake in what a chunk of a delta rule hands on: what its steps add may follow from the right
    state or from the wrong one. For mistakes in decays only the right one is tried."""
    if parts.kind != "delta" or made.place != HANDED:
        return [made]
    rightly = replace(made, adds_rightly=True)
    return [rightly] if wrong.kind in _DECAYS else [rightly, made]


def _wrongs(assumed: Assumption, parts: InParts, is_begun: bool) -> Iterator[_Wrong]:
    """The wrong states that are tried: a wrong cell state as a whole, and only the blocks carried by decays where there
    are others."""
    every = tuple(range(len(assumed.cell.cell_state or ("h",))))
    for kind in _WORDS:
        if kind != INITIAL or is_begun:
            tried = [parts.blocks] if kind in _DECAYS else [every, parts.blocks]
            yield from (_Wrong(kind, blocks) for blocks in dict.fromkeys(tried))


def _made_at(chain: _Chain, wrong: _Wrong, usual: list[Edges], is_begun: bool) -> Iterator[_Made]:
    """In which chunks it may be made: in all but the first, in all, or in one."""
    steps, firsts = chain.assumed.run.x.shape[0], list(dict.fromkeys(edges[0] for edges in usual))
    if wrong.kind == DOUBLED:  # `carried.py` has decays; zeros are read alike whatever is handed on: `chunks.py`
        yield from (_Made(READ, edges, range(1, len(edges) + 1)) for edges in usual if len(edges) > 1)
    for first in firsts:
        seconds = [edges[1] for edges in usual if edges[0] == first and len(edges) > 1]
        later = dict.fromkeys([first + 1, *seconds, first + first // 2])
        yield from (_Made(READ, (first, second), range(1, 2)) for second in later if first < second < steps)
    if is_begun and not usual and wrong.kind != INITIAL:
        yield from _from_the_first(chain, wrong)
    in_every = wrong.kind not in _DECAYS  # `carried.py` has decays
    if is_begun and in_every:
        yield from (_Made(HANDED, edges, range(len(edges))) for edges in usual)
    for first in firsts:
        if first > 2:  # a step after a prompt
            yield _Made(HANDED, (first - 1, first), range(1, 2))
        if first % 2 == 0:
            edges = tuple(range(first // 2, steps, first // 2))
            if in_every:
                yield _Made(HANDED, edges, range(1, len(edges)))
            yield _Made(HANDED, edges[:2], range(1, 2))


def _from_the_first(chain: _Chain, wrong: _Wrong) -> Iterator[_Made]:
    """For a run whose first chunk reads a wrong initial state: where the next chunks begin."""
    begun = chain.begun(wrong, _Made(READ, (), range(1)))[-1]
    if not goes_on(chain.assumed, 0, begun):
        return
    over = steps_over(chain.assumed.begun_with(begun))
    for edges in not_far(edges_of(chain.assumed, over)):
        yield _Made(READ, edges, range(len(edges) + 1))
    if first := next(iter(over), 0):
        yield _Made(READ, (first,), range(1))


def _cause(assumed: Assumption, wrong: _Wrong, made: _Made) -> Cause:
    name, said, fix = _WORDS[wrong.kind]
    said = f"{said}, {PLACES[made.place]}"
    parameters: dict[str, object] = {"which": wrong.kind, "in": made.place}
    if len(wrong.blocks) < len(assumed.cell.cell_state or ()) and wrong.kind not in _DECAYS:
        names = [assumed.cell.cell_state[block][0] for block in wrong.blocks]
        said += f", of {listed(names)} alone"
        parameters["blocks"] = ", ".join(names)
    if made.is_once:
        start = (0, *made.edges)[made.chunks.start]
        said += f"; in the chunk that begins at step {start} alone"
        parameters |= {"once": True, "step": start}
    else:
        where, found = where_of(made.edges, assumed.run.x.shape[0])
        said += f"; chunks begin {where}"
        parameters |= found
    return Cause(name, said, fix, functools.partial(_with, wrong=wrong, made=made), parameters)


def _with(assumed: Assumption, wrong: _Wrong, made: _Made) -> Assumption:
    parts = in_parts(assumed.cell)
    assert parts is not None
    chain = _Chain(apart(assumed, ""), parts)
    return with_each(chain.assumed, made.edges, chain.begun(wrong, made))
