"""The recurrent modules of a TensorFlow file: the spec of each, and its parameters under PyTorch's names."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError, listed
from rnnspect.files.reading import Tensors
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import Spec
from rnnspect.weights import layouts
from rnnspect.weights.readers.interface import (
    USUAL,
    Module,
    StoredParameters,
    Told,
    dtype_of,
    functions_of,
    refuse_contradiction,
    unique,
)
from rnnspect.weights.readers.keras_layer import CONCATENATED, dtype_of_run
from rnnspect.weights.readers.tensorflow import around, by_graph, by_names
from rnnspect.weights.readers.tensorflow.cells import TensorFlowCell
from rnnspect.weights.readers.tensorflow.stacks import TensorFlowStack, stacks_of

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.files.tensorflow.graph import TensorFlowGraph
    from rnnspect.weights.readers.keras_layer import ConfiguredLayer


def modules_of(
    tensors: Tensors,
    graph: TensorFlowGraph | None,
    path: str,
    flags: Mapping[str, Any],
    layers: Mapping[str, ConfiguredLayer] | None = None,
) -> dict[str, Module]:
    """Every recurrent module, by what the names of its variables begin with. Where there is a graph, it says what the
    cells are; what it leaves open, and all where there is none, names and shapes say. `layers` is what Keras says of
    layers, by the names of their kernels.

    Raises `FileError` where there is none.
    """
    cells = by_graph.cells_in(graph, tensors.stored) if graph else []
    named = by_names.cells_in(tensors.stored, {name for cell in cells for name in cell.names})
    cells += around.with_functions(graph, named) if graph else named
    cells = around.in_time(graph, cells) if graph else cells
    if not cells:
        allowed = "LSTM, GRU or RNN cells in a graph, or names such as lstm_cell/kernel"
        raise FileError("no recurrent parameters found", allowed=allowed, where=path)
    found: dict[str, Module] = {}
    often, names = Counter[str](), dict[int, str]()
    others = len(tensors.stored) - len({name for cell in cells for name in cell.names})
    stacks = stacks_of(cells)
    for stack in stacks:
        often[stack.name] += 1
        name = unique(stack.name if often[stack.name] == 1 else f"{stack.name}#{often[stack.name]}", found)
        layer = (layers or {}).get(next(iter(stack.cells[0].arrays.values())))
        names[id(stack)] = name
        lower = names.get(id(stack.below), "")
        beside = _around(stack, graph) if graph else []
        tell = functools.partial(_tell, stack, layer, f"{path}:{name}" if name else path, lower, others, flags, beside)
        found[name] = Module(tell, functools.partial(_read, stack, tensors))
    return found


def _tell(
    stack: TensorFlowStack,
    layer: ConfiguredLayer | None,
    source: str,
    lower: str,
    others: int,
    flags: Mapping[str, Any],
    beside: Sequence[str],
) -> Told:
    """`beside` is what its graph says of what stands around the cells."""
    cell = stack.cells[0]
    keys: dict[str, Any] = {"cell": cell.form.partition("-")[0], **vars(cell.sizes), "num_layers": len(stack.layers)}
    keys |= {"bidirectional": len(stack.layers[0]) == 2, "layout": cell.layout, "weights": source}
    keys |= {"reverse": True} if stack.reverse else {}
    keys |= {"reset": "before"} if cell.form == "gru-before" else {}
    keys |= {"peepholes": True} if cell.peepholes else {}
    functions = [list(one.functions) for one in stack.layers[0]]
    both = functions[0] if len(functions) == 1 or functions[0] == functions[1] else functions[0] + functions[1]
    keys |= functions_of(keys["cell"], both)
    keys |= dtype_of((cell.stored[name].dtype for one in stack.cells for name in one.names), flags.get("dtype"), source)
    said = _said(layer, keys, source) if layer else {}
    dtype, of_dtype = dtype_of_run(layer, keys.get("dtype"), flags) if layer else ({}, [])
    every = [*_notes(stack, said), *(layer.notes if layer else beside), *of_dtype]
    notes = tuple(f"note: {source} {note}" for note in every)
    untold = () if "batch_first" in said else ("batch_first",)
    return Told(keys | said | dtype, source, lower, notes, untold, others)


def _around(stack: TensorFlowStack, graph: TensorFlowGraph) -> list[str]:
    """What its graph says that no spec can."""
    if stack.cells[0].reverse and len(stack.cells) == 1:
        how = "goes over x from the last step on, as its graph says"
        return [f"{how}; where it returns its last step first, turn what it gave: y[:, ::-1]"]
    modes = {around.merge_of(graph, *layer) for layer in stack.layers if len(layer) == 2} - {None, "concat"}
    return [f"merges its directions with {mode!r}; {CONCATENATED}" for mode in modes]


def _said(layer: ConfiguredLayer, keys: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What Keras says of a layer. Raises `FileError` for what no spec can say, `WeightsError` for another layer."""
    if layer.reason:
        raise FileError(f"a spec cannot describe this layer: {layer.reason}", where=source)
    refuse_contradiction(keys, layer.keys, ("cell", "hidden_size", "bias", "bidirectional"), source)
    return dict(layer.keys)


