"""The tensors of an ONNX graph whose numbers the file holds: initializers, Constants, and what is only rearranged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

    Array = Any
    Path = tuple[tuple[GraphProto, NodeProto | None, str], ...]

MOVING = ("Identity", "Unsqueeze", "Squeeze", "Slice", "Concat", "Transpose", "Reshape", "Cast", "Split", "Flatten")
"""Operators that give no more numbers than they take; exporters make W, R and B with them."""
MOST_BYTES = 2**31
DEPTH = 100
"""How many operators in a row are followed."""


class Constants:
    """Looks tensors up by name, from a node's own graph outwards, and computes each once."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._known: dict[tuple[int, str], Array | None] = {}

    def value(self, name: str, path: Path, depth: int = 0) -> Array | None:
        """The numbers of a tensor as a node in the last graph of the path sees it; of a graph's input its default.

        None for an empty name, and where the numbers are computed or given when the model runs.
        """
        if not name or depth > DEPTH:
            return None
        for end in range(len(path), 0, -1):
            graph = path[end - 1][0]
            if (key := (id(graph), name)) in self._known:
                return self._known[key]
            held = next((tensor for tensor in graph.initializer if tensor.name == name), None)
            maker = None if held else next((node for node in graph.node if name in node.output), None)
            if held or maker or any(known.name == name for known in graph.input):
                self._known[key] = None  # so that a circle of operators ends: it has no numbers
                self._known[key] = self._found(held, maker, name, path[:end], depth)
                return self._known[key]
        return None

    def _found(self, held: Any, maker: NodeProto | None, name: str, path: Path, depth: int) -> Array | None:
        from onnx import numpy_helper

        if held is not None:
            return numpy_helper.to_array(held)
        if maker is None or maker.domain not in ("", "ai.onnx"):
            return None
        if maker.op_type == "Constant":
            value = next((a.t for a in maker.attribute if a.name == "value"), None)
            return self._computed(maker, {}, name) if value is None else numpy_helper.to_array(value)
        if maker.op_type not in MOVING:
            return None
        inputs = {given: self.value(given, path, depth + 1) for given in maker.input if given}
        if any(values is None for values in inputs.values()):
            return None
        size = sum(getattr(inputs[given], "nbytes", 0) for given in maker.input if given)
        return self._computed(maker, inputs, name) if 8 * size <= MOST_BYTES else None

    def _computed(self, maker: NodeProto, inputs: dict[str, Array], name: str) -> Array | None:
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        kinds = {given: helper.np_dtype_to_tensor_dtype(values.dtype) for given, values in inputs.items()}
        taken = [helper.make_tensor_value_info(given, kind, None) for given, kind in kinds.items()]
        graph = helper.make_graph([maker], "one", taken, [helper.make_tensor_value_info(name, 0, None)])
        try:
            model = helper.make_model(graph, opset_imports=self._model.opset_import)
            evaluator: Any = ReferenceEvaluator(model)
            found = evaluator.run([name], inputs)[0]
        except Exception:  # noqa: BLE001 - the evaluator raises whatever numpy does; then the numbers are not known here
            return None
        return found if hasattr(found, "nbytes") else None
