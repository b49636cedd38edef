"""PyTorch's own torch.nn.RNN, LSTM and GRU, in eval mode: forwards without autograd, and backwards by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnspect.engines.interface import OWN_CODE, Engine, GoesBack, cannot
from rnnspect.engines.shared.autograd import Leaves, recorded_by_autograd, trained
from rnnspect.engines.shared.layers import Returned, StateTensors, run_head
from rnnspect.engines.shared.live_modules import GOING_BACK, as_returned, on_x, their_code, told
from rnnspect.errors import InputError, listed
from rnnspect.files.safetensors_file import read_safetensors
from rnnspect.files.silenced import ignoring
from rnnspect.network.device import Runs, precision_switches
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.parameters import parameters_of, recurrent_parameters
from rnnspect.network.recording import EngineInfo, Recording, by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.network.tensors import max_abs_difference
from rnnspect.network.torch_modules import ONE_RUN
from rnnspect.weights.writers.onnx import VARIANTS

_SAME = 1e-2
"""How near the gradient of a tied parameter is to the sum of its parts, by the largest of these, if it is that sum; in
a half type, too."""
_NO_PROJECTION = "LSTM with projections is not supported with oneDNN"
"""PyTorch's own kernel runs instead, which is no news here."""


class TorchEngine:
    """Runs the module that the spec describes."""

    name = "torch"
    piece: int | None = 1 << 14
    _runs: Runs = "stack"
    _module: nn.RNNBase | None = None
    _stateless = False
    _held: Mapping[str, Tensor] | None = None
    """The parameters, where they are not those that it is handed."""

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """A single layer runs once; a stack runs as a whole and layer by layer, so that all of it is seen."""
        info, dtype, parameters = self._info(spec, sequence), sequence.x.dtype, self._held or parameters
        with self._around(sequence), torch.no_grad(), ignoring(_NO_PROJECTION), told(self.name, "this module"):
            whole = _module(spec, dtype, parameters) if self._module is None else self._module
            begun = () if self._stateless else sequence.state
            output, state = self._run_module(whole, sequence.x, begun, sequence.lengths)
            layers: dict[tuple[int, str], Tensor] = {}
            x = sequence.x
            for layer in range(spec.num_layers):
                if spec.num_layers == 1:
                    x = output
                else:
                    rows = slice(layer * spec.num_directions, (layer + 1) * spec.num_directions)
                    begun = tuple(initial[rows].contiguous() for initial in sequence.state)
                    x, _ = self._run_module(_module(spec, dtype, parameters, layer), x, begun, sequence.lengths)
                layers |= by_direction(spec, layer, x)
            apart = 0.0 if x is output else max_abs_difference(x, output)
            if not apart:  # the same numbers: they are kept once
                layers |= by_direction(spec, spec.num_layers - 1, output)
        c_n = state[1] if len(state) > 1 else None
        return Recording(info, output, state[0], c_n, layers, apart, run_head(spec, parameters, state[0]))

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        """One call of the whole module, and one pass of autograd over it."""
        info = self._info(spec, sequence)
        with self._around(sequence), recorded_by_autograd(), ignoring(_NO_PROJECTION):
            live = self._module  # which may be falsy: a subclass may have a length of 0
            leaves = Leaves.of(sequence, self._held or parameters if live is None else {})
            module = _module(spec, sequence.x.dtype, leaves.parameters) if live is None else live
            with _going_back(module, self.name), told(self.name, "the backward pass"):
                run = leaves.sequence
                output, state = self._run_module(module, run.x, () if self._stateless else run.state, run.lengths)
                # As attributes, for a normalised or parametrized weight is no parameter of a live module.
                own = {one.name: getattr(module, one.name) for one in recurrent_parameters(spec)}
                leaves = replace(leaves, parameters=own)
                with their_code(self.name, module, GOING_BACK):
                    found = leaves.gradients(info, output, state, upstream)
                return leaves.with_zeros(found, states=not self._stateless)

    def _info(self, spec: Spec, sequence: Sequence) -> EngineInfo:
        """Raises `EngineError` for what no module of torch.nn computes."""
        if spec.beyond_torch:
            in_onnx = bool(spec.cell_type.torch_name) and not spec.proj_size and set(spec.variant_keys) <= set(VARIANTS)
            runs = "--engine onnxruntime of trace, derive, check and report runs it"
            advice = (
                OWN_CODE if not in_onnx else runs if spec.dtype == "float32" else f"in float32, {runs}; or {OWN_CODE}"
            )
            raise cannot(self.name, "this spec", spec.beyond_torch, advice)
        device = sequence.x.device
        switches = precision_switches(device, sequence.x.dtype, self._runs, spec.cell == "lstm" and not spec.proj_size)
        return EngineInfo(self.name, torch.__version__, str(device), spec.dtype, switches)

    def _around(self, sequence: Sequence) -> AbstractContextManager[object]:
        """What a run of the sequence is inside of. Raises `EngineError` where it cannot run."""
        del sequence
        return nullcontext()

    def _call(self, module: nn.RNNBase, given: Any, *state: Any) -> Any:
        return module(given, *state)

    def _run_module(
        self, module: nn.RNNBase, x: Tensor, state: StateTensors, lengths: tuple[int, ...] | None
    ) -> Returned:
        """The module's output (T, B, D·P) and final states for x (T, B, I), whatever `batch_first` it has, in eval
        mode. Without any `state` the module is called without one."""
        was_training = module.training
        module.eval()
        # cuDNN keeps what a pass backwards needs only in train mode; `_going_back` has switched dropout off.
        module.training = torch.is_grad_enabled() and x.device.type == "cuda"
        try:
            given: Any = x.transpose(0, 1) if module.batch_first else x
            if lengths is not None:
                counts = torch.tensor(lengths)
                given = pack_padded_sequence(given, counts, module.batch_first, enforce_sorted=False)
            with their_code(self.name, module, on_x(given)):
                returned = self._call(module, given, *((state,) if len(state) > 1 else state))
        finally:
            module.train(was_training)
        return as_returned(self.name, module, returned, x, lengths)