def _notes(stack: TensorFlowStack, said: Mapping[str, Any]) -> list[str]:
    """How it was read, what nothing says, and what no spec can say."""
    cell = stack.cells[0]
    packing = cell.packing
    arrays = listed((f"{name} = {packing.arrays[name]}" for name in cell.arrays), 3)
    notes = [f"read as {cell.layout} ({packing.where}): {arrays}"]
    functions = USUAL[cell.form.removesuffix("-before")]
    unsaid = [] if cell.functions or said else [("the activations in a known form", ", ".join(functions))]
    if packing.forget_bias and cell.forget_bias is None:
        unsaid.append(("the forget_bias added at run time", f"{packing.forget_bias:g}"))
    if cell.form == "gru" and "bias" not in cell.arrays and cell.layout == "keras" and not cell.functions and not said:
        unsaid.append(("where the GRU applies its reset gate", "after the matrix product (--reset after)"))
    if unsaid:
        notes.append(
            f"does not store {listed(what for what, _ in unsaid)}; assuming {listed(taken for _, taken in unsaid)}"
        )
    added = sorted({one.forget_bias for one in stack.cells if one.forget_bias is not None})
    if added and added != [packing.forget_bias]:
        notes.append(
            f"adds {listed(f'{number:g}' for number in added)} to the forget gate at run time, as its graph says"
        )
    limits = sorted({one.clip for one in stack.cells if one.clip is not None})
    if limits:
        notes.append(f"clips c to ±{listed(f'{number:g}' for number in limits)} (cell_clip), which is ignored here")
    return notes


def _read(stack: TensorFlowStack, tensors: Tensors, spec: Spec) -> StoredParameters:
    numbers = tensors.read([name for cell in stack.cells for name in cell.names])
    found = StoredParameters({})
    for layer, cells in enumerate(stack.layers):
        for cell, direction in zip(cells, spec.directions, strict=False):
            named = _parameters(cell, numbers).named(layer, direction)
            found.parameters.update(named)
            found.names.update(dict.fromkeys(named, cell.arrays[cell.packing.weights[0]]))
    return found


def _parameters(cell: TensorFlowCell, numbers: Mapping[str, Tensor]) -> LayerParameters:
    """PyTorch's parameters of one layer and direction; what the cell adds to f is in bias_hh."""
    import torch  # shapes reads a cell without it

    from rnnspect.weights.layouts.packing import unpack

    given = {known: numbers[name] for known, name in cell.arrays.items()}
    found = unpack(layouts.find(cell.layout), cell.form, given)
    if cell.forget_bias is not None and cell.form == "lstm" and found.bias_hh is not None:
        hidden = cell.sizes.hidden_size
        bias = torch.zeros_like(found.bias_hh)
        bias[hidden : 2 * hidden] = cell.forget_bias
        found = replace(found, bias_hh=bias)
    if cell.peepholes:
        found = replace(found, weight_ch=torch.cat([numbers[name] for name in cell.peepholes]))
    return found
