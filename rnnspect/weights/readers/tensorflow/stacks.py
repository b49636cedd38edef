"""Joins cells into modules: both directions of a layer, and layers on top of each other."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rnnspect.weights.readers.tensorflow.cells import TensorFlowCell

_BACKWARD = re.compile(r"(?<![A-Za-z])(bw|backward)(?![A-Za-z])")
"""What the names of bidirectional_dynamic_rnn and of Keras' Bidirectional say of the cell that runs backwards."""
_FORWARD = {"bw": "fw", "backward": "forward"}
_LEVEL = re.compile(r"(?:^|(?<=/))cell_?(\d{1,4})(?=/|$)", re.IGNORECASE)
"""The layer of a MultiRNNCell, of stack_bidirectional_dynamic_rnn."""


@dataclass(frozen=True)
class TensorFlowStack:
    """One recurrent module."""

    layers: tuple[tuple[TensorFlowCell, ...], ...]
    """From the lowest, each one or two directions."""
    reverse: bool = False
    """Whether its only direction runs backwards."""
    below: TensorFlowStack | None = None
    """The module whose output it takes, where names and sizes say so."""

    @property
    def cells(self) -> list[TensorFlowCell]:
        return [cell for layer in self.layers for cell in layer]

    @property
    def name(self) -> str:
        """What the names of all its cells begin with."""
        if len(self.cells) == 1:
            return self.cells[0].prefix
        shared: list[str] = []
        for parts in zip(*(cell.prefix.split("/") for cell in self.cells), strict=False):
            if len(set(parts)) > 1:
                break
            shared.append(parts[0])
        return "/".join(shared) or self.cells[0].prefix

    @property
    def width(self) -> int:
        """How many numbers it gives at each step."""
        sizes = self.layers[-1][0].sizes
        return len(self.layers[-1]) * (sizes.proj_size or sizes.hidden_size)


def stacks_of(cells: Iterable[TensorFlowCell]) -> list[TensorFlowStack]:
    """The modules that cells form, by their names and sizes, in the order of the cells."""
    families: dict[str, dict[int, list[TensorFlowStack]]] = defaultdict(lambda: defaultdict(list))
    for stack in _paired(list(cells)):
        level = _LEVEL.search(stack.cells[0].prefix)
        family = _LEVEL.sub("cell", _side(stack.cells[0].prefix)[0]) if level else stack.cells[0].prefix
        families[family][int(level[1]) if level else -1].append(stack)
    found = list[TensorFlowStack]()
    for levels in families.values():
        found += _joined([stack for level in sorted(levels) for stack in levels[level]])
    return found


def _side(prefix: str) -> tuple[str, bool]:
    """A prefix as that of the forward direction has it, and whether it is the backward one's."""
    match = _BACKWARD.search(prefix)
    if not match:
        return prefix, False
    return f"{prefix[: match.start()]}{_FORWARD[match[1]]}{prefix[match.end() :]}", True


def _paired(cells: list[TensorFlowCell]) -> list[TensorFlowStack]:
    """Cells of both directions as one layer where their names fit; Keras numbers the cells themselves on."""
    sides: dict[str, list[TensorFlowStack]] = defaultdict(list)
    for cell in cells:
        forward, backward = _side(cell.prefix)
        sides[re.sub(r"_\d{1,4}\Z", "", forward)].append(TensorFlowStack(((cell,),), backward or cell.reverse))
    found: list[TensorFlowStack] = []
    for group in sides.values():
        ways = [stack for stack in group if not stack.reverse], [stack for stack in group if stack.reverse]
        if len(ways[0]) == len(ways[1]):
            for one, other in zip(*ways, strict=True):
                found += _both(one, other)
        else:
            found += group
    return found


def _both(one: TensorFlowStack, other: TensorFlowStack) -> list[TensorFlowStack]:
    first, second = one.cells[0], other.cells[0]
    same = (first.layout, first.form, first.sizes) == (second.layout, second.form, second.sizes)
    alike = same and bool(first.peepholes) == bool(second.peepholes)
    return [TensorFlowStack(((first, second),))] if alike else [one, other]


def _joined(levels: list[TensorFlowStack]) -> list[TensorFlowStack]:
    """One stack of all levels if each fits the one below; where each direction is as wide as one direction, the
    directions are stacks of their own, as bidirectional_dynamic_rnn runs them."""
    if _fit(levels):
        return [TensorFlowStack(tuple(level.layers[0] for level in levels), levels[0].reverse)]
    if all(len(level.layers[0]) == 2 for level in levels):
        ways = [[TensorFlowStack((level.layers[0][way : way + 1],), bool(way)) for level in levels] for way in (0, 1)]
        if all(map(_fit, ways)):
            return [stack for way in ways for stack in _joined(way)]
    linked: list[TensorFlowStack] = []
    for level in levels:
        fits = linked and level.cells[0].sizes.input_size == linked[-1].width and level.reverse == linked[-1].reverse
        linked.append(replace(level, below=linked[-1] if fits else None))
    return linked


def _fit(levels: list[TensorFlowStack]) -> bool:
    """Whether every level takes what the one below gives, and is of its kind."""
    return all(
        _kind(one) == _kind(other) and other.cells[0].sizes.input_size == one.width
        for one, other in itertools.pairwise(levels)
    )


def _kind(stack: TensorFlowStack) -> tuple[object, ...]:
    cell = stack.cells[0]
    sizes = replace(cell.sizes, input_size=0)
    return stack.reverse, len(stack.cells), cell.layout, cell.form, sizes, cell.functions, len(cell.peepholes)
