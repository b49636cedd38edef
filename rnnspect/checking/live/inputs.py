"""Draws inputs for a live model. Where none is given, the first layer that the model calls tells what fits; and an
embedding that gets anything but integers below its row count says what to pass."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnspect.errors import InputError, RnnspectError, Where, listed
from rnnspect.files.sources import Generator, parse
from rnnspect.network.sequence import input_of
from rnnspect.network.spec import Spec
from rnnspect.network.torch_modules import is_stack, title_of

STEPS, BATCH = 20, 2
"""The steps and batch of an input that is drawn."""
_PROBES = ((BATCH, STEPS, 5), (BATCH, STEPS), (STEPS, 5), (STEPS,))
"""Shapes with which a model is started to see which layer it calls first: numbers, or tokens."""


class _Found(BaseException):
    """Carries the first layer out of the model. It is no `Exception`, so that the model does not catch it."""


@dataclass(frozen=True)
class DrawnInput:
    """An input for a model, and a line about what was chosen without being asked for."""

    x: Tensor
    said: str = ""


def _plainly(keys: tuple[int | str, ...]) -> str:
    return str(keys[0])


def first_layer(model: nn.Module, *inputs: Any) -> tuple[str, nn.Module, Any] | None:
    """The layer, a module without others in it, that the model calls first on these inputs, its name before it and
    what it is called with after it; None where the model raises before. Scripted and traced parts are passed over: they
    take no hooks, or do not say what they read."""

    def is_layer(module: nn.Module) -> bool:
        return is_stack(module) or not (any(module.children()) or isinstance(module, torch.jit.ScriptModule))

    def found(*called: Any) -> None:
        raise _Found(*called)

    try:
        with _before_each(model, is_layer, found), torch.no_grad(), contextlib.suppress(Exception):
            model(*inputs)
    except _Found as seen:
        name, module, given = seen.args
        return name, module, given
    return None


@contextlib.contextmanager
def _before_each(
    model: nn.Module, which: Callable[[nn.Module], bool], called: Callable[[str, Any, Any], None]
) -> Iterator[None]:
    """Inside, `called` is called before each such module runs: with its name, the module, and its first argument."""

    def hook(name: str) -> Any:
        return lambda module, given: called(name, module, given[0] if given else None)

    hooks = [one.register_forward_pre_hook(hook(name)) for name, one in model.named_modules() if which(one)]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def _begun(model: nn.Module) -> tuple[str, nn.Module, int | None] | None:
    """The first layer, for any kind of input, its name, and how many features the model reads at each step, if the
    layer says it."""
    for shape in _PROBES:
        x: Tensor = torch.zeros(shape) if shape[-1] == 5 else torch.zeros(shape, dtype=torch.long)
        if found := first_layer(model, moved(x, model)):
            name, layer, given = found
            width = width_of(layer)
            fits = isinstance(given, Tensor) and tuple(given.shape[-1:]) == (width,)
            if fits and x.is_floating_point() and _is_scripted(model):
                width = shape[-1]  # a scripted part before it made its features of these
            return name, layer, width
    return None


def _is_scripted(model: nn.Module) -> bool:
    """Whether a part of it was scripted or traced."""
    return any(isinstance(one, torch.jit.ScriptModule) for one in model.modules())


def moved(x: Tensor, model: nn.Module) -> Tensor:
    """x on the model's device; real numbers also in its dtype, while integers stay integers."""
    parameter = next((one for one in model.parameters() if one.is_floating_point()), None)
    if parameter is None:
        return x
    return x.to(parameter.device, parameter.dtype if x.is_floating_point() else None)


def width_of(layer: nn.Module) -> int | None:
    """How many features the layer reads at each step; None where it does not say."""
    widths = (getattr(layer, name, None) for name in ("input_size", "in_features", "in_channels"))
    return next((width for width in widths if isinstance(width, int) and width > 0), None)


