"""The arithmetic in which the lines of somebody's own cell are tried before anything runs: its values have a size and
no numbers (`trial_values.py`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from rnnspect.cells.functions import CHOSEN, FIXED, Nonlinearity, functions_of
from rnnspect.cells.interface import Cell
from rnnspect.cells.sizes import Units, product
from rnnspect.cells.trial_matrices import TrialMatrices
from rnnspect.cells.trial_norms import TrialNorms
from rnnspect.cells.trial_values import TrialBlocks, TrialNumber, TrialValue, WrongLineError, in_words, one_size
from rnnspect.errors import listed, nearest

FUNCTIONS = (*CHOSEN, *FIXED)
OPERATIONS = (
    *("hidden", "split", "gates", *FUNCTIONS, "rest", "lerp", "carry"),
    *("maximum", "norm", "rms_norm", "peepholes", "parameter", "constant", "project"),
    *("blocks", "packed", "outer", "by_key", "by_value", "spread", "delta", "carry_complex"),
)
"""What every arithmetic has, by its name in `Arithmetic`."""


class Trial(TrialMatrices, TrialNorms):
    """The arithmetic in which a cell's lines are tried."""

    def __init__(self, cell: Cell, known: Mapping[str, float] | None) -> None:
        self._cell = cell
        self.known = known or sizes_on_trial(cell)
        self.hidden_size = self.size_of(("hidden_size",))
        proj_size = Units(int(self.known.get("proj_size", 10037)), "proj_size")
        self.h = TrialValue(proj_size if cell.has_projection else self.hidden_size)
        self._blocks = [TrialValue(self.size_of(shape), is_state=True) for _, shape in cell.cell_state]
        sizes = [one.size for one in self._blocks]
        self.c = TrialValue(Units(sum(sizes), " + ".join(map(str, sizes))), is_state=True)
        self.is_recurrent = False
        """Whether W_hh was multiplied with anything."""
        self.mixes = False
        """Whether W_hh was multiplied with anything but h."""
        self.by_shares = True
        """Whether no cell state was carried by anything but a share, such as a gate that σ gives."""
        self.carried: list[tuple[TrialValue, TrialValue]] = []
        """Each cell state that `carry` was given, or block of one, and what it made of it."""
        self.wx = TrialBlocks(cell.gates)
        self.wx_blocks: tuple[TrialValue, ...] = ()
        """W_ih x + b_ih of each gate, once its blocks are taken apart."""
        self._peepholes = [TrialValue(self.hidden_size) for _ in cell.peepholes]
        self._parameters: list[TrialValue] = []

    @property
    def reads_c(self) -> bool:
        """Whether the cell state of the step before is used otherwise than in `carry`."""
        return any(one.uses for one in (self.c, *self._blocks))

    @property
    def products(self) -> int:
        """Multiplications with its own parameters, and in products of matrices."""
        return self.of_matrices + sum(one.products for one in self._parameters)

    @property
    def uses(self) -> tuple[int, ...]:
        """How often what the lines were given is used: the state, W_ih x + b_ih of each gate, and the parameters."""
        given = self.h, self.c, *self._blocks, *self.wx_blocks, *self._peepholes, *self._parameters
        return tuple(one.uses for one in given)

    def shows_c(self, q: Mapping[str, TrialValue]) -> bool:
        """Whether another quantity is the cell state of the step before, as it is."""
        return any(one is c for name, one in q.items() if name != "c" for c in (self.c, *self._blocks))

    def size_of(self, sizes: tuple[Any, ...]) -> Units:
        return product(sizes, self.known)

    def hidden(self, h: object) -> TrialBlocks:
        if not self._cell.is_recurrent:
            raise WrongLineError("the cell has no recurrent weights", advice="leave is_recurrent=False out of its Cell")
        one_size("a.hidden", self.h, h)
        self.is_recurrent = True
        self.mixes |= h is not self.h
        return TrialBlocks(("",) * len(self._cell.gates))

    def split(self, packed: object) -> tuple[TrialValue, ...]:
        count = len(self._cell.gates)
        if isinstance(packed, TrialValue) and packed.size == self.size_of((count, "hidden_size")) != self.hidden_size:
            one_size("a.split", packed)
            return tuple(TrialValue(self.hidden_size) for _ in range(count))
        if not isinstance(packed, TrialBlocks):
            allowed = f"wx, a.hidden(h), or a parameter of the shape ({count}, hidden_size)"
            raise WrongLineError(f"a.split of {in_words(packed)}", allowed)
        if packed is self.wx:
            packed.uses += 1
            if packed.uses > 1:
                raise WrongLineError("wx is taken apart a second time", "one a.split(wx) or a.gates(wx, h)")
        sizes = [self.size_of(self._cell.gate_shape(gate)) for gate in self._cell.gates]
        blocks = tuple(TrialValue(size, gate=gate) for gate, size in zip(packed.gates, sizes, strict=True))
        self.wx_blocks = blocks if packed is self.wx else self.wx_blocks
        return blocks

    def gates(self, wx: object, h: object) -> tuple[TrialValue, ...]:
        self.hidden(h)
        return self.split(wx)

    def peepholes(self) -> tuple[TrialValue, ...]:
        if not self._cell.peepholes:
            raise WrongLineError("the cell has no peepholes", 'peepholes=("u", …), a vector of weights for each')
        return tuple(self._peepholes)

    def parameter(self, name: str) -> TrialValue:
        known = dict(self._cell.parameters)
        if name not in known:
            near = nearest(str(name), known)
            allowed = listed(known) or f'parameters=(({str(name)!r}, ("hidden_size",)),) in its Cell'
            raise WrongLineError(f"the cell has no parameter {name!r}", allowed, near)
        self._parameters.append(TrialValue(self.size_of(known[name])))
        return self._parameters[-1]

    def constant(self, name: str) -> TrialNumber:
        known = dict(self._cell.constants)
        if name not in known:
            number = "1e-05" if str(name).startswith("eps") else "0.5"
            allowed = listed(known) or f"constants=(({str(name)!r}, {number}),) in its Cell"
            raise WrongLineError(f"the cell has no number {name!r}", allowed, nearest(str(name), known))
        return TrialNumber()

    def rest(self, v: object) -> TrialValue:
        return TrialValue(one_size("a.rest", v), is_share=isinstance(v, TrialValue) and v.is_share)

    def lerp(self, n: object, h: object, z: object) -> TrialValue:
        return TrialValue(one_size("a.lerp", n, h, z))

    def carry(self, f: object, c: object, v: object) -> TrialValue:
        if not isinstance(c, TrialValue) or not c.is_state:
            raise WrongLineError(
                f"a.carry of {in_words(c)}", "a.carry(f, c, v), where c is the state of the step before"
            )
        self.by_shares &= isinstance(f, TrialValue) and f.is_share
        made = TrialValue(one_size("a.carry", f, v))
        self.carried.append((c, made))
        return made

    def goes_on(self, new: TrialValue) -> bool:
        """Whether what `carry` makes of the cell state, or of a block of it, is what the next step has in its place."""
        places = {self.c: new, **dict(zip(self._blocks, new.parts or (new,), strict=False))}
        return all(made is places.get(c) for c, made in self.carried)

    def project(self, m: object) -> TrialValue:
        one_size("a.project", TrialValue(self.hidden_size), m)
        return TrialValue(self.h.size)

    def __getattr__(self, name: str) -> Callable[[object], TrialValue]:
        if name not in FUNCTIONS:
            raise WrongLineError(f"there is no operation a.{name}", listed(OPERATIONS), nearest(name, OPERATIONS))
        if name not in self._cell.functions:
            said = f"functions={(*self._cell.functions, name)!r}"
            raise WrongLineError(f"a.{name} is not among the functions of the cell", advice=f"write {said} in its Cell")
        return lambda v: TrialValue(one_size(f"a.{name}", v), is_share=name == "sigmoid")


