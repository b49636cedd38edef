"""A live torch.nn.RNN, LSTM or GRU, or one of their cells, read as a spec and its parameters."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from rnnspect.cells import CELLS
from rnnspect.cells.interface import Cell
from rnnspect.errors import SpecError, listed
from rnnspect.network.parameters import parameters_of
from rnnspect.network.shapes import Axes, ModelPart, ModelShapes, Shapes, shapes_of
from rnnspect.network.spec import Spec
from rnnspect.network.spec_keys import DTYPES

ONE_RUN = threading.RLock()
"""Held while a live module runs: running changes its mode, and hooks see the calls of every thread."""
RECORD_IT = "check what it gave as a recording of the module that it was made of, recorded=…"
"""What to do about a recurrent module that is no longer torch.nn's."""
_OF_ONES_OWN = {
    "a cell of your own": (
        nn.RNNCellBase,
        "check its step against the cell of torch.nn with the same weights: "
        "rnnspect.check(cell, x, engine=lambda x_t, h: own(x_t, h))",
    ),
    "a stack of your own": (
        nn.RNNBase,
        "check what it gave as a recording of the stack of torch.nn with the same weights, recorded=…",
    ),
}
"""What somebody derives from classes that torch.nn's recurrent modules derive from, and what to do about it."""
_QUANTISED = ("quantized", "quantizable")
"""What the places of such modules in torch have in their names."""
_RECURRENT = {f"{cell.torch_name}{end}" for cell in CELLS.values() if cell.torch_name for end in ("", "Cell")}
_TITLE = 90
"""The most characters of a module's line."""


def spec_of(module: nn.RNNBase) -> Spec:
    """The spec of a live module; x is not part of it. Raises `SpecError` for any other object."""
    cell = _cell_of(module)
    if cell is None:
        raise refused(module)
    same = ("num_layers", "batch_first", "bidirectional", "proj_size")
    own = {name: getattr(module, name) for name in same} | {"dropout": float(module.dropout)}
    return Spec(**_described(cell, module) | own)


def spec_of_module(module: nn.Module) -> Spec:
    """The spec of a live stack, or of the one layer whose steps a live cell makes. Raises `SpecError` for any other
    object."""
    live: Any = module
    return spec_of_cell(live, batch_first=False) if is_cell(module) else spec_of(live)


def refused(source: object) -> SpecError:
    """The error for what is no source of a run: what it is, and what may be given."""
    names = listed(f"torch.nn.{cell.torch_name}" for cell in CELLS.values() if cell.torch_name)
    allowed = f"a Spec, {names}, a cell such as torch.nn.LSTMCell, or a model that contains one of these"
    if isinstance(source, type):
        advice = f"pass an object, such as {source.__name__}(…)"
        return SpecError(f"got the class {source.__name__}", allowed=allowed, advice=advice)
    if isinstance(source, str | os.PathLike):
        file = os.fspath(source)
        of_file = f"of a file: Spec(cell=…, input_size=…, hidden_size=…, weights={file!r})"
        return SpecError("got a text", allowed=allowed, advice=f"{of_file}, or in a shell: rnnspect check {file}")
    kind = type(source)
    # Scripted, exported or quantised, the modules of a model are no longer those of torch.nn.
    said = "check the module that it was made of with what it gave, recorded=made(x); or "
    made = f"{said}save it and check the file" if isinstance(source, nn.Module) else None
    unwatched = unwatched_in(source) if isinstance(source, nn.Module) else {}
    if any(one.__module__.startswith("torch.export.") for one in kind.__mro__):  # torch.save cannot write these
        made = f"{said}save the exported program, torch.export.save(program, 'model.pt2'), and check that file"
    place = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    found = f"got an object of type {place}{kind.__qualname__}"
    if named := {name: what for name, what in unwatched.items() if name}:
        found += f", in which {in_words(named)}"
    if own := {name: what for name, what in unwatched.items() if what in _OF_ONES_OWN}:
        found += "" if named else f", {own['']}"
        made = f"{made}; {advice_on(own)}" if len(own) < len(unwatched) else advice_on(own)
    return SpecError(found, allowed=allowed, advice=made)


def is_model(source: object) -> TypeGuard[nn.Module]:
    """Whether it is a module with recurrent modules in it that is not one itself."""
    if not isinstance(source, nn.Module) or is_stack(source) or is_cell(source):
        return False
    return any(is_stack(one) or is_cell(one) for one in source.modules())