def drawn_for(model: nn.Module, batch: int | None, seed: int) -> list[DrawnInput]:
    """Inputs that the first layer of the model can take, the likeliest first: a batch of sequences, then one sequence.

    Of an embedding integers below its row count, of any other layer that says its features random numbers; none where
    neither is known.
    """
    found = _begun(model)
    if found is None:
        return []
    name, layer, known = found
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        source, width = f"randint:{STEPS}:{layer.num_embeddings}", 1
    elif known:
        source, width = f"randn:{STEPS}", known
    else:
        return []
    asked = Spec(input=source, input_size=width, batch_first=_batch_first(model), seed=seed)
    first = f"first layer{' that is neither scripted nor traced' if _is_scripted(model) else ''}"
    drawn = []
    for items in (batch,) if batch else (BATCH, None):
        x = moved(input_of(asked.with_changes(batch=items), _plainly), model)
        what = f"{source} with the shape {tuple(x.shape)} was drawn for the model's {first}"
        drawn.append(DrawnInput(x, f"no input was given: {what}, {name or 'itself'} ({title_of(layer)})"))
    return drawn


def check_one_input(model: nn.Module) -> None:
    """Raises `InputError` for a model whose forward does not take one input alone."""
    named = inspect.signature(model.forward).parameters.values()
    needed = [one.name for one in named if one.default is one.empty and one.kind is not one.VAR_POSITIONAL]
    needed = [name for name in needed if name not in [one.name for one in named if one.kind is one.VAR_KEYWORD]]
    if len(needed) > 1:
        found = f"{type(model).__name__}.forward takes {len(needed)} inputs: {listed(needed)}"
        advice = "wrap the model in one that takes a single input, or in Python pass a tuple of all inputs as x"
        raise InputError(found, advice=advice)


def inputs_for(model: nn.Module, spec: Spec, where: Where = _plainly, sized: bool = False) -> list[DrawnInput]:
    """What the `input` of a spec gives for a model: randn:20, randint:20:5000, x.npy, numbers. A generator makes as
    many features as the spec says where it is `sized`, else as many as the model's first layer reads; where no batch is
    said one sequence and, for a model that does not take that, a batch."""
    made = parse(spec.input) if isinstance(spec.input, str) else None
    if not isinstance(made, Generator):
        return [DrawnInput(as_indices(model, moved(input_of(spec, where), model)))]
    if made.kind != "randint" and not sized and (found := _begun(model)):
        spec = spec.with_changes(input_size=found[2] or spec.input_size)
    given = [DrawnInput(as_indices(model, moved(input_of(spec, where), model)))]
    if spec.batch is None:
        several = input_of(spec.with_changes(batch=BATCH, batch_first=_batch_first(model)), where)
        said = f"this model fails on a single sequence, so it ran on a batch of shape {tuple(several.shape)}"
        given.append(DrawnInput(as_indices(model, moved(several, model)), said))
    return given


def _batch_first(model: nn.Module) -> bool:
    """The setting of its first nn.RNN, nn.LSTM or nn.GRU; true where there is none."""
    stack: Any = next((one for one in model.modules() if is_stack(one)), None)
    return stack is None or bool(stack.batch_first)


def as_indices(model: nn.Module, x: Tensor) -> Tensor:
    """Whole numbers that a file or a list holds as floats, converted to integers if the model begins with an
    embedding."""
    if x.is_floating_point() and x.numel() and bool((x == x.round()).all()):
        found = first_layer(model, x)
        if found and isinstance(found[1], nn.Embedding | nn.EmbeddingBag):
            return x.long()
    return x


@contextlib.contextmanager
def refusing_no_index(model: nn.Module) -> Iterator[None]:
    """While the model runs, an embedding that gets something else than the number of a row raises `InputError`, which
    says what to pass."""

    def refused(name: str, module: Any, given: Any) -> None:
        if problem := _no_index(name, module, given):
            raise problem

    with _before_each(model, lambda module: isinstance(module, nn.Embedding | nn.EmbeddingBag), refused):
        yield


def _no_index(name: str, layer: nn.Embedding | nn.EmbeddingBag, given: Any) -> RnnspectError | None:
    """The error for something that is not the number of a row of the layer; None where it is."""
    if not isinstance(given, Tensor) or not given.numel():
        return None
    rows = layer.num_embeddings
    if given.dtype not in (torch.int64, torch.int32):
        found = f"{str(given.dtype).removeprefix('torch.')} numbers"
    elif int(given.max()) >= rows or int(given.min()) < 0:
        found = f"integers from {int(given.min())} to {int(given.max())}"
    else:
        return None
    allowed, advice = f"integers from 0 to {rows - 1}", f"the input randint:{STEPS}:{rows} draws {STEPS} of them"
    return InputError(f"the layer {name or 'itself'} ({title_of(layer)}) got {found}", allowed=allowed, advice=advice)
