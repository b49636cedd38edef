"""Defines what a cell is, and the arithmetic that its equations are written in.

The equations are plain functions `step(a, wx, h)` or `step(a, wx, h, c)`, where wx is W_ih x + b_ih. They hold no loop,
no table and no tolerance: the arithmetic `a` says what W v, +, ⊙, σ, tanh and the other operations mean. Over numbers
they give the next state and every gate; the same lines can give all steps at once, a bound, or the terms of one unit's
sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, overload

from rnnspect.cells.functions import CHOSEN
from rnnspect.cells.sizes import Size, counted

if TYPE_CHECKING:
    from collections.abc import Callable


class Value(Protocol):
    """A vector (…, units) of whatever the arithmetic computes with."""

    def __add__(self, other: Self, /) -> Self: ...
    def __sub__(self, other: Self, /) -> Self: ...
    def __mul__(self, other: Self, /) -> Self: ...


V = TypeVar("V", bound=Value)


class Arithmetic(Protocol[V]):
    """One layer and direction: its parameters, and what the operations mean.

    With G gates of H units, `packed` values have G·H units in the cell's gate order.
    """

    def hidden(self, h: V) -> V:
        """W_hh h + b_hh, packed."""
        ...

    def split(self, packed: V) -> tuple[V, ...]:
        """One block a gate, of wx, of `hidden`, or of a parameter of shape (gates, hidden_size)."""
        ...

    def gates(self, wx: V, h: V) -> tuple[V, ...]:
        """The pre-activations wx + W_hh h + b_hh, one block a gate."""
        ...

    def sigmoid(self, v: V) -> V: ...

    def tanh(self, v: V) -> V: ...

    def squash(self, c: V) -> V:
        """tanh of a cell state, which ONNX lets be another function than that of a candidate."""
        ...

    def phi(self, v: V) -> V:
        """The nonlinearity that the spec chose: tanh or relu."""
        ...

    def relu(self, v: V) -> V: ...

    def softplus(self, v: V) -> V: ...

    def exp(self, v: V) -> V: ...

    def log(self, v: V) -> V: ...

    def silu(self, v: V) -> V: ...

    def cos(self, v: V) -> V: ...

    def sin(self, v: V) -> V: ...

    def reciprocal(self, v: V) -> V:
        """1 / v: v / w is v * a.reciprocal(w)."""
        ...

    def elu(self, v: V) -> V: ...

    def hard_sigmoid(self, v: V) -> V:
        """v / 6 + ½, cut to 0 and 1."""
        ...

    def rest(self, v: V) -> V:
        """1 − v."""
        ...

    def maximum(self, v: V, w: V) -> V:
        """The larger of two, unit by unit."""
        ...

    @overload
    def norm(self, v: V, eps: str, heads: int | None = None) -> V: ...
    @overload
    def norm(self, v: tuple[V, ...], eps: str) -> tuple[V, ...]:
        """(v − mean v) / √(mean (v − mean v)² + ε), with means over the units of a value, over those of each of its
        `heads`, or over those of several blocks together. `eps` is the name of ε among the cell's constants."""
        ...

    @overload
    def rms_norm(self, v: V, eps: str, heads: int | None = None) -> V: ...
    @overload
    def rms_norm(self, v: tuple[V, ...], eps: str) -> tuple[V, ...]:
        """v / √(mean v² + ε), as `norm` has it."""
        ...

    def peepholes(self) -> tuple[V, ...]:
        """p, one vector for each of the cell's peepholes."""
        ...

    def parameter(self, name: str) -> V:
        """The cell's own parameter of that name (`Cell.parameters`); of a matrix one row after the other."""
        ...

    def blocks(self, c: V) -> tuple[V, ...]:
        """The blocks of the cell state (`Cell.cell_state`)."""
        ...

    def packed(self, *blocks: V) -> V:
        """The cell state of its blocks."""
        ...

    def outer(self, k: V, v: V, heads: int = 1) -> V:
        """k vᵀ of each head: a matrix with a row for each key and a column for each value, row after row."""
        ...

    def by_key(self, s: V, q: V, heads: int = 1) -> V:
        """Sᵀ q of each head: Σ over the rows of S, each times its number of q."""
        ...

    def by_value(self, s: V, v: V, heads: int = 1) -> V:
        """S v of each head: Σ over the columns of S, each times its number of v."""
        ...

    def spread(self, f: V, s: V) -> V:
        """f as large as S: each of its numbers for a part of S, a head or a row."""
        ...

    def delta(self, s: V, f: V | None, b: V, k: V, v: V, heads: int = 1) -> V:
        """f ⊙ S + β k (v − (f ⊙ S)ᵀ k)ᵀ of each head, the delta rule; f has a number for each head or row, b is β."""
        ...

    def lerp(self, n: V, h: V, z: V) -> V:
        """(1 − z) ⊙ n + z ⊙ h, as n + z ⊙ (h − n): one operation, so that a bound charges the error of n once."""
        ...

    def carry(self, f: V, c: V, v: V) -> V:
        """f ⊙ c + v, where c is the cell state of the step before."""
        ...

    def carry_complex(self, p: V, q: V, c: V, v: V) -> V:
        """(p + i q) ⊙ c + v, where c is the cell state of the step before, and it and v are complex: two blocks of as
        many units as p and q have, real parts first."""
        ...

    def constant(self, name: str) -> V:
        """The cell's constant of that name; where a key of the spec has that name, too, its value. It is the left
        factor of a product."""
        ...

    def project(self, m: V) -> V:
        """W_hr m where the layer has a projection, else m."""
        ...


