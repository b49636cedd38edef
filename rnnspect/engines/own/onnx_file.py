"""The user's own .onnx file as an engine: `path/to/model.onnx`, or `path/to/model.onnx:NODE` for one of its nodes.

Its recurrent nodes run with the weights that the file holds, one node a layer, each on the h of the layer below. So
what is compared with the equations of somebody's weights is what was exported, and not another copy of these weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.engines.interface import cannot, check_device
from rnnspect.engines.shared.layers import run_head
from rnnspect.engines.shared.onnx_model import NodeEngine, OnnxCellEngine
from rnnspect.errors import EngineError, RnnspectError, in_one_line, listed
from rnnspect.files.onnx_file import read_model
from rnnspect.files.sources import parse_file
from rnnspect.network.parameters import recurrent_repr
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.network.spec_keys import KEYS, PLAIN
from rnnspect.weights.readers.onnx import Part, chosen, parts_in, spec_of_part
from rnnspect.weights.readers.onnx_rnn_nodes import WEIGHTS, OnnxNode

_MOST_LISTED = 8
"""A message names at most so many nodes, and counts the rest."""
_NODE = "a node after a colon, --engine FILE.onnx:NODE, chooses one"
_Layer = tuple[Part, Spec]


class OnnxFileEngine:
    """Runs the recurrent nodes of an .onnx file. Raises `FileError` for a file that cannot be read, and holds none."""

    piece: int | None = 1 << 16

    def __init__(self, text: str) -> None:
        self._file = parse_file(text)
        path, member = self._file.path, self._file.member
        self.name = f"{path.name}:{member}" if member else path.name
        self._parts = parts_in(read_model(path), str(path))
        if member is not None:
            chosen(self._parts, member, str(path))

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """Raises `EngineError` where the file has no nodes of these sizes, or several and none was named."""
        check_device(self.name, sequence)
        nodes = self._nodes(spec)
        x, count, finals = sequence.x, spec.num_directions, []
        layers: dict[tuple[int, str], Tensor] = {}
        for layer, (part, own) in enumerate(nodes):
            rows = slice(layer * count, (layer + 1) * count)
            c0 = None if sequence.c0 is None else sequence.c0[rows]
            given = Sequence(x, sequence.h0[rows], c0, sequence.lengths, batched=True)
            ran = _alone(part, own, given)
            assert ran.output is not None
            x = ran.output
            layers |= {(layer, direction): h for (_, direction), h in ran.layers.items()}
            finals.append((ran.h_n, ran.c_n))
        h_n, c_n = (None if one[0] is None else torch.cat(one) for one in zip(*finals, strict=True))
        assert h_n is not None
        info = replace(ran.engine, name=f"{self.name} in {ran.engine.name}")
        return Recording(info, x, h_n, c_n, layers, 0.0, run_head(spec, parameters, h_n), tuple(_notes(nodes, spec)))

    def _nodes(self, spec: Spec) -> list[_Layer]:
        """A node for each layer: those of the spec's cell and sizes that follow each other in the file, from the named
        one on."""
        known, said = {}, {}
        for name, part in self._parts.items():
            try:
                known[name] = _spec(part)
                said[name] = _in_words(known[name])
            except RnnspectError as error:
                said[name] = f"unusable: {error.problems[0].found}"
        names, wanted = list(known), [_shape(spec, layer) for layer in range(spec.num_layers)]
        starts = range(len(names) - len(wanted) + 1)
        rows = [names[at : at + len(wanted)] for at in starts]
        fitting = [row for row in rows if [_shape(known[name]) for name in row] == wanted]
        if self._file.member is not None:
            fitting = [row for row in fitting if row[0] == self._file.member]
        if len(fitting) == 1:
            return [(self._parts[name], known[name]) for name in fitting[0]]
        where = in_one_line(f"--engine {self._file}")
        if fitting:
            found = f"{len(fitting)} nodes fit {_in_words(spec)}: {listed((row[0] for row in fitting), _MOST_LISTED)}"
            raise EngineError(found, advice=_NODE, where=where)
        held = listed((f"{name}: {one}" for name, one in said.items()), _MOST_LISTED)
        allowed = f"{_in_words(spec)}, the network that is checked"
        dtypes = {one.dtype for one in known.values()}
        is_other = len(dtypes) == 1 and spec.dtype not in dtypes
        advice = f"check in the dtype of the file: --dtype {dtypes.pop()}" if is_other else None
        raise EngineError(f"the file has {held}", allowed=allowed, where=where, advice=advice)


def _alone(part: Part, spec: Spec, sequence: Sequence) -> Recording:
    """The results of one node, or one cell that is built from single operators, with its own weights."""
    if isinstance(part, OnnxNode):
        return NodeEngine(part).run(spec, {}, sequence)
    if sequence.lengths is not None:
        raise cannot(part.where, "lengths", "its cell is built from single operators, which take none")
    return OnnxCellEngine(part).run(spec, {}, sequence)


def _spec(part: Part) -> Spec:
    """Raises `EngineError` for weights that are not in the file as they are, and what the readers raise."""
    if isinstance(part, OnnxNode):
        if part.quantized:
            raise EngineError("its weights are 8-bit integers; rnnspect check FILE.onnx checks them by themselves")
        if missing := [name for name in WEIGHTS if part.input(name) and part.constant(name) is None]:
            raise EngineError(f"the model computes {listed(missing)} when it runs")
    return spec_of_part(part)


def _shape(spec: Spec, layer: int = 0) -> tuple[object, ...]:
    """What a node and a layer have to have in common, so that each can run on the other's input."""
    return spec.cell, spec.layer_input_size(layer), spec.hidden_size, spec.proj_size, spec.directions, spec.dtype


def _in_words(spec: Spec) -> str:
    """LSTM(3, 4, num_layers=2); where it is not float32 with the dtype."""
    plain = recurrent_repr(spec.with_changes(batch_first=False, dropout=0.0))
    return plain if spec.dtype == "float32" else f"{plain} in {spec.dtype}"


def _notes(nodes: list[_Layer], spec: Spec) -> list[str]:
    """Which nodes ran, and how what they compute differs from the spec."""
    ran = " and ".join(listed((part.name for part, _ in nodes), _MOST_LISTED).rsplit(", ", 1))
    node = "node" if len(nodes) == 1 else "nodes"
    notes = [f"ran {node} {ran} of the file, with the weights in it; nothing else of its graph ran"]
    for name in (one for one in KEYS if one not in PLAIN):
        ours = getattr(spec, name)
        theirs = {str(getattr(own, name)): part.name for part, own in nodes if getattr(own, name) != ours}
        notes += [
            f"node {part} has {name}: {value}; the checked network has {name}: {ours}" for value, part in theirs.items()
        ]
    return notes
