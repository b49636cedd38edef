"""One call of a recurrent module: what it received and returned, kept, and then read as a run that can be judged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspect.checking.live.arguments import Arguments
from rnnspect.checking.live.calls import CapturedCall
from rnnspect.checking.live.hooks import CallHooks
from rnnspect.errors import InputError
from rnnspect.judging.case import Case
from rnnspect.judging.declared import declared_by
from rnnspect.judging.observation import Observation
from rnnspect.network import torch_modules
from rnnspect.network.device import Runs, precision_switches
from rnnspect.network.recording import EngineInfo, by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

_SETTINGS = ("nonlinearity", "batch_first", "dropout")
"""What `extra_repr` of a module, or of a subclass, may not show, and may be set between two calls."""
_Begun = tuple[tuple[tuple[int, ...], bool], CapturedCall | str]
"""The shape of x and whether it was packed; the call without what it will return, or why it is not kept."""
_HOOKED = "a hook that was registered since may have changed what it received; later calls are read after it"
_FULL = "it was not kept: earlier calls have used up the memory that watch may use"


class Unreadable(Exception):  # noqa: N818  (it is a reason, which becomes a verdict)
    """Why a call cannot be judged."""


class Listener:
    """The hooks on one module. `reserve` is called before bytes are kept, and says whether there is room for so
    many. `report` gets the shape of each call's x, whether it was packed, and what was kept of the call or why
    nothing was."""

    def __init__(
        self,
        module: nn.Module,
        reserve: Callable[[int], bool],
        report: Callable[[tuple[int, ...], bool, CapturedCall | str], None],
    ) -> None:
        self._reserve, self._report = reserve, report
        self._arguments = Arguments(module)
        self._is_cell = torch_modules.is_cell(module)
        self._specs: dict[tuple[Any, ...], Spec] = {}
        self._latest: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._lock = threading.RLock()
        self._hooks = CallHooks(module, self._called, self._returned)

    def remove(self) -> None:
        self._hooks.remove()

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], was_last: bool) -> _Begun:
        if torch._C._get_tracing_state() is not None:  # each operation on x would become part of the graph
            return ((), False), "torch.jit.trace traced it in this call"
        given, reason = self._arguments.read(args, kwargs)
        if not was_last:
            reason = _HOOKED
        return _shape(given["input"]), reason or self._received(module, given)

    def _returned(self, module: nn.Module, begun: _Begun, output: Any) -> None:
        shape, kept = begun
        if isinstance(kept, CapturedCall):
            kept = replace(kept, returned=_copied(output)) if self._reserve(_bytes(output)) else _FULL
        if isinstance(kept, CapturedCall) and is_parametrized(module):
            ran = self._snapshot(torch_modules.parameters_that_ran(module, kept.spec))
            kept = _FULL if ran is None else replace(kept, parameters=ran)
        self._report(*shape, kept)

    def _received(self, module: Any, given: dict[str, Any]) -> CapturedCall | str:
        """The call without what it will return, or why it is not kept."""
        parameter = next(module.parameters(), None)
        if parameter is None:  # a replica of DataParallel has plain tensors in their place
            parameter = module.weight_ih if self._is_cell else module.weight_ih_l0
        tensors = (parameter, *tensors_in(given))
        if parameter.is_meta:
            return "it is on the meta device, which has no values"
        if any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors)):
            return "it was called inside of torch.vmap, or another transform of torch.func"
        if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:
            return "it was called with fake tensors, which have no values, as torch.export does"
        try:
            spec, parameters = self._described(module, parameter)
        except (InputError, AttributeError) as error:
            return f"its parameters cannot be read: {error}"
        snapshot = self._snapshot(parameters) if self._reserve(_bytes(given)) else None
        if snapshot is None:
            return _FULL
        noisy = not self._is_cell and spec.num_layers > 1 and spec.dropout > 0 and module.training
        onednn_lstm = spec.cell == "lstm" and not spec.proj_size
        runs: Runs = "cells" if self._is_cell else "stack"
        switches = precision_switches(parameter.device, getattr(torch, spec.dtype), runs, onednn_lstm)
        engine = EngineInfo("torch", torch.__version__, spec.device, spec.dtype, switches)
        return CapturedCall(spec, engine, self._is_cell, noisy, snapshot, _copied(given), None, module)

    def _described(self, module: Any, parameter: Tensor) -> tuple[Spec, dict[str, Tensor]]:
        """The spec of the module and its parameters. Making a spec takes longer than a step of a cell, so it is kept
        while settings, dtype and device stay the same. Parametrized weights are read after the call."""
        shown = tuple(getattr(module, name, None) for name in _SETTINGS)
        key = parameter.dtype, parameter.device, module.extra_repr(), *shown
        if key not in self._specs:
            spec_of = torch_modules.spec_of_cell if self._is_cell else torch_modules.spec_of
            self._specs[key] = spec_of(module)
        spec = self._specs[key]
        return spec, {} if is_parametrized(module) else torch_modules.parameters_of_module(module, spec)

    def _snapshot(self, parameters: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """The parameters, copied only if a number has changed; None where there is no room. Version counters would not
        show a write through `.data`."""
        with self._lock:
            if not all(_same(now, self._latest.get(name)) for name, now in parameters.items()):
                if not self._reserve(_bytes(parameters)):
                    return None
                self._latest = {name: now.clone() for name, now in parameters.items()}
                self._kept = {name: now.cpu() for name, now in self._latest.items()}
            return self._kept


def _same(now: Tensor, then: Tensor | None) -> bool:
    return then is not None and now.dtype == then.dtype and now.device == then.device and torch.equal(now, then)


def _copied(value: Any) -> Any:
    """Tensors copied to the CPU, and what holds them built again; of anything else the type."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, PackedSequence):
        return PackedSequence(*map(_copied, value))
    if isinstance(value, tuple | list):
        return tuple(map(_copied, value))
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return None if value is None else type(value)