@dataclass(frozen=True)
class Cell:
    """One recurrent cell.

    `step(a, wx, *state)` takes wx = W_ih x + b_ih (packed) and the state of the step before, and returns every
    quantity by name, the new state among them.
    """

    name: str
    torch_name: str
    """The module in torch.nn whose equations these are, or have another form of; empty where it has none."""
    gates: tuple[str, ...]
    """The blocks of rows in weight_ih, weight_hh, bias_ih and bias_hh, in PyTorch's order. Each has hidden_size rows,
    unless `sizes` says another number."""
    states: tuple[str, ...]
    """What is carried from step to step: ("h",) or ("h", "c"). What c is made of, `cell_state` says."""
    quantities: tuple[str, ...]
    """What `step` returns, in the order of computation."""
    functions: tuple[str, ...]
    """The nonlinear functions in the equations, by their names in the arithmetic, in ONNX's order."""
    step: Callable[..., dict[str, Any]]
    has_nonlinearity: bool = False
    """Whether the spec chooses tanh or relu."""
    has_projection: bool = False
    """Whether h may be projected to proj_size units."""
    variant: str = ""
    """What tells it from the cell of the same name that torch.nn has; empty for that cell."""
    peepholes: tuple[str, ...] = ()
    """The blocks of weight_ch, which has a number for each unit in each: the gates of an LSTM that see the cell
    state."""
    parameters: tuple[tuple[str, tuple[Size, ...]], ...] = ()
    """Its own parameters by name, with their shapes: (("u", ("hidden_size",)), ("A_log", ("hidden_size", "d_state"))).
    A size is "hidden_size", "input_size", a whole number, the name of one of `constants`, or such as
    "hidden_size/heads". In files they are u_l0, u_l0_reverse, A_log_l0 …"""
    constants: tuple[tuple[str, float], ...] = ()
    """Numbers in its equations, by the names in `a.constant(name)`: constants=(("dt", 0.1),)."""
    sizes: tuple[tuple[str, tuple[Size, ...]], ...] = ()
    """Of gates that do not have hidden_size rows their shape, in sizes as those of `parameters`: (("beta", ("heads",)),
    ("q", ("heads", "d_k")))."""
    cell_state: tuple[tuple[str, tuple[Size, ...]], ...] = (("c", ("hidden_size",)),)
    """The blocks of c with their shapes, one after the other in c0 and c_n: (("c", ("hidden_size",)), ("n",
    ("hidden_size",))), or a matrix for each head, (("S", ("heads", "d_k", "hidden_size/heads")),)."""
    has_projection_of_x: bool = True
    """Whether it has weight_ih and bias_ih. Without them x is what goes into the gates, one block after the other."""
    is_recurrent: bool = True
    """Whether it has weight_hh and bias_hh: W_hh h is in its equations."""
    mixes: bool = False
    """Whether a unit's new h needs gates of other units, so that no unit can be looked at alone."""

    def __post_init__(self) -> None:
        """No unit can be looked at alone where something does not have a number for each."""
        if not self.is_by_unit:
            object.__setattr__(self, "mixes", True)

    @property
    def is_by_unit(self) -> bool:
        """Whether each hidden unit has numbers of its own in every parameter and state."""
        own = self.has_own_sizes or not self.has_projection_of_x
        return not own and all(shape == ("hidden_size",) for _, shape in _pairs(self.parameters))

    @property
    def has_own_sizes(self) -> bool:
        """Whether a gate or the cell state does not have hidden_size units."""
        return bool(self.sizes) or self.cell_state != (("c", ("hidden_size",)),)

    def gate_shape(self, gate: str) -> tuple[Size, ...]:
        return dict(self.sizes).get(gate, ("hidden_size",))

    def shape(self, sizes: tuple[Size, ...], hidden_size: int, input_size: int) -> tuple[int, ...]:
        """Raises `ValueError`, in words, for sizes that a network of these has not."""
        known = {**dict(self.constants), "hidden_size": hidden_size, "input_size": input_size}
        return tuple(counted(one, known) for one in sizes)

    @property
    def equations(self) -> tuple[str, ...]:
        """The lines of mathematics in the docstring of the step, or else of its file: as it was written."""
        texts = (self.step.__doc__, getattr(self.step, "__globals__", {}).get("__doc__"))
        found = (tuple(line.strip() for line in (text or "").splitlines() if " = " in line) for text in texts)
        return next(filter(None, found), ())

    @property
    def chosen_functions(self) -> tuple[str, ...]:
        """Those of its functions that a spec may put others in place of."""
        return tuple(name for name in self.functions if name in CHOSEN)

    @property
    def title(self) -> str:
        """The name as people write it: LSTM."""
        return self.torch_name or self.name.upper()

    @property
    def has_cell_state(self) -> bool:
        return "c" in self.states


def _pairs(found: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """The pairs of a name and a shape in what a file says; what else it says is refused later."""
    every = found if isinstance(found, tuple) else ()
    return [one for one in every if isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], tuple)]
