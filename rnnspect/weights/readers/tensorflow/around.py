"""What a graph says of cells that were found by their names, or of what stands around a cell: the functions that follow
its products, whether it goes over x from the last step on, and what becomes of the outputs of two directions.

Sources: keras layers/rnn (RNN, Bidirectional), tensorflow rnn.py (bidirectional_dynamic_rnn).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rnnspect.files.tensorflow.graph import GraphNode, TensorFlowGraph
from rnnspect.files.tensorflow.wires import Wires
from rnnspect.weights.readers.tensorflow.by_graph import KERNELS, GraphSearch
from rnnspect.weights.readers.tensorflow.cells import TensorFlowCell

_REVERSES = ("ReverseV2", "ReverseSequence")
_BY_STEP = ("TensorListGetItem", "TensorListFromTensor", "Transpose", "StridedSlice")
"""Operations between a sequence and one step of it."""
_MERGES = {"ConcatV2": "concat", "RealDiv": "ave", "Mul": "mul", "AddV2": "sum"}
"""By operation the merge_mode of Keras' Bidirectional; ave divides a sum."""


def with_functions(graph: TensorFlowGraph, cells: Sequence[TensorFlowCell]) -> list[TensorFlowCell]:
    """Cells that were found by their names, with the functions that follow the products with their kernels."""
    search, often = _search(graph, cells), [Counter[str]() for _ in cells]
    for at, product in _products(search, cells, KERNELS):
        if function := search.after(product.name).function:
            often[at][function] += 1
    return [
        replace(cell, functions=cell.functions or _functions(cell.form, often[at])) for at, cell in enumerate(cells)
    ]


def in_time(graph: TensorFlowGraph, cells: Sequence[TensorFlowCell]) -> list[TensorFlowCell]:
    """The cells, each with its first product with x, and whether one begins with the last step."""
    search, found = _search(graph, cells), list(cells)
    for at, product in _products(search, cells, KERNELS[:1]):
        one = found[at]
        turned = one.reverse or _is_turned(search.wires, product)
        found[at] = replace(one, product=one.product or product.name, reverse=turned)
    return found


def merge_of(graph: TensorFlowGraph, one: TensorFlowCell, other: TensorFlowCell) -> str | None:
    """What becomes of the outputs of both directions of a layer, by what stands in the scope that both stand in."""
    scope = ""
    for part, beside in zip(one.product.split("/"), other.product.split("/"), strict=False):
        if part != beside:
            break
        scope += f"{part}/"
    inside = {node.op for name, node in graph.nodes.items() if name.rpartition("/")[0] + "/" == scope}
    return next((mode for op, mode in _MERGES.items() if op in inside), None)


def _search(graph: TensorFlowGraph, cells: Sequence[TensorFlowCell]) -> GraphSearch:
    return GraphSearch(Wires(graph, {name for cell in cells for name in cell.arrays.values()}), {})


def _products(
    search: GraphSearch, cells: Sequence[TensorFlowCell], kernels: Sequence[str]
) -> Iterator[tuple[int, GraphNode]]:
    """The products with these arrays, or parts of them, each with the place of its cell."""
    places = {cell.arrays[name]: at for at, cell in enumerate(cells) for name in kernels if name in cell.arrays}
    for product in search.wires.graph.nodes.values():
        if product.op == "MatMul" and len(product.inputs) == 2:
            at = places.get(_part_of(search, product.inputs[1]) or "")
            if at is not None:
                yield at, product


def _part_of(search: GraphSearch, tensor: str) -> str | None:
    """The name in the file of the variable of which a tensor is a part."""
    split = search.wires.made_by(tensor, "Split")
    return search.wires.parameter(search.whole(split.inputs[-1] if split and split.inputs else tensor))


def _is_turned(wires: Wires, product: GraphNode) -> bool:
    """Whether what is multiplied is a step of a sequence that was turned round before."""
    tensor = product.inputs[0]
    for _ in range(8):
        node, _ = wires.source(tensor)
        if node is None or node.op in _REVERSES or node.op not in _BY_STEP or not node.inputs:
            return node is not None and node.op in _REVERSES
        tensor = node.inputs[0]
    return False


def _functions(form: str, often: Counter[str]) -> tuple[str, ...]:
    """As a spec lists them; none where they are not all seen. In Keras' implementation 1 each gate has products of its
    own: the function that follows two (GRU) or three times (LSTM) as many of them as another is that of the gates."""
    (gate, most), (own, least) = [*often.most_common(2), ("", 0), ("", 0)][:2]
    if form == "rnn":
        return (gate,) if len(often) == 1 else ()
    ratios = {"lstm": (3,), "gru-before": (2,), "gru": (2, 4)}[form]  # of r ⊙ (U_n h) no function is seen
    if len(often) == 2 and any(most == ratio * least for ratio in ratios):
        return (gate, own, own) if form == "lstm" else (gate, own)
    return ()
