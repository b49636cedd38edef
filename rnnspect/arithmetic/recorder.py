"""A cell's equations as expressions, by the cell's own lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from rnnspect.arithmetic.expression import Expression, blocks_of, written_out
from rnnspect.arithmetic.expression_matrices import RecorderMatrices
from rnnspect.arithmetic.expression_norms import RecorderNorms
from rnnspect.cells.functions import CHOSEN, FIXED, KINDS, Nonlinearity, functions_of
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.spec import Spec

_Function = Callable[[Expression], Expression]


class Recorder(RecorderMatrices, RecorderNorms):
    """An arithmetic of one layer and direction in which a cell's lines give expressions; `end` is the end of its
    parameters' names, such as _l0_reverse."""

    sigmoid: _Function
    tanh: _Function
    squash: _Function
    phi: _Function
    relu: _Function
    softplus: _Function
    exp: _Function
    log: _Function
    silu: _Function
    reciprocal: _Function
    cos: _Function
    sin: _Function
    elu: _Function
    hard_sigmoid: _Function

    def __init__(self, p: LayerParameters, gates: int, nonlinearity: Nonlinearity, end: str) -> None:
        self._p, self._gates, self._end = p, gates, end
        self._units = p.units(gates)
        self._functions = functions_of(nonlinearity)
        for name in (*CHOSEN, *FIXED):
            setattr(self, name, self._function(name))

    def input(self, x: Expression) -> Expression:
        """W_ih x + b_ih, packed; x where the cell has no weight_ih."""
        return self._product("ih", x, self._p.bias_ih) if self._p.has_projection_of_x else x

    def hidden(self, h: Expression) -> Expression:
        return self._product("hh", h, self._p.bias_hh)

    def split(self, packed: Expression) -> tuple[Expression, ...]:
        return packed.cut(self._p.gate_sizes(self._gates))

    def gates(self, wx: Expression, h: Expression) -> tuple[Expression, ...]:
        return self.split(wx + self.hidden(h))

    def rest(self, v: Expression) -> Expression:
        return Expression("number", numbers=(1.0,)) - v

    def constant(self, name: str) -> Expression:
        return Expression("number", numbers=(self._functions.constant(name),))

    def peepholes(self) -> tuple[Expression, ...]:
        packed = Expression("parameter", name="weight_ch" + self._end)
        return packed.cut((self._units,) * (len(self._p["weight_ch"]) // self._units))

    def parameter(self, name: str) -> Expression:
        return Expression("parameter", name=name + self._end, count=self._p[name].numel())

    def lerp(self, n: Expression, h: Expression, z: Expression) -> Expression:
        return n + z * (h - n)

    def carry(self, f: Expression, c: Expression, v: Expression) -> Expression:
        return f * c + v

    def project(self, m: Expression) -> Expression:
        return m if self._p.weight_hr is None else self._product("hr", m, None)

    def _product(self, name: str, v: Expression, bias: Tensor | None) -> Expression:
        rows = len(self._p[f"weight_{name}"])
        products = Expression("sum", (v,), f"weight_{name}{self._end}", count=rows)
        if bias is None:
            return products
        return products + Expression("parameter", name=f"bias_{name}{self._end}", count=rows)

    def _function(self, name: str) -> Callable[[Expression], Expression]:
        f, clip = self._functions.named(name), self._functions.clip_of(name)
        numbers = tuple(getattr(f, number) for number in (KINDS | FIXED)[f.name].numbers)

        def applied(v: Expression) -> Expression:
            limited = v if clip is None else Expression("limit", (v,), numbers=(clip,))
            return Expression(f.name, (limited,), numbers=numbers)

        return applied


def input_projection_of(spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> Expression:
    """W_ih x + b_ih of one layer and direction, with the rows of all gates one after the other."""
    return _recorder(spec, parameters, layer, direction).input(given(spec, "x", layer))


def given(spec: Spec, name: str, layer: int) -> Expression:
    """An input of a step of a layer: x, or a state of the step before."""
    return Expression("given", name=name, count=spec.layer_input_size(layer) if name == "x" else spec.units(name))


def equations_of(spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> dict[str, Expression]:
    """The expression of every quantity of one layer and direction, by the cell's own lines. Where one uses another, it
    is written with its name."""
    a, cell = _recorder(spec, parameters, layer, direction), spec.cell_type
    x, *states = (given(spec, name, layer) for name in ("x", *cell.states))
    found: dict[str, Expression] = cell.step(a, a.input(x), *states)
    named = names_of(found, "quantity")
    return {name: written_out(one, named) for name, one in found.items()}


def names_of(found: Mapping[str, Expression], kind: str) -> dict[Expression, Expression]:
    """The named leaf of that kind for each expression that has a name; for a packed value also for its blocks."""
    named: dict[Expression, Expression] = {}
    for name, one in found.items():
        leaf = Expression(kind, name=name, count=one.units)
        parts = [(0, one), *(blocks_of(one) if one.kind == "packed" else ())]
        for start, part in parts:
            if part.kind not in ("given", "number"):
                named.setdefault(part, leaf if part is one else leaf.block(start, part.units))
    return named


def _recorder(spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> Recorder:
    p = LayerParameters.of(parameters, layer, direction, spec)
    return Recorder(p, len(spec.cell_type.gates), spec.nonlinearity_of(direction), suffix(layer, direction))
