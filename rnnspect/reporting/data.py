"""What a derivation holds, one number of a run as arithmetic, and what a report does: frozen data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.network.parameters import recurrent_repr
from rnnspect.network.shown import Shown, counted, in_brief

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.arithmetic.chain_rule import ChainRule
    from rnnspect.arithmetic.evaluation import Evaluation, Floats
    from rnnspect.arithmetic.expression import Expression
    from rnnspect.judging.verdict import Verdict
    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.shapes import Shapes
    from rnnspect.network.spec import Spec
    from rnnspect.reporting.downsampling import Picture
    from rnnspect.reporting.parameters import ParametersReport
    from rnnspect.tracing.gradients import LayerGradient


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address of a number. Where one is asked for, a negative layer, step or unit counts from the end, and the
    empty direction is the first one."""

    layer: int = 0
    direction: str = ""
    step: int
    """The index in the input."""
    batch: int = 0
    unit: int
    quantity: str = "h"


@dataclass(frozen=True)
class Names:
    """The names of the numbers in an equation at one step."""

    step: int
    before: int | None
    """The step before, by its index in the input; None at the start, whose states are h0 and c0."""
    place: tuple[int, ...]
    """The place of the layer and direction in h0 and c0, and that of the item in a batch."""

    def vector(self, one: Expression) -> str:
        """The vector that the number is a unit of: x, h, h0."""
        return one.source.name + "0" if self.step_of(one.source) is None else one.source.name

    def address(self, one: Expression, unit: int | str) -> str:
        """The name of one unit or parameter: h[step 3, 1], bias_ih_l0[5]. `unit` may be a letter, for any unit."""
        one = one.source
        if isinstance(unit, int) and one.kind == "parameter":
            return f"{one.name}[{one.row + unit}]"
        step = self.step_of(one)
        if step is not None:
            return f"{one.name}[step {step}, {unit}]"
        place = self.place if isinstance(unit, int) else ()
        return f"{one.name}0[{', '.join(map(str, (*place, unit)))}]"

    def step_of(self, one: Expression) -> int | None:
        """The step, by its index in the input, that the number belongs to; None for the initial state."""
        return self.before if one.kind == "given" and one.name != "x" else self.step


@dataclass(frozen=True)
class Equation:
    """A quantity of one step and unit, written with parameters and other named quantities."""

    name: str
    address: str
    written: str | None
    """The line of mathematics in the cell's file."""
    expression: Expression
    unit: int
    """The unit of the expression that this is: of a cell state of several blocks, the unit of its block."""


@dataclass(frozen=True)
class InTurn:
    """A number that a derivation does not take further apart, and the arguments that derive it. `unit` may be
    "k", for each k of a sum."""

    what: str
    layer: int
    direction: str
    step: int
    unit: str
    quantity: str


@dataclass(frozen=True)
class Derivation(Shown):
    """A number from the equations in float64, how it is computed, and the engine's number beside it.

    `equations` holds the quantity first, then those of the same step and unit that it needs. They are computed on what
    the engine itself gave at the step before, as in a check; `taken` says where each vector comes from.
    """

    spec: Spec
    engine: EngineInfo
    at: Address
    items: int
    """How many sequences the batch has."""
    names: Names
    equations: tuple[Equation, ...]
    evaluation: Evaluation
    """The numbers in the equations."""
    taken: tuple[tuple[str, str], ...]
    in_turn: tuple[InTurn, ...]
    engine_value: float | None
    """None where the engine does not show the quantity: it shows h, and c after the last step of an item."""
    bound: float | None
    """How far apart the two may be at this address in a check with this `arithmetic`."""
    arithmetic: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        at = self.at
        batch = f", batch item {at.batch}" if at.batch else ""
        place = f"{at.quantity} of layer {at.layer} {at.direction}, step {at.step}{batch}, unit {at.unit}"
        return in_brief(self, f"{place}: {self.value:.9g}")

    @property
    def value(self) -> float:
        return self.evaluation.value(self.equations[0].expression, self.equations[0].unit)

    @property
    def difference(self) -> float | None:
        """engine − equations."""
        return signed_difference(self.value, self.engine_value)

    @property
    def ratio(self) -> float | None:
        """|difference| / bound; infinite where only one of both is a number."""
        if self.difference is None or self.bound is None:
            return None
        ratio = abs(self.difference) / self.bound if self.difference else 0.0
        return math.inf if math.isnan(ratio) else ratio


