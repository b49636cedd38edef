"""The recurrent cells that a graph computes, by its operations: the matrix products, what is added, how the sum is
split and which functions follow. So the names of the variables do not matter, and the graph says what names cannot:
the functions, what is added to f, the order of the gates in fused operators.

Sources: tensorflow rnn_cell_impl.py (BasicLSTMCell, LSTMCell, GRUCell), core/kernels/rnn (BlockLSTM, LSTMBlockCell,
GRUBlockCell), keras layers/rnn (LSTMCell, GRUCell of Keras 2 and 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnnspect.files.reading import Stored
from rnnspect.files.tensorflow.graph import GraphNode, TensorFlowGraph
from rnnspect.files.tensorflow.tensors import number_of
from rnnspect.files.tensorflow.wires import ADDS, Wires
from rnnspect.weights.readers.tensorflow.cells import TensorFlowCell, in_order

FUNCTIONS = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu", "Elu": "elu", "Softplus": "softplus"}
FUNCTIONS |= {"Softsign": "softsign"}
_USUAL = ("sigmoid", "tanh", "tanh")
_GRU = ("gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias")
KERNELS = ("kernel", "recurrent_kernel")
_LIMITS = ("Minimum", "ClipByValue")
_BLOCKS = {
    "BlockLSTM": ("tf-block-lstm", 4, 1.0, 3.0),
    "BlockLSTMV2": ("tf-block-lstm-v2", 4, None, 0.0),
    "LSTMBlockCell": ("tf-block-lstm", 3, 1.0, 3.0),
}
"""By operator its layout, at which input w stands before wci, wcf, wco and b, and what it takes for forget_bias and
cell_clip where the node does not say them (tensorflow core/ops/rnn_ops.cc)."""


@dataclass(frozen=True)
class _After:
    """What is done with one of the parts that a sum is split into."""

    function: str = ""
    node: GraphNode | None = None
    """The one that computes the function."""
    added: float = 0.0
    peephole: str = ""


def cells_in(graph: TensorFlowGraph, stored: Mapping[str, Stored]) -> list[TensorFlowCell]:
    """The cells, in the order of the graph; one that is written out step by step is one cell."""
    wires = Wires(graph, stored)
    found: dict[frozenset[str], TensorFlowCell] = {}
    for node in graph.nodes.values():
        for cell in GraphSearch(wires, stored).of(node):
            found.setdefault(frozenset(cell.arrays.values()), cell)
    return in_order(found, stored)


@dataclass(frozen=True)
class GraphSearch:
    wires: Wires
    stored: Mapping[str, Stored]

    def of(self, node: GraphNode) -> Iterator[TensorFlowCell]:
        """The cell that a node is, or that begins where it splits a sum."""
        if node.op in _BLOCKS and len(node.inputs) >= _BLOCKS[node.op][1] + 5:
            yield from self._block(node)
        elif node.op == "GRUBlockCell" and len(node.inputs) == 6:
            _, _, w_ru, w_c, b_ru, b_c = node.inputs
            arrays = dict(zip(_GRU, (w_ru, b_ru, w_c, b_c), strict=True))
            yield from self._cell("tf1", "gru-before", arrays, functions=_USUAL[:2])
        elif node.op == "Split" and len(node.inputs) == 2:
            parts = node.number("num_split", 0)
            if parts == 4:
                yield from self._lstm(node)
            elif parts == 2:
                yield from self._gru(node)
            elif parts == 3:
                yield from self._keras_gru(node)
        elif node.op in FUNCTIONS and len(node.inputs) == 1:
            yield from self._rnn(node)

    def _cell(self, layout: str, form: str, arrays: Mapping[str, str], **more: Any) -> Iterator[TensorFlowCell]:
        """The cell with these tensors of the graph, if all are parameters whose shapes fit."""
        names = {known: name for known, tensor in arrays.items() if (name := self.wires.parameter(tensor))}
        cell = TensorFlowCell(layout, form, names, self.stored, **more)
        if len(names) == len(arrays) and cell.fits:
            yield cell

    def _block(self, node: GraphNode) -> Iterator[TensorFlowCell]:
        layout, first, added, limit = _BLOCKS[node.op]
        w, *diagonals, b = node.inputs[first : first + 5]
        used = diagonals if node.number("use_peephole", 0) else []
        peepholes = [name for one in used if (name := self.wires.parameter(one))]
        if len(peepholes) != len(used):
            return  # they are computed, not stored
        clip = node.number("cell_clip", limit)
        bias = None if added is None else node.number("forget_bias", added)
        more = {"peepholes": tuple(peepholes), "forget_bias": bias, "clip": clip if clip > 0 else None}
        yield from self._cell(layout, "lstm", {"w": w, "b": b}, functions=_USUAL, **more)

    def _lstm(self, split: GraphNode) -> Iterator[TensorFlowCell]:
        """BasicLSTMCell and LSTMCell multiply [x; h] with one matrix, Keras' cell x and h with one each."""
        products, biases = self._sum(split.inputs[1])
        parts = [self.after(f"{split.name}:{at}") for at in range(4)]
        if len(products) == 1:
            order, layout = "igfo", "tf1"
            arrays = {"kernel": products[0]}
        elif len(products) == 2:
            order, layout = "ifgo", "keras"
            arrays = dict(zip(KERNELS, self._x_first(products), strict=True))
        else:
            return
        by_gate = dict(zip(order, parts, strict=True))
        gates = {by_gate[gate].function for gate in "ifo"}
        if len(gates) != 1 or "" in gates or len(biases) > 1 or not by_gate["g"].function:
            return
        arrays |= {"bias": biases[0]} if biases else {}
        if layout == "tf1" and (projection := self._projection(products[0])):
            arrays["projection/kernel"] = projection
        own = by_gate["g"].function
        more: dict[str, Any] = {"forget_bias": by_gate["f"].added, "clip": self._clip(by_gate["g"])}
        peepholes = [by_gate[gate].peephole for gate in "ifo"]
        more["peepholes"] = tuple(peepholes) if all(peepholes) else ()
        yield from self._cell(layout, "lstm", arrays, functions=(*gates, own, own), **more)

    def _projection(self, kernel: str) -> str | None:
        """The tensor that h is multiplied with, by its name: a Dense layer above multiplies h as well."""
        name = (self.wires.parameter(kernel) or "").removesuffix("kernel") + "projection/kernel"
        node = self.wires.named.get(name)
        return node.name if node else None

    def _gru(self, split: GraphNode) -> Iterator[TensorFlowCell]:
        """GRUCell: r and u are the parts of σ of one product, r ⊙ h goes into the other."""
        gates = self.wires.made_by(split.inputs[1], *FUNCTIONS)
        if gates is None or not gates.inputs:
            return
        products, biases = self._sum(gates.inputs[0])
        if len(products) != 1 or len(biases) != 1:
            return
        for times in self.wires.users(f"{split.name}:0", "Mul"):
            for joined in self.wires.users(times.name, "ConcatV2", "Concat"):
                product = self.wires.user(joined.name, "MatMul")
                if product is None or len(product.inputs) != 2:
                    continue
                total = self.wires.user(product.name, *ADDS)
                function = self.after(total.name).function if total else ""
                bias = _input(total, 1)
                if bias and function:
                    given = (products[0], biases[0], product.inputs[1], bias)
                    arrays = dict(zip(_GRU, given, strict=True))
                    yield from self._cell("tf1", "gru-before", arrays, functions=(FUNCTIONS[gates.op], function))

    def _keras_gru(self, split: GraphNode) -> Iterator[TensorFlowCell]:
        """With reset_after the two products are split, each with its own row of the bias; without it z and r of the
        state's product are added to two of the input's three parts, and the last third of U is multiplied later."""
        products, biases = self._sum(split.inputs[1])
        z, n = (self.wires.user(f"{split.name}:{at}", *ADDS) for at in (0, 2))
        if len(products) != 1 or z is None or n is None:
            return
        gate, own = self.after(z.name).function, self.after(n.name).function
        other = next((term for term, _ in self.wires.terms(z.name) if term is not split), None)
        if not gate or not own or other is None or not other.inputs:
            return
        if other.op == "Split" and other.number("num_split", 0) == 3 and len(other.inputs) == 2:
            recurrent, _ = self._sum(other.inputs[1])
            form = "gru"
        else:
            recurrent, _ = self._sum(other.name if other.op == "MatMul" else other.inputs[0])
            # With reset_after a product that is not split is of the whole matrix.
            form = "gru" if recurrent and self.whole(recurrent[0]) == recurrent[0] else "gru-before"
        if len(recurrent) != 1:
            return
        arrays = {"kernel": products[0], "recurrent_kernel": self.whole(recurrent[0])}
        arrays |= {"bias": biases[0]} if biases else {}
        yield from self._cell("keras", form, arrays, functions=(gate, own))

    def _rnn(self, function: GraphNode) -> Iterator[TensorFlowCell]:
        """A sum alone makes no RNN of what may be a Dense layer: names have to say it, too."""
        products, biases = self._sum(function.inputs[0])
        names = [self.wires.parameter(one) or "" for one in products]
        if len(biases) != 1 or not names or not all("rnn" in name.casefold() for name in names):
            return
        if len(products) == 1 and "rnn_cell" in names[0]:
            arrays = {"kernel": products[0], "bias": biases[0]}
            yield from self._cell("tf1", "rnn", arrays, functions=(FUNCTIONS[function.op],))
        elif len(products) == 2:
            arrays = dict(zip(KERNELS, self._x_first(products), strict=True)) | {"bias": biases[0]}
            yield from self._cell("keras", "rnn", arrays, functions=(FUNCTIONS[function.op],))

    def _sum(self, tensor: str) -> tuple[list[str], list[str]]:
        """Of a sum the matrices of its products, and the biases."""
        products, biases = [], []
        for node, _ in self.wires.terms(tensor):
            if node.op == "MatMul" and len(node.inputs) == 2:
                products.append(node.inputs[1])
            elif self.wires.parameter(whole := self.whole(node.name)) is not None:
                biases.append(whole)
        return products, biases

    def whole(self, tensor: str) -> str:
        """Of a part of a variable the variable."""
        if squeezed := self.wires.made_by(tensor, "Squeeze"):
            split = self.wires.made_by(_input(squeezed, 0) or "", "Split")
            return _input(split, 1) or tensor
        node = self.wires.made_by(tensor, "Unpack", "StridedSlice")
        return node.inputs[0] if node and node.inputs else tensor

    def _x_first(self, products: list[str]) -> list[str]:
        """The matrix of x and the one of h, which is as high as a gate is wide; where both are, they are in order."""
        shapes = [self.stored[name].shape if (name := self.wires.parameter(one)) else () for one in products]
        high = [len(shape) == 2 and shape[1] in (shape[0], 3 * shape[0], 4 * shape[0]) for shape in shapes]
        return products[::-1] if high == [True, False] else products

    def after(self, tensor: str) -> _After:
        """Which function a part goes into, and what is added to it on the way."""
        added, peephole = 0.0, ""
        for _ in range(4):
            if node := self.wires.user(tensor, *FUNCTIONS):
                return _After(FUNCTIONS[node.op], node, added, peephole)
            if node := self.wires.user(tensor, "LeakyRelu"):
                return _After(f"leaky_relu({node.number('alpha', 0.2):.7g})", node, added, peephole)
            if (node := self.wires.user(tensor, *ADDS)) is None:
                break
            for given in node.inputs[:2]:
                term = self.wires.source(given)[0]
                if term is not None and term.op == "Const":
                    added = self._number(term)
                elif term is not None and term.op == "Mul":
                    peephole = next((name for one in term.inputs[:2] if (name := self.wires.parameter(one))), "")
            tensor = node.name
            if added == 3 and (limit := self.wires.user(tensor, "Relu6")):
                return _After(*self._sixth(limit), peephole=peephole)
        return _After(*self._hard_sigmoid(tensor), added, peephole)

    def _sixth(self, limit: GraphNode) -> tuple[str, GraphNode | None]:
        """Keras 3 writes hard_sigmoid as relu6(x + 3) / 6."""
        parts = self.wires.user(limit.name, "RealDiv")
        six = self.wires.made_by(_input(parts, 1) or "", "Const")
        return (f"hard_sigmoid({1 / 6!r}, 0.5)", parts) if six is not None and self._number(six) == 6 else ("", None)

    def _hard_sigmoid(self, tensor: str) -> tuple[str, GraphNode | None]:
        """Keras 2 writes it out: a product, a sum, and two limits."""
        times = self.wires.user(tensor, "Mul")
        plus = times and self.wires.user(times.name, *ADDS)
        limit = plus and self.wires.user(plus.name, *_LIMITS)
        if not times or not plus or not limit:
            return "", None
        slope, shift = (self.wires.made_by(_input(node, 1) or "", "Const") for node in (times, plus))
        if slope is None or shift is None:
            return "", None
        return f"hard_sigmoid({self._number(slope):.7g}, {self._number(shift):.7g})", limit

    def _clip(self, candidate: _After) -> float | None:
        """The limit of the cell state: of the sum that the candidate goes into."""
        times = candidate.node and self.wires.user(candidate.node.name, "Mul")
        total = times and self.wires.user(times.name, *ADDS)
        limit = total and self.wires.user(total.name, *_LIMITS)
        number = self.wires.made_by(limit.inputs[-1], "Const") if limit else None
        return self._number(number) if number else None

    def _number(self, node: GraphNode) -> float:
        """A constant that is one number; 0 where it is none."""
        proto = node.tensor
        return 0.0 if proto is None else number_of(proto) or 0.0


def _input(node: GraphNode | None, at: int) -> str | None:
    """One input of a node; None where there is no node, or a damaged one with fewer inputs than its operator takes."""
    return node.inputs[at] if node is not None and at < len(node.inputs) else None
