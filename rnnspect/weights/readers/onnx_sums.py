"""Sums of products with constants, W x + U h + b, as a graph of ONNX writes them in MatMul, Gemm, Add, Split and Slice.

Nothing is computed: a sum says which rows and columns of which constants are in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files.onnx_file import MOST_IN_A_ROW, attributes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import NodeProto

    from rnnspect.files.onnx_file import Constants, GraphPath, OnnxArray

PASSING = ("Identity", "Dropout")
"""Operators that give what they take, when a model is not trained."""
MOST_TERMS = 16
"""Of a sum: x beside x in a sum beside itself … would have any number."""
_OF_TWO = ("Add", "Sub", "Mul", "Div", "MatMul")
_WHOLE = {"Add": int.__add__, "Sub": int.__sub__, "Mul": int.__mul__, "Div": int.__floordiv__}


@dataclass(frozen=True)
class ConstantProduct:
    """A part of a constant matrix times a tensor."""

    source: str
    """The tensor."""
    weight: str
    """The constant."""
    turned: bool
    """Whether its rows are the features of the source, as in x W."""
    columns: tuple[int, int]
    """Which features of the constant belong to the source: [start, stop)."""
    rows: tuple[int, int]
    """Which units of the constant are in the sum: [start, stop)."""

    @property
    def features(self) -> int:
        return self.columns[1] - self.columns[0]


@dataclass(frozen=True)
class Offset:
    """A part of a constant vector, or one number for all units."""

    name: str
    rows: tuple[int, int]
    beside: str
    """The tensor in whose products alone it is added, as in Gemm; empty where those of several are added up before."""


@dataclass(frozen=True)
class LinearSum:
    units: int
    products: tuple[ConstantProduct, ...]
    offsets: tuple[Offset, ...]

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(product.source for product in self.products)

    def of(self, start: int, stop: int) -> LinearSum:
        """The sum of these units."""

        def cut(rows: tuple[int, int]) -> tuple[int, int]:
            return rows[0] + start, rows[0] + stop

        products = tuple(replace(one, rows=cut(one.rows)) for one in self.products)
        return LinearSum(stop - start, products, tuple(replace(one, rows=cut(one.rows)) for one in self.offsets))

    def plus(self, other: LinearSum) -> LinearSum | None:
        """None for sums of other units, and for one of too many terms."""
        products, offsets = self.products + other.products, self.offsets + other.offsets
        fits = other.units == self.units and len(products) + len(offsets) <= MOST_TERMS
        return LinearSum(self.units, products, offsets) if fits else None


@dataclass(frozen=True)
class GraphView:
    """The tensors of one graph of a model, with what is known of their sizes."""

    path: GraphPath
    constants: Constants
    shapes: Mapping[str, tuple[int, ...]]
    """By name; 0 for an axis that is not known."""
    _sums: dict[str, LinearSum | None] = field(default_factory=dict)
    _wholes: dict[str, int | None] = field(default_factory=dict)

    def maker(self, name: str) -> NodeProto | None:
        """The node of this graph that gives a tensor; None where it is none of ONNX's own operators, or has not as many
        inputs as they have, and where the file itself holds the tensor."""
        names = self.constants.names(self.path[-1][0])
        node = None if name in names.held else names.makers.get(name)
        if node is None or node.domain not in ("", "ai.onnx"):
            return None
        return node if (len(node.input) == 2 if node.op_type in _OF_TWO else len(node.input) > 0) else None

    def made_by(self, name: str, *operators: str) -> NodeProto | None:
        """The node that gives a tensor, where it is one of these."""
        node = self.maker(name)
        return node if node is not None and node.op_type in operators else None

    def constant(self, name: str) -> OnnxArray | None:
        return self.constants.value(name, self.path)

    def known(self, name: str) -> OnnxArray:
        """The numbers of a constant that is in a sum. Raises `FileError` where the file does not hold them."""
        values = self.constant(name)
        if values is None:
            raise FileError(f"the values of {name} are not stored in the model")
        return values

    def source(self, name: str) -> str:
        """The tensor itself, without Identity."""
        for _ in range(MOST_IN_A_ROW):
            node = self.made_by(name, *PASSING)
            if node is None:
                break
            name = node.input[0]
        return name

    def sum_of(self, name: str, depth: int = 0) -> LinearSum | None:
        """The sum that a tensor is; None where it is none, or a constant."""
        if name not in self._sums:
            self._sums[name] = None  # so that a circle ends
            self._sums[name] = self._sum(name, depth) if depth < MOST_IN_A_ROW else None
        return self._sums[name]

    def selected(self, node: NodeProto, name: str, units: int) -> tuple[int, int] | None:
        """Which of the units of its input a Split or Slice gives under that name: [start, stop)."""
        said = attributes_of(node)
        if node.op_type == "Split":
            if not self._is_last(said.get("axis", 0), node.input[0]):
                return None
            sizes = list(said["split"]) if "split" in said else self._numbers(node, 1)
            count = len(node.output)
            each = -(-units // count)
            sizes = sizes or [*[each] * (count - 1), units - each * (count - 1)]
            at = list(node.output).index(name)
            ends = (sum(sizes[:at]), sum(sizes[: at + 1]))
            return ends if sum(sizes) == units and 0 <= ends[0] < ends[1] else None
        starts, stops, axes, steps = (
            list(said[key]) if key in said else self._numbers(node, at)
            for at, key in enumerate(("starts", "ends", "axes", "steps"), 1)
        )
        if not starts or not stops or len(starts) != 1 or len(stops) != 1 or (steps or [1]) != [1]:
            return None
        if not self._is_last((axes or [0])[0], node.input[0]):
            return None
        start, stop, _ = slice(starts[0], stops[0]).indices(units)
        return (start, stop) if start < stop else None

    def _is_last(self, axis: int, name: str) -> bool:
        return axis == -1 or axis == len(self.shapes.get(name, ())) - 1

    def _numbers(self, node: NodeProto, at: int) -> list[int]:
        """The whole numbers that a node takes as that input: of the file, or computed from shapes that are known."""
        name = node.input[at] if at < len(node.input) else ""
        values = self.constant(name)
        if values is not None and values.size <= MOST_IN_A_ROW and values.dtype.kind in "iu":
            return [int(value) for value in values.reshape(-1)]
        found = self._whole(name) if name and values is None else None
        return [] if found is None else [found]

    def _whole(self, name: str, depth: int = 0) -> int | None:
        """The whole number that a tensor of the file holds, or that is computed from shapes that are known."""
        if name not in self._wholes:
            self._wholes[name] = None  # so that a circle ends
            found = self._computed(name, depth) if depth < MOST_IN_A_ROW else None
            self._wholes[name] = found if found is None or abs(found) < 2**63 else None
        return self._wholes[name]

    def _computed(self, name: str, depth: int) -> int | None:
        values, node = self.constant(name), self.maker(name)
        if values is not None:
            return int(values.reshape(-1)[0]) if values.size == 1 and values.dtype.kind in "iu" else None
        if node is None:
            return None
        if node.op_type in ("Unsqueeze", "Squeeze", "Identity", "Cast", "Reshape"):
            return self._whole(node.input[0], depth + 1)
        if node.op_type == "Gather" and (shape := self.made_by(node.input[0], "Shape")) is not None:
            sizes, at = self.shapes.get(shape.input[0], ()), self._whole(node.input[1], depth + 1)
            return sizes[at] or None if at is not None and -len(sizes) <= at < len(sizes) else None
        if node.op_type in _WHOLE:
            a, b = (self._whole(given, depth + 1) for given in node.input)
            if a is not None and b is not None and (b or node.op_type != "Div"):
                return _WHOLE[node.op_type](a, b)
        return None

    def _sum(self, name: str, depth: int) -> LinearSum | None:
        node = self.maker(name)
        if node is None:
            return None
        if node.op_type in PASSING:
            return self.sum_of(node.input[0], depth + 1)
        if node.op_type in ("Split", "Slice"):
            whole = self.sum_of(node.input[0], depth + 1)
            ends = self.selected(node, name, whole.units) if whole else None
            return whole.of(*ends) if whole and ends else None
        if node.op_type == "Add":
            return self._added(node.input[0], node.input[1], depth + 1)
        if node.op_type == "MatMul":
            return self._product(node.input[0], node.input[1], turned=True)
        if node.op_type != "Gemm" or len(node.input) < 2:
            return None
        said = attributes_of(node)
        if said.get("transA", 0) or said.get("alpha", 1.0) != 1 or said.get("beta", 1.0) != 1:
            return None
        found = self._product(node.input[0], node.input[1], turned=not said.get("transB", 0))
        if found is None or len(node.input) < 3 or not node.input[2]:
            return found
        return self._with(found, node.input[2], depth + 1)

    def _added(self, a: str, b: str, depth: int) -> LinearSum | None:
        first, second = self.sum_of(a, depth), self.sum_of(b, depth)
        if first is None:
            return None if second is None else self._with(second, a, depth)
        return self._with(first, b, depth)

    def _with(self, whole: LinearSum, name: str, depth: int) -> LinearSum | None:
        """The sum and what a tensor is: a sum of as many units, or constants."""
        if other := self.sum_of(name, depth):
            return whole.plus(other)
        values = self.constant(name)
        if values is None or values.dtype.kind not in "fV" or values.size not in (1, whole.units):
            return None
        if values.size > 1 and values.shape[-1] != values.size:
            return None
        beside = next(iter(whole.sources)) if len(whole.sources) == 1 else ""
        offset = Offset(self.source(name), (0, whole.units), beside)
        return replace(whole, offsets=(*whole.offsets, offset))

    def _product(self, source: str, weight: str, turned: bool) -> LinearSum | None:
        weight = self.source(weight)
        values = self.constant(weight)
        while (node := self.made_by(weight, "Transpose")) is not None and values is not None and values.ndim == 2:
            if attributes_of(node).get("perm", [1, 0]) == [1, 0]:
                turned = not turned
            weight = self.source(node.input[0])
            values = self.constant(weight)
        if values is None or values.ndim != 2 or self.constant(source) is not None:
            return None
        features, units = values.shape if turned else values.shape[::-1]
        parts = list(islice(self._joined(source, features), MOST_TERMS + 1))
        if not 0 < len(parts) <= MOST_TERMS or sum(size for _, size in parts) != features:
            return None
        products, start = [], 0
        for part, size in parts:
            products.append(ConstantProduct(part, weight, turned, (start, start + size), (0, units)))
            start += size
        return LinearSum(units, tuple(products), ())

    def _joined(self, name: str, features: int, depth: int = 0) -> Iterator[tuple[str, int]]:
        """The tensors that are side by side in a tensor of so many features, each with its own number; none where that
        is not known."""
        name = self.source(name)
        node = self.made_by(name, "Concat")
        if node is None or depth > MOST_IN_A_ROW or not self._is_last(attributes_of(node).get("axis", 0), name):
            yield name, features
            return
        sizes = [(self.shapes.get(given) or (0,))[-1] for given in node.input]
        if sizes.count(0) == 1:
            sizes[sizes.index(0)] = features - sum(sizes)
        if min(sizes) <= 0 or sum(sizes) != features:
            return
        for given, size in zip(node.input, sizes, strict=True):
            yield from self._joined(given, size, depth + 1)