def unwatched_in(model: nn.Module) -> dict[str, str]:
    """The recurrent modules of a model that are none of torch.nn, by name, and what each is: quantised, scripted or
    traced ones, and those that derive from what torch.nn's derive from."""
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        inside = any(not other or name.startswith(f"{other}.") for other in found)
        if not (is_stack(module) or is_cell(module) or inside) and (what := _unwatched(module)):
            found[name] = what
    return found


def _unwatched(module: nn.Module) -> str:
    """What a recurrent module is that is none of torch.nn; "" for another module."""
    scripted = isinstance(module, torch.jit.ScriptModule)
    made = "TorchScript" if scripted else next((one for one in _QUANTISED if one in type(module).__module__), None)
    kind = getattr(module, "original_name", "") if scripted else type(module).__name__
    if made:
        return f"{made} {kind}" if kind in _RECURRENT else ""
    if any(is_stack(one) or is_cell(one) for one in module.modules()):
        return ""
    return next((what for what, (base, _) in _OF_ONES_OWN.items() if isinstance(module, base)), "")


def in_words(unwatched: Mapping[str, str]) -> str:
    """The first few modules that `unwatched_in` found: decoder (quantized LSTM) is none of torch.nn."""
    named = [f"{name or 'itself'} ({what})" for name, what in unwatched.items()]
    return f"{listed(named, 4)} {'is' if len(named) == 1 else 'are'} none of torch.nn"


def advice_on(unwatched: Mapping[str, str]) -> str:
    """What to do about modules that `unwatched_in` found."""
    every = (_OF_ONES_OWN[what][1] if what in _OF_ONES_OWN else RECORD_IT for what in unwatched.values())
    return "; ".join(dict.fromkeys(every))


def is_as_torch_has_it(module: nn.Module) -> bool:
    """Whether a stack or cell goes back as torch's own does: it is of torch's class, with weights that are parametrized
    or not, and neither it nor a parameter has a hook but torch's own, as that of weight_norm is."""
    kind = type(module).__mro__[1] if is_parametrized(module) else type(module)
    on_it: list[Any] = [
        *module._forward_pre_hooks.values(),
        *module._forward_hooks.values(),
        *module._backward_pre_hooks.values(),
        *module._backward_hooks.values(),
    ]
    own = [hook for hook in on_it if not type(hook).__module__.startswith("torch.")]
    own += [parameter for parameter in module.parameters() if parameter._backward_hooks]
    return kind.__module__.startswith("torch.nn.") and not own


def spec_of_cell(module: nn.RNNCellBase, **changes: Any) -> Spec:
    """The spec of one layer whose steps a live nn.RNNCell, nn.LSTMCell or nn.GRUCell makes."""
    cell = _cell_of(module, "Cell")
    assert cell is not None
    return Spec(**_described(cell, module) | changes)


def shapes_of_module(module: nn.Module) -> Shapes:
    """The shapes of a live stack; or of a cell, whose parameters and axes are those of one step. Raises `SpecError` for
    any other object."""
    found = shapes_of(spec_of_module(module))
    if not is_cell(module):
        return found
    names = tuple(replace(one, name=one.name.removesuffix("_l0")) for one in found.parameters)

    def of_a_step(axes: Axes) -> Axes:
        return Axes(axes.shape[1:], axes.names[1:])

    c_n = found.c_n and of_a_step(found.c_n)
    inside, out, h_n = (of_a_step(axes) for axes in (found.input, found.output, found.h_n))
    return replace(found, module=str(module), parameters=names, input=inside, output=out, h_n=h_n, c_n=c_n)


def shapes_of_model(model: nn.Module) -> ModelShapes:
    """Every module of a model with its size, and the shapes of each recurrent one."""
    parts, recurrent, refused = [], {}, {}
    for name, module in model.named_modules():
        sizes = [(0 if is_lazy(one) else one.numel(), one.requires_grad) for one in module.parameters()]
        trained = sum(size for size, is_trained in sizes if is_trained)
        parts.append(ModelPart(name, title_of(module), sum(size for size, _ in sizes), trained))
        if is_stack(module) or is_cell(module):
            try:
                recurrent[name] = shapes_of_module(module)
            except (SpecError, AttributeError, StopIteration) as error:
                refused[name] = str(error) or "it has no parameters"
    return ModelShapes(tuple(parts), recurrent, refused)


