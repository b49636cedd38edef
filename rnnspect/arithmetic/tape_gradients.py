"""The gradients of the values on a tape, each computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rnnspect.arithmetic.tape import Linear, Node, Tape, UnknownGradientError
from rnnspect.arithmetic.tape_norms import Apart
from rnnspect.cells.interface import Cell


def made_on(tape: Tape, cell: Cell, start: Node, state: Sequence[Node]) -> dict[str, Node]:
    """What a cell's lines make on a tape of W_ih x + b_ih and the state before, by name. Each state is a node that
    nothing else is given a gradient of, also where the lines return one value as two states (h' = c'), or a state as it
    came."""
    made: dict[str, Node] = cell.step(tape, start, *state)
    for at, name in enumerate(cell.states):
        node = made[name]
        if node in state or any(made[later] is node for later in cell.states[at + 1 :]):
            made = {**made, name: tape.node(node.value)}
            node.uses.append((made[name], lambda g: g))
    return made


class Pull:
    """The gradients of the values on one tape. `given` are gradients that are known beforehand, or `Linear`: the part
    of a later state's gradient that comes from outside of the step, and the engine's own in `Tape.seen`. `changed` says
    what an engine makes of the whole gradient of a value."""

    def __init__(
        self, tape: Tape, given: Mapping[Node, Any], changed: Mapping[Node, Callable[[Any], Any]] | None = None
    ) -> None:
        self._tape, self._given, self._changed = tape, dict(given), changed or {}
        self._found: dict[Node, Any] = {}
        self._added: dict[tuple[Node, int], Any] = {}
        """What each use of a value adds to its gradient, where that is known."""

    def give(self, node: Node, g: Any) -> None:
        """Puts a known gradient in place of a `Linear` one."""
        self._given[node] = g
        self._found = {node: found for node, found in self._found.items() if not isinstance(found, Linear)}

    def __call__(self, node: Node) -> Any:
        """dL/d node; None where nothing depends on it. Raises `UnknownGradientError`."""
        if node not in self._found:
            total = self._given.get(node)
            for part in self._parts(node):
                total = part if total is None else self._tape.plus(total, part)
            if node in self._changed and total is not None and not isinstance(total, Linear):
                total = self._changed[node](total)
            self._found[node] = total
        return self._found[node]

    def _parts(self, node: Node) -> Iterator[Any]:
        for use, (made, back) in enumerate(node.uses):
            part = self._added.get((node, use))
            if part is None:
                g = self._joined(made) if isinstance(made, tuple) else self(made)
                part = None if g is None else back(g)
                if not isinstance(part, Linear):
                    self._added[node, use] = part
            if part is not None:
                yield part

    def _joined(self, blocks: Iterable[Node]) -> Any:
        """The packed gradient of a value that was split into these; those of `Apart` side by side, None for zero."""
        parts = [self(block) for block in blocks]
        if all(part is None for part in parts):
            return None
        if any(isinstance(part, Linear) for part in parts):
            raise UnknownGradientError
        return tuple(parts) if isinstance(blocks, Apart) else self._tape.a.joined(parts)
