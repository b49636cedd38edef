"""What the derivation of one gradient holds: frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.network.shown import Shown, in_brief
from rnnspect.reporting.data import signed_difference

if TYPE_CHECKING:
    from rnnspect.arithmetic.chain_rule import GradientEvaluation
    from rnnspect.arithmetic.evaluation import Floats
    from rnnspect.arithmetic.expression import Expression
    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.spec import Spec
    from rnnspect.reporting.data import Equation


@dataclass(frozen=True, kw_only=True)
class GradientAt:
    """The address of a gradient: dL/d of the number called `name` with these `indices`.

    A parameter such as weight_hh_l0 has a row, and a column if it is a matrix. Anything else has one unit: x, a gate or
    state (i, c, h), what a gate's function is taken of (s_i), at one `step` of one item of the batch (`batch`); or h0
    or c0, which have no step. With a step a parameter stands for what that one adds to its gradient.
    """

    name: str
    indices: tuple[int, ...]
    layer: int = 0
    direction: str
    step: int | None = None
    batch: int | None = None
    """The item of the batch; None for a parameter."""

    @property
    def address(self) -> str:
        """weight_hh_l0[3, 1] or s_i[step 7, 3]."""
        step = () if self.step is None or self.is_parameter else (f"step {self.step}",)
        return f"{self.name}[{', '.join((*step, *map(str, self.indices)))}]"

    @property
    def is_parameter(self) -> bool:
        return self.batch is None

    @property
    def is_part(self) -> bool:
        """Whether it is only what one step adds to a gradient."""
        return self.is_parameter and self.step is not None

    @property
    def said(self) -> str:
        """dL/ds_i[step 7, 3], or what step 7 adds to dL/dweight_hh_l0[3, 1]."""
        return f"{f'what step {self.step} adds to ' if self.is_part else ''}dL/d{self.address}"


@dataclass(frozen=True)
class GradientNames:
    """The names of the numbers in the chain rule at one step; `now`, `before` and `after` are how a step is called:
    "step 7"."""

    now: str
    before: str | None
    """The step that was processed before; None at the start, where the states are h0 and c0."""
    after: str | None
    """The step that is processed after; None at the end."""
    place: tuple[int, ...]
    """The place of the layer and direction in h0, c0, h_n and c_n, and that of the item in a batch."""

    def vector(self, one: Expression) -> str:
        """The vector that holds the number: dL/ds_i, h, h0; dL/ds_i[forward] where both directions have one."""
        one = one.source
        if one.kind.endswith("gradient") or one.kind == "output":
            return f"dL/d{one.name}{f'[{direction}]' if (direction := _direction(one)) else ''}"
        if one.kind == "final":
            return f"dL/d{one.name}_n"
        return one.name + "0" if self._is_initial(one) else one.name

    def address(self, one: Expression, unit: int | str) -> str:
        """dL/ds_i[step 7, 3], h[step 6, k], bias_ih_l0[5]. `unit` may be a letter, for any unit."""
        one = one.source
        if one.kind == "parameter" and isinstance(unit, int):
            return f"{one.name}[{one.row + unit}]"
        if self._is_initial(one) or one.kind == "final":
            return f"{self.vector(one)}[{', '.join(map(str, (*self.place, unit)))}]"
        step = self.now
        if one.kind.startswith("next"):
            step = self.after or self.now
        elif one.kind == "given" and one.name != "x":
            step = self.before or self.now
        if direction := _direction(one):
            return f"dL/d{one.name}[{direction}, {step}, {unit}]"
        return f"{self.vector(one)}[{step}, {unit}]"

    def _is_initial(self, one: Expression) -> bool:
        return one.kind == "given" and one.name != "x" and self.before is None


def _direction(one: Expression) -> str:
    """The direction of a gradient that both directions have; empty for others."""
    direction = one.kind.removesuffix("gradient").strip()
    return direction if direction in ("forward", "reverse") else ""


@dataclass(frozen=True)
class Terms:
    """What each step of each item adds to the gradient of a parameter, in the order of the input: the products of
    `left` and `right`, or `left` alone. Each array has a number for each of them."""

    written: tuple[Expression, Expression | None]
    """Both factors, for any step."""
    units: tuple[int, int]
    """The unit of each factor."""
    steps: Floats
    items: Floats
    left: Floats
    right: Floats | None

    @property
    def products(self) -> Floats:
        return self.left if self.right is None else self.left * self.right


@dataclass(frozen=True)
class GradientInTurn:
    """A gradient that a derivation does not take further apart, and the arguments that derive it."""

    what: str
    arguments: dict[str, object]


@dataclass(frozen=True, repr=False)
class GradientDerivation(Shown):
    """A gradient from the equations in float64, how it is computed, and the engine's number beside it.

    Of a parameter, and of what one step adds to it, it is a sum of `terms`; of anything else it has `equations`: first
    its own, then those of the gradients at the same step that it needs. Both run from x and the initial states to the
    loss, and back.
    """

    spec: Spec
    engine: EngineInfo | None
    """None where no engine gave gradients."""
    at: GradientAt
    loss: str
    """The loss in words."""
    loss_value: float
    items: int
    """How many sequences the batch has."""
    names: GradientNames
    terms: tuple[Terms, ...]
    equations: tuple[Equation, ...]
    evaluation: GradientEvaluation | None
    in_turn: tuple[GradientInTurn, ...]
    value: float
    whole: float
    """If it is what one step adds to the gradient of a parameter: all of that gradient; else the value."""
    engine_value: float | None
    """None where the engine does not show it: it gives the gradients of x, the initial states and the parameters."""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        at = self.at
        place = "" if at.is_parameter else f" of layer {at.layer} {at.direction}"
        batch = f", batch item {at.batch}" if at.batch else ""
        return in_brief(self, f"{at.said}{place}{batch}: {self.value:.9g}")

    @property
    def unit(self) -> int:
        """The unit of the quantity; a parameter has a row and a column instead."""
        return self.at.indices[-1]

    @property
    def difference(self) -> float | None:
        """engine − equations."""
        return signed_difference(self.value, self.engine_value)


def in_turn(what: str, leaf: str, unit: object, at: GradientAt, spec: Spec) -> GradientInTurn:
    """The gradient dL/d `leaf` of a unit, at the step, item, layer and direction of `at`."""
    arguments: dict[str, object] = {"gradient": f"{leaf}[{unit}]", "step": at.step}
    arguments |= {"layer": at.layer} if spec.num_layers > 1 else {}
    if spec.bidirectional and leaf != "x":  # which both directions read
        arguments["direction"] = at.direction
    return GradientInTurn(what, arguments | ({"batch-index": at.batch} if at.batch else {}))