class ConvertedTorch(TorchEngine):
    """torch.nn's module with the parameters of a converted .safetensors file."""

    def __init__(self, path: Path, spec: Spec) -> None:
        """Raises `InputError` for a file that does not hold exactly the parameters of the spec."""
        self._held = read_safetensors(path)
        wanted = {parameter.name for parameter in parameters_of(spec)}
        if set(self._held) != wanted:
            raise InputError(
                f"the file holds {listed(sorted(self._held))}", allowed=listed(sorted(wanted)), where=str(path)
            )

    def handed(self) -> GoesBack:
        return TorchEngine()


class ModuleEngine(TorchEngine):
    """Runs a live module of torch.nn, once; with `stateless` it is called without initial states. Its gradients are by
    the module's own parameters, whose `.grad` stays as it is."""

    piece = None

    def __init__(self, module: nn.RNNBase, stateless: bool = False) -> None:
        self._module = module
        self._stateless = stateless

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """As `TorchEngine.run`; a note says what dropout was switched off."""
        ran = super().run(spec, parameters, sequence)
        return replace(ran, notes=(*ran.notes, *self._switched_off()))

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        """As `TorchEngine.backward`; a note says what dropout was switched off, and which parameters are one tensor:
        torch gives the sum of their gradients, of which each is then taken from the same kernel without the tie."""
        found = super().backward(spec, parameters, sequence, upstream)
        for names in _tied(self._module, found.parameters):
            apart = self.handed().backward(spec, parameters, sequence, upstream).parameters
            total, each = found.parameters[names[0]], [apart[name] for name in names]
            largest = max(float(one.abs().max()) for one in each)
            if max_abs_difference(total, torch.stack(each).sum(0)) <= _SAME * largest:
                said = f"{listed(names)} are one tensor, whose gradient is a sum; each part was checked by itself"
                parts = dict(zip(names, each, strict=True))
                found = replace(found, parameters={**found.parameters, **parts}, notes=(*found.notes, said))
        return replace(found, notes=(*found.notes, *self._switched_off()))

    def _switched_off(self) -> Iterator[str]:
        module = self._module
        with ONE_RUN:  # in another thread it may be switched off just now
            dropout = module.dropout if module is not None and module.training and module.num_layers > 1 else 0
        if dropout:
            yield f"the module is in train mode; its dropout of {dropout:g} was switched off for this run"

    def _around(self, sequence: Sequence) -> AbstractContextManager[object]:
        del sequence
        return ONE_RUN

    def handed(self) -> GoesBack:
        return TorchEngine()

    def without_state(self) -> Engine | None:
        assert self._module is not None
        return ModuleEngine(self._module, stateless=True)


def _tied(module: nn.RNNBase | None, names: Iterable[str]) -> list[list[str]]:
    """The names of parameters that are one tensor; what is made of others is a tensor of its own."""
    by_tensor: dict[int, list[str]] = {}
    held = {} if module is None else module._parameters
    for name in names:
        if name in held:
            by_tensor.setdefault(id(held[name]), []).append(name)
    return [one for one in by_tensor.values() if len(one) > 1]


@contextmanager
def _going_back(module: nn.RNNBase, engine: str) -> Iterator[None]:
    """Inside, frozen parameters have gradients, too, and no dropout acts, not even in train mode."""
    with trained(module, engine):
        dropout, module.dropout = module.dropout, 0.0
        try:
            yield
        finally:
            module.dropout = dropout


def _module(spec: Spec, dtype: torch.dtype, parameters: Mapping[str, Tensor], layer: int | None = None) -> nn.RNNBase:
    """The module with these parameters: the whole stack, or one layer of it."""
    options: dict[str, Any] = {
        "input_size": spec.layer_input_size(layer or 0),
        "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers if layer is None else 1,
        "bias": spec.bias,
        "batch_first": spec.batch_first,
        "bidirectional": spec.bidirectional,
        "device": "meta",
        "dtype": dtype,
    }
    if spec.nonlinearity:
        options["nonlinearity"] = spec.nonlinearity
    if spec.proj_size:
        options["proj_size"] = spec.proj_size
    # Built without storage first: building it in the plain way would draw from the user's global generator. The
    # parameters are assigned because to_empty() loads sympy, a third of a second.
    module: nn.RNNBase = getattr(nn, spec.cell_type.torch_name)(**options)
    names = [name for name, _ in module.named_parameters()]
    in_stack = names if layer is None else [name.replace("_l0", f"_l{layer}") for name in names]
    module.load_state_dict({name: parameters[other] for name, other in zip(names, in_stack, strict=True)}, assign=True)
    module.flatten_parameters()
    return module


ENGINE, CONVERTED = TorchEngine, ConvertedTorch