def _bytes(value: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(value))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a value of tuples, lists and dicts; a PackedSequence is a tuple."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


def _shape(x: Any) -> tuple[tuple[int, ...], bool]:
    if isinstance(x, PackedSequence):
        return (len(x.batch_sizes), int(x.batch_sizes[0]), x.data.shape[-1]), True
    return (tuple(x.shape) if isinstance(x, Tensor) else ()), False


def read(kept: CapturedCall) -> Case:
    """The call as a run that can be judged: time-major, held to the arithmetic of the engine that ran it.

    Raises `Unreadable` for a call that does not take or give what torch.nn's module of its kind does, as a call of a
    subclass may.
    """
    x, lengths, batched = _input(kept)
    x, spec = _whole(kept, x, batched), kept.spec
    if 0 in x.shape:
        raise Unreadable(f"it received no numbers: x has the shape {_shape(kept.given['input'])[0]}")
    if x.shape[-1] != spec.input_size:
        raise Unreadable(f"it received x with the shape {tuple(x.shape)}, and its input_size is {spec.input_size}")
    batch = x.shape[1]
    places, units = spec.num_layers * spec.num_directions, (spec.output_size, spec.hidden_size)
    shapes: list[tuple[int, ...]] = [(places, batch, size) for size in units[: len(spec.cell_type.states)]]
    hx = kept.given.get("hx")
    begun = [x.new_zeros(shape) for shape in shapes] if hx is None else _states(kept, hx, batched)
    _check_shapes("it received a state with the shape", begun, shapes)
    output, finals = _output(kept, batched, lengths)
    wanted = (*x.shape[:2], spec.output_width)
    if tuple(output.shape) != wanted:
        raise Unreadable(f"its output has the shape {tuple(output.shape)} instead of {wanted} (step, batch, unit)")
    _check_shapes("a final state has the shape", finals, shapes)
    h0, c0 = begun if len(begun) > 1 else (begun[0], None)
    sequence, observation = Sequence(x, h0, c0, lengths, batched), _observation(kept, output, finals)
    return Case(spec, kept.parameters, sequence, observation, declared_by(kept.engine)).under_autocast()


def _input(kept: CapturedCall) -> tuple[Tensor, tuple[int, ...] | None, bool]:
    """x, (T, B, I) if it is batched, the lengths of a packed x, which is padded, and whether it is batched."""
    x = kept.given.get("input")
    axes = 1 if kept.is_cell else 2
    if isinstance(x, PackedSequence) and not kept.is_cell:
        padded, counts = pad_packed_sequence(x)
        lengths = tuple(counts.tolist())
        return padded, None if min(lengths) == len(padded) else lengths, True
    if not isinstance(x, Tensor) or x.dim() not in (axes, axes + 1):
        raise Unreadable("its x is not what a torch.nn module receives")
    batched = x.dim() > axes
    return x.transpose(0, 1) if batched and kept.spec.batch_first and not kept.is_cell else x, None, batched


def _whole(kept: CapturedCall, values: Tensor, batched: bool) -> Tensor:
    """Values with the axes that they came without: those of the batch, and of the one step of a cell."""
    values = values if batched else values.unsqueeze(-2)
    return values.unsqueeze(0) if kept.is_cell else values


def _check_shapes(found: str, states: list[Tensor], shapes: list[tuple[int, ...]]) -> None:
    for state, shape in zip(states, shapes, strict=True):
        if tuple(state.shape) != shape:
            raise Unreadable(f"{found} {tuple(state.shape)} instead of {shape}")


def _states(kept: CapturedCall, given: Any, batched: bool) -> list[Tensor]:
    """h, or h and c: (L·D, B, ·)."""
    states = list(given) if isinstance(given, tuple) else [given]
    if len(states) != len(kept.spec.cell_type.states) or not all(isinstance(state, Tensor) for state in states):
        raise Unreadable("its states are not like those of a torch.nn module")
    return [_whole(kept, state, batched) for state in states]


def _output(kept: CapturedCall, batched: bool, lengths: tuple[int, ...] | None) -> tuple[Tensor, list[Tensor]]:
    """output (T, B, D·P), and the final states; a cell's only state is its output."""
    if kept.is_cell:
        finals = _states(kept, kept.returned, batched)
        return finals[0], finals
    if not isinstance(kept.returned, tuple) or len(kept.returned) != 2:
        raise Unreadable("it did not return (output, states) like a torch.nn module")
    output, final = kept.returned
    if isinstance(output, PackedSequence):
        output, counts = pad_packed_sequence(output)
        if lengths is not None and tuple(counts.tolist()) != lengths:
            raise Unreadable("its output and its x have different lengths")
    elif isinstance(output, Tensor):
        output = _whole(kept, output, batched)
        output = output.transpose(0, 1) if batched and kept.spec.batch_first and output.dim() == 3 else output
    else:
        raise Unreadable("its output is not a tensor")
    return output, _states(kept, final, batched)


def _observation(kept: CapturedCall, output: Tensor, finals: list[Tensor]) -> Observation:
    """Of a stack the top layer at each step and every final state; of a cell its step."""
    parts = by_direction(kept.spec, kept.spec.num_layers - 1, output)
    layers = {place: {"h": h} for place, h in parts.items()}
    if kept.is_cell:
        if len(finals) > 1:
            layers[0, "forward"]["c"] = finals[1]
        return Observation(kept.engine, layers)
    return Observation(kept.engine, layers, finals[0], finals[1] if len(finals) > 1 else None)