def title_of(module: nn.Module) -> str:
    """As PyTorch prints it, where that is a short line: Embedding(5000, 16); else its class."""
    said = type(module).__name__ if any(module.children()) else str(module)
    return said if len(said) <= _TITLE and said.isprintable() else type(module).__name__


def specs_of_stacks(model: nn.Module) -> list[Spec]:
    """The specs of every nn.RNN, nn.LSTM and nn.GRU in a model; one that no spec describes is left out."""
    found = []
    for module in model.modules():
        with suppress(SpecError):
            found += [spec_of(module)] if isinstance(module, nn.RNNBase) and is_stack(module) else []
    return found


def is_stack(module: object) -> bool:
    """Whether it is an nn.RNN, nn.LSTM or nn.GRU, or derived from one."""
    return _cell_of(module) is not None


def is_cell(module: object) -> bool:
    """Whether it is an nn.RNNCell, nn.LSTMCell or nn.GRUCell, or derived from one."""
    return _cell_of(module, "Cell") is not None


def kind_of(module: object) -> str:
    """The class in torch.nn that a module is, or is derived from, such as LSTM or GRUCell."""
    found = next((cell.torch_name + end for end in ("", "Cell") if (cell := _cell_of(module, end))), None)
    return found or type(module).__name__


def parameters_of_module(module: nn.Module, spec: Spec) -> dict[str, Tensor]:
    """Every parameter of a stack or a cell of that spec by PyTorch's name, in the module's own memory.

    Those of a cell have the names that they have in a layer: weight_ih is weight_ih_l0. They are read as attributes,
    because weight_norm and parametrizations give the module's parameters other names, and a subclass may have more.
    What hooks of torch.nn.utils make in each call alone is made here, too, for what was loaded since. Nothing that is
    read changes by it: in train mode spectral_norm would.
    """
    made, ending = dict(_made_in_each_call(module)), "_l0" if is_cell(module) else ""
    found: dict[str, Tensor] = {}
    with _not_training(getattr(module, "parametrizations", None)):
        for name in (parameter.name for parameter in parameters_of(spec)):
            inside = name.removesuffix(ending)
            found[name] = (made[inside]() if inside in made else getattr(module, inside)).detach()
    return found


def parameters_that_ran(module: nn.Module, spec: Spec) -> dict[str, Tensor]:
    """The same of a parametrized module after a call: those of that call, where it is torch's own. In train mode each
    look at a parametrization may give another weight."""
    named = zip(getattr(module, "_flat_weights_names", ()), getattr(module, "_flat_weights", ()), strict=True)
    ran = {name: weight.detach() for name, weight in named}
    is_torch = type(module).forward is getattr(nn, kind_of(module)).forward
    return ran if ran and is_torch else parameters_of_module(module, spec)


def _made_in_each_call(module: nn.Module) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield hook.name, partial(hook.compute_weight, module)
        elif isinstance(hook, SpectralNorm):
            yield hook.name, partial(hook.compute_weight, module, do_power_iteration=False)
        elif isinstance(hook, BasePruningMethod):
            yield hook._tensor_name, partial(hook.apply_mask, module)


@contextmanager
def _not_training(module: nn.Module | None) -> Iterator[None]:
    training = [one for one in ([] if module is None else module.modules()) if getattr(one, "training", False)]
    try:
        for one in training:
            one.training = False
        yield
    finally:
        for one in training:
            one.training = True


def _cell_of(module: object, ending: str = "") -> Cell | None:
    kinds = ((cell, getattr(torch.nn, f"{cell.torch_name}{ending}", None)) for cell in CELLS.values())
    return next((cell for cell, kind in kinds if kind is not None and isinstance(module, kind)), None)


def _described(cell: Cell, module: Any) -> dict[str, Any]:
    """The keys that a stack and a cell have in common."""
    parameter = next(module.parameters())
    dtype = str(parameter.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise SpecError(f"the module has the dtype {dtype}", allowed=listed(DTYPES))
    return {name: getattr(module, name) for name in ("input_size", "hidden_size", "bias")} | {
        "cell": cell.name,
        "nonlinearity": module.nonlinearity if cell.has_nonlinearity else None,
        "dtype": dtype,
        "device": str(parameter.device),
        "input": None,
    }