@functools.cache
def normalises(cell: Cell) -> bool:
    """Whether its lines normalise a value, so that each unit depends on all."""
    return tried(cell)[0].normalises


@functools.cache
def bounds_steps_together(cell: Cell) -> bool:
    """Whether many steps can be bounded together: the cell state of the step before is only carried, by what is from 0
    to 1, where σ is, and goes on as it then is."""
    trial, q = tried(cell)
    if cell.peepholes or trial.reads_c or trial.shows_c(q) or not trial.by_shares:
        return False
    return not cell.has_cell_state or trial.goes_on(q["c"])


def is_stepwise(cell: Cell, nonlinearity: Nonlinearity) -> bool:
    """Whether steps are compared one after the other, since the cell state of one enters the bound of the next."""
    is_gate, own = functions_of(nonlinearity).sigmoid.is_gate, not cell.torch_name
    together = is_gate and (bounds_steps_together(cell) if own else not cell.peepholes)
    return cell.has_cell_state and not together


@functools.cache
def units_of(cell: Cell, hidden_size: int, input_size: int, proj_size: int) -> dict[str, int]:
    """How many units each quantity of a cell has in a network of these sizes."""
    usual = dict.fromkeys(cell.quantities, hidden_size) | {"h": proj_size or hidden_size}
    if not cell.has_own_sizes:
        return usual
    known = {**dict(cell.constants), "hidden_size": hidden_size, "input_size": input_size}
    given = tried(cell, known)[1]
    return usual | {name: int(one.size) for name, one in given.items()}


@functools.cache
def own_products(cell: Cell, hidden_size: int, input_size: int) -> int:
    """How many multiplications a step makes with the cell's own parameters, and in products of matrices that are no
    parameters."""
    known = {**dict(cell.constants), "hidden_size": hidden_size, "input_size": input_size}
    return 0 if cell.torch_name else tried(cell, known)[0].products


@functools.cache
def shared_gates(cell: Cell) -> frozenset[int]:
    """The gates whose pre-activation goes into a sum and elsewhere, too: what an engine's gradient of it is made of is
    then not that of the sum alone. Of our own cells there is none."""
    blocks = () if cell.torch_name else tried(cell)[0].wx_blocks
    return frozenset(gate for gate, block in enumerate(blocks) if block.is_shared)


def sizes_on_trial(cell: Cell) -> dict[str, float]:
    """The sizes of a network that has none yet: no two of them are the same by chance, and they divide where a
    network's may."""
    whole = {name: value for name, value in cell.constants if value >= 1 and value == int(value)}
    return {**whole, "hidden_size": 10007 * math.prod(map(int, whole.values())), "input_size": 10009}


def tried(cell: Cell, known: Mapping[str, float] | None = None) -> tuple[Trial, Any]:
    """Its lines with the sizes of a network, or with those of none."""
    trial = Trial(cell, known)
    return trial, cell.step(trial, trial.wx, *(trial.h, trial.c)[: len(cell.states)])
