"""Prepares a run of a spec or a live module: parameters and sequence on a device, and the engine."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rnnspect import engines
from rnnspect.engines.interface import Engine, NoEngine
from rnnspect.engines.shared.pieces import run_in_pieces
from rnnspect.engines.torch import ModuleEngine, TorchEngine
from rnnspect.engines.torch_cell import LiveCellEngine
from rnnspect.errors import EngineError, Where
from rnnspect.files.free_memory import require
from rnnspect.files.sources import parse_file
from rnnspect.network import device, memory, torch_modules
from rnnspect.network.drawing import generator_of
from rnnspect.network.progress import StepsDone, untold
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence, sequence_of
from rnnspect.network.spec import Spec
from rnnspect.tracing.given import GivenInput
from rnnspect.weights.loading import weights_of


@dataclass(frozen=True)
class Prepared:
    """A network with its parameters by PyTorch's names and its sequence, both on one device, and who runs it."""

    spec: Spec
    parameters: Mapping[str, Tensor]
    sequence: Sequence
    engine: Engine

    @property
    def steps_of_layers(self) -> int:
        """The steps of all layers and directions together."""
        return self.sequence.steps * self.spec.num_layers * self.spec.num_directions

    def with_engine(self, engine: str | Callable[..., Any], where: str | None = None, needed: bool = False) -> Prepared:
        """The same run by the engine of that name, or by the user's own function or class; "torch" leaves it as it is.
        Raises what `engines.find` raises, and where one is `needed` what `with_an_engine` does."""
        made = self if engine == "torch" else replace(self, engine=engines.find(engine, where))
        return made.with_an_engine() if needed else made

    def on(self, place: torch.device) -> Prepared:
        """The same run on another device, of parameters without autograd."""
        parameters = {name: values.detach().to(place) for name, values in self.parameters.items()}
        return replace(self, parameters=parameters, sequence=self.sequence.to(place))

    def with_an_engine(self) -> Prepared:
        """The same run. Raises `EngineError` where there is none to check: no framework has somebody's own cell."""
        if isinstance(self.engine, NoEngine):
            advice = "give your implementation, --engine path/to/mine.py:step, or its numbers, --recorded y.npy"
            found = f"there is nothing to compare with the equations: {self.engine.reason}"
            raise EngineError(found, advice=advice)
        return self

    def or_no_engine(self) -> Prepared:
        """The same run, without an engine where that is torch and no module of torch.nn computes such a network."""
        if isinstance(self.engine, TorchEngine) and self.spec.beyond_torch:
            return replace(self, engine=NoEngine(self.spec.beyond_torch))
        return self

    def run(self, progress: StepsDone = untold) -> Recording:
        """What the engine gives; `progress` is told how many steps more it has run, in all layers and directions
        together. A long run goes in pieces where the engine can do that. Raises `EngineError` for what it cannot run.
        """
        places = len(self.spec.places)
        return run_in_pieces(
            self.engine, self.spec, self.parameters, self.sequence, lambda steps: progress(steps * places)
        )


def prepare(
    source: Spec | nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    where: Where | None = None,
    require_memory: Callable[[Spec, int, int], int] = memory.trace_needs,
) -> Prepared:
    """Everything that a run needs, checked: sizes before memory is taken, shapes before anything runs.

    A module is an nn.RNN, nn.LSTM or nn.GRU, or one of their cells, which is called step by step. x, h0, c0 and
    lengths, where given, stand in place of the spec's; x may be a packed sequence, and h0 a tuple of h0 and c0. `where`
    says what an error message calls the place of a key; `require_memory` estimates the bytes that the work needs from
    the spec, T and B.

    Raises `SpecError`, `DeviceError`, `WeightsError`, `SequenceError`, `FileError` or `ResourceError`.
    """
    locate = where or (lambda keys: str(keys[0]))
    spec = source if isinstance(source, Spec) else torch_modules.spec_of_module(source)
    given = GivenInput(x, h0, c0, lengths).plain(spec, torch_modules.is_cell(source))
    if given.x is not None:
        spec = spec.with_changes(input=given.x) if isinstance(given.x, str) else spec.with_changes(input=None)
    if given.lengths is not None:
        spec = spec.with_changes(lengths=_whole(given.lengths))
    place = device.resolve(spec, where and where(("device",)))
    require(memory.parameters_need(spec), "the parameters", where and where(("hidden_size",)))
    with device.plain_defaults():
        generator = generator_of(spec)
        if isinstance(source, Spec):
            parameters = weights_of(spec, generator, locate)
            engine: Engine = NoEngine(str(spec.beyond_torch)) if spec.is_own_cell else TorchEngine()
        else:
            parameters = torch_modules.parameters_of_module(source, spec)
            engine = engine_of(source)
        sequence = sequence_of(spec, generator, locate, require_memory, given.x, given.h0, given.c0)
    parameters = {name: tensor.to(place) for name, tensor in parameters.items()}
    return Prepared(spec, parameters, sequence.to(place), engine)


def engine_of(module: Any) -> LiveCellEngine | ModuleEngine:
    """What runs a live stack or cell of torch.nn."""
    return LiveCellEngine(module) if torch_modules.is_cell(module) else ModuleEngine(module)


def _whole(lengths: Any) -> Any:
    """A tensor, an array, or any sequence of whole numbers as a list of Python's. Anything else comes back as it
    is, for the spec to refuse."""
    if hasattr(lengths, "tolist"):
        return lengths.tolist()
    try:
        return [operator.index(length) for length in lengths]
    except TypeError:
        return lengths


def by_its_own_node(prepared: Prepared) -> Prepared:
    """Where no module of torch.nn computes the network, and its parameters are those of a part of an .onnx file,
    onnxruntime runs that part in place of the engine."""
    from rnnspect.engines.shared.onnx_model import NodeEngine, OnnxCellEngine
    from rnnspect.files.onnx_file import read_model
    from rnnspect.weights import readers
    from rnnspect.weights.readers.onnx import part_in
    from rnnspect.weights.readers.onnx_rnn_nodes import OnnxNode

    spec = prepared.spec
    source = parse_file(spec.weights) if spec.beyond_torch and isinstance(spec.weights, str) else None
    if source is None or readers.kind_of(source.path) != "onnx":
        return prepared
    part = part_in(read_model(source.path), source.member, str(source.path))
    return replace(prepared, engine=NodeEngine(part) if isinstance(part, OnnxNode) else OnnxCellEngine(part))