@dataclass(frozen=True, eq=False)
class Derivable:
    """The equations of one layer and direction, from which a page derives its quantities."""

    equations: dict[str, Expression]
    projection: Expression
    """W_ih x + b_ih of all gates, packed."""
    parameters: Mapping[str, Tensor]
    """Of all layers."""
    chain: ChainRule | None = None
    """Where the page derives the gradients of the pre-activations from those of the gates."""


@dataclass(frozen=True, eq=False)
class Kept:
    """The numbers of one layer and direction at the steps that are kept, in float64: (kept, units), by step of the
    input."""

    steps: tuple[int, ...]
    given: dict[str, Floats]
    """The values that each step starts from in a check: x, and h and c of the step before."""
    gave: dict[str, Floats]
    """What the engine showed: h, and perhaps gates. h of the equations alone where it did not show the layer."""
    bound: Floats | None
    """How far the engine's h may be from that of the equations in a check; infinity where it cannot judge. None where
    the engine did not show the layer."""

    def at(self, place: int) -> dict[str, Floats]:
        """The values that the step at this place among the kept ones starts from."""
        return {name: values[place] for name, values in self.given.items()}


@dataclass(frozen=True)
class LayerReport:
    """One layer and direction of the batch item that is shown."""

    layer: int
    direction: str
    maps: dict[tuple[str, str], Picture | None]
    """Step × unit, by quantity and what is shown of it: "equations", "gradient", "engine", "difference", or its "ratio"
    to the bound. None where every step is kept: the page derives it. Of gradients there is a picture, but for those of
    pre-activations that the page derives."""
    curves: dict[str, Picture]
    """One number a step, such as the norm of h."""
    saturated: dict[str, str]
    """By gate when one of its units counts as saturated: "at most 0.026 or at least 0.974"."""
    derivable: Derivable
    kept: Kept
    reach: ReachReport | None = None
    """Where gradients are shown, how far they reach."""


@dataclass(frozen=True)
class ReachReport:
    """How far the gradient of a layer and direction reaches, as curves with one number a step."""

    gradient: LayerGradient
    """The gradients of every item."""
    norms: dict[str, Picture]
    """By name the norm of dL/dh, of its parts, and of dL/dc."""
    factors: dict[str, Picture]
    """By path the gradient at the step before, relative to the one at the step."""


@dataclass(frozen=True)
class ShownLoss:
    """The loss whose gradients are shown: in words, its value, and how it was asked for; None for an array."""

    said: str
    value: float
    asked: str | None


@dataclass(frozen=True)
class RunReport:
    """One implementation's run: what it is called, what a check says of it, and its layers.

    The equations are those of a check: each step starts from what the engine gave at the step before.
    """

    name: str
    verdict: Verdict
    recorded: bool
    """Whether it is somebody's recording."""
    layers: tuple[LayerReport, ...]
    parameters: ParametersReport

    @property
    def subject(self) -> str:
        """What the answer calls it: a recording has a name of its own; else empty, and it is the engine."""
        return self.name if self.recorded else ""


@dataclass(frozen=True)
class Report(Shown):
    """One run as a page shows it, or several of the same network on the same input."""

    spec: Spec
    shapes: Shapes
    runs: tuple[RunReport, ...]
    steps: int
    items: int
    """How many sequences the batch has."""
    item: int
    length: int
    """How many steps the item has that is shown."""
    batched: bool
    whole: bool
    """Whether every step and every weight is kept: then each number of the run can be derived."""
    weights: dict[str, Picture]
    """Every parameter, row × column; a bias has one column."""
    command: str | None
    """How the run was described on the command line, for commands that say more of it; None for a live module."""
    loss: ShownLoss | None
    """Where gradients are shown: of what. They are those of the equations, and stand in the layers of the first run."""

    @property
    def verdict(self) -> Verdict:
        """The verdict on the first run."""
        return self.runs[0].verdict

    @property
    def layers(self) -> tuple[LayerReport, ...]:
        """The layers of the first run."""
        return self.runs[0].layers

    def __repr__(self) -> str:
        module = recurrent_repr(self.spec)
        return in_brief(self, f"{self.verdict.verdict}: {module}, {counted(self.steps, 'step')}")


def signed_difference(equations: float, engine: float | None) -> float | None:
    """engine − equations; 0 where both are the same infinity or both NaN."""
    if engine is None:
        return None
    same = engine == equations or (math.isnan(engine) and math.isnan(equations))
    return 0.0 if same else engine - equations
