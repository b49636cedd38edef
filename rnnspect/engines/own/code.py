"""Finds the user's own code by its name or object, calls it with the arguments that it asks for, and reads what it
returns; the torch settings that it changed are restored."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnspect.engines.own.loading import importing_from, load_named, their_errors
from rnnspect.engines.own.signatures import (
    OF_A_PLACE,
    a_value,
    advice_on,
    arguments_of,
    asks_for_c,
    call_of,
    misplaced,
    returned,
    signature,
    state_of,
    takes_one,
)
from rnnspect.errors import InputError, listed, nearest
from rnnspect.network.parameters import suffix
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

Made = Callable[..., Any]
"""The function that is run: a step or a sequence."""
Offer = dict[str, Any]
"""The arguments that it may ask for, by name."""

_OTHERS = {"cell", "dropout", "device", "seed", "weights", "layout", "head"} | {"input", "batch", "h0", "c0", "lengths"}
_KEYS = [key for key in Spec.model_fields if key not in _OTHERS]
_ON_OFFER = f"spec, parameters, {listed(_KEYS)}, parameters by PyTorch's name"
_IMPORTS_TORCH = re.compile(rb"^\s*(import|from)\s+torch\b", re.MULTILINE)


def code_of(source: str | Callable[..., Any]) -> Code:
    """What `path:attribute` names, whose file is run; or a function or class that is there already, of which an
    nn.Module is copied: its parameters will be set.

    Raises `InputError` as `load_named` does, and for what cannot be called.
    """
    if isinstance(source, str):
        found, path, attribute = load_named(source)
        if not callable(found):
            raise InputError(f"this is a {type(found).__name__}", allowed="a function or a class", where=source)
        knows = _knows_torch(found) or _IMPORTS_TORCH.search(path.read_bytes())  # within a function, say
        return Code(found, attribute, not knows, path)
    with their_errors("copying this module"):
        found = copy.deepcopy(source) if isinstance(source, nn.Module) else source
    return Code(found, getattr(source, "__name__", type(source).__name__), not _knows_torch(source))


def _knows_torch(source: Any) -> bool:
    """Whether the module that defines it uses torch."""
    made = inspect.unwrap(source.func if isinstance(source, functools.partial) else source)
    functions = (made, getattr(made, "__func__", None), vars(type(made)).get("__call__"))
    module = sys.modules.get(getattr(made, "__module__", None) or type(made).__module__)
    beside = {} if module is None else vars(module)
    there = next((one.__globals__ for one in functions if inspect.isfunction(one)), beside)
    return any(_origin(one).partition(".")[0] == "torch" for one in list(there.values()))


def _origin(one: Any) -> str:
    """The module that an object is, or comes from."""
    try:
        return str(getattr(one, "__name__" if inspect.ismodule(one) else "__module__", ""))
    except Exception:  # noqa: BLE001 - its class is anybody's
        return ""


@dataclass(frozen=True)
class Code:
    """What can be called. A file that imports torch computes with tensors, any other with numpy arrays."""

    found: Callable[..., Any]
    attribute: str
    in_numpy: bool
    path: Path | None = None
    """The file that was run to get it."""

    @property
    def name(self) -> str:
        return f"{self.path.name}:{self.attribute}" if self.path else self.attribute

    @property
    def where(self) -> str:
        """The place in messages: the path of the file, or the name in Python where it comes from none."""
        return str(self.path) if self.path else self.attribute

    @property
    def line(self) -> str:
        """The place of a returned value in messages: the file and the line where the code is defined."""
        found = self.found if inspect.isclass(self.found) or inspect.isroutine(self.found) else type(self.found)
        try:
            return f"{self.where}:{inspect.getsourcelines(found)[1]}" if self.path else self.where
        except (OSError, TypeError):
            return self.where

    def importing(self) -> contextlib.AbstractContextManager[None]:
        return importing_from(self.path) if self.path else contextlib.nullcontext()

    def offer(self, spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> Offer:
        """The arguments on offer: those of the whole network, and those of one layer and direction."""
        own = {name: self.theirs(value) for name, value in parameters.items() if not name.startswith("head.")}
        end = suffix(layer, direction)
        names = (*OF_A_PLACE, *dict(spec.cell_type.parameters))
        here = {name: own.get(name + end) for name in names}
        keys = {name: getattr(spec, name) for name in _KEYS} | {"input_size": spec.layer_input_size(layer)}
        return {**keys, **own, **here, "spec": spec, "parameters": own, "layer": layer, "direction": direction}

    def make(self, offer: Offer) -> Made:
        """The function that is run: the object itself, or its result when it is called."""
        made: Any = self.found
        if inspect.isclass(made) or (not isinstance(made, nn.Module) and set(names_of(made)) <= offer.keys()):
            self._check_on_offer(parameters_of(made), offer, made)
            with their_errors(f"{self.attribute}()", self.path):
                made = self.found(**{name: offer[name] for name in names_of(self.found) if name in offer})
        if not callable(made):
            found = f"{self.attribute}() returns a {type(made).__name__}"
            raise InputError(found, allowed="a function of (x, state)", where=self.where)
        if isinstance(made, nn.Module):
            with their_errors(f"setting the parameters of {self.attribute}", self.path):
                self._fill(made, offer)
        if not is_by_hand(made):
            if said := misplaced(made, {*offer, "lengths"}):
                allowed = signature(offer, not is_step(made))
                raise InputError(f"{self.attribute} takes {said}", allowed=allowed, where=self.line)
            own = parameters_of(made)[2:]
            # A step that takes no other bias means numbers: the key of that name is true or false.
            is_vector = is_step(made) and not {"bias_ih", "bias_hh", "parameters", "spec"} & {one.name for one in own}
            known = {name: offer[name] for name in offer if name != "bias"} if is_vector else offer
            self._check_on_offer(own, known, made)
        return made  # type: ignore[no-any-return]

    def asked(self, made: Made) -> set[str]:
        """The names that it asks for, when it is made and when it is called."""
        before = set() if made is self.found else set(names_of(self.found))
        own = {name for name, _ in made.named_parameters()} if isinstance(made, nn.Module) else set()
        return before | set(names_of(made)[2:]) | {name.rpartition(".")[2] for name in own}

    def caller(self, made: Made, offer: Offer) -> Callable[[Tensor, tuple[Tensor, ...]], Any]:
        """A function that calls it with x and the state, as often as there are steps. Without a state none is
        passed."""
        options = {name: offer[name] for name in names_of(made)[2:] if name in offer}
        alone, called = takes_one(made), call_of(self.attribute, names_of(made))

        def call(x: Tensor, state: tuple[Tensor, ...]) -> Any:
            states = tuple(map(self.theirs, state))
            if states and alone:
                advice = (
                    f"write {self.attribute}(x, state): x is (batch, step, feature), state is {state_of(offer, True)}, "
                    f"and it returns {returned(offer['spec'])}; or check what it gave: --recorded y.npy"
                )
                raise InputError(f"{self.attribute} takes x alone, and no state", advice=advice, where=self.line)
            with their_errors(called, self.path):
                return made(self.theirs(x), *((states,) if len(states) > 1 else states), **options)

        return call

    def theirs(self, tensor: Tensor) -> Any:
        """A copy in what the file computes with, a tensor or an array; for autograd it depends on our tensor."""
        return tensor.detach().numpy().copy() if self.in_numpy else tensor.clone()

    def checked(self, name: str, given: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A copy of a result as a tensor in the network's dtype, on its device: code may reuse the memory of its
        results."""
        with their_errors(f"reading {name} that {self.attribute} returns", self.path):
            sizes = tuple(given.shape) if hasattr(given, "shape") else None
            found = own_tensor(given) if sizes == shape else sizes
        if sizes is None:
            if inspect.iscoroutine(given):
                given.close()  # else Python warns that nobody awaited it
            raise self.wrong(f"{a_value(given)} for {name}", "a tensor or an array")
        if not isinstance(found, Tensor):
            said, allowed = (
                (found, "floating-point numbers") if isinstance(found, str) else (f"shape {sizes}", str(shape))
            )
            raise self.wrong(f"{name} with {said}", allowed)
        return found.to(like.device, like.dtype)

    def wrong(self, found: str, allowed: str, near: str | None = None) -> InputError:
        return InputError(f"{self.attribute} returns {found}", allowed=allowed, nearest=near, where=self.line)

    def _check_on_offer(self, asked: list[inspect.Parameter], offer: Offer, made: Made) -> None:
        """Raises `InputError` for a parameter of the function, or of the class that makes it, that is not on offer."""
        known = {*offer, "lengths"}
        missing = [one.name for one in asked if one.default is one.empty and one.name not in known]
        if not missing:
            return
        whole, near = not is_step(made), nearest(missing[0], known)
        if "backward" in self.attribute:
            advice = "a backward pass begins with grad_output: backward(grad_output, x, h0, weight_ih_l0, …)"
        else:
            advice = advice_on(missing, offer, whole) or ""
        if inspect.isclass(made):
            allowed = f"by name: {_ON_OFFER}"
        else:
            allowed = signature(offer, whole) + "; a step calls its first parameter x_t" * whole
        if asks_for_c(missing):  # the name most like c is another thing
            near = None
        found = f"{self.attribute} asks for {listed(missing)}"
        raise InputError(found, allowed=allowed, nearest=near, advice=advice or None, where=self.where)

    def _fill(self, module: nn.Module, offer: Offer) -> None:
        for name, parameter in list(module.named_parameters()):
            value: Any = offer.get(name.rpartition(".")[2])
            if not hasattr(value, "shape") or tuple(value.shape) != tuple(parameter.shape):
                found = f"{self.attribute} has a parameter {name} of shape {tuple(parameter.shape)}"
                allowed = listed(f"{key} {tuple(own.shape)}" for key, own in offer["parameters"].items())
                whole = f"rnnspect check {self.path}:{self.attribute}" if self.path else "rnnspect.check(model, x)"
                known = hasattr(value, "shape")  # it has another size
                advice = None if known else f"a whole model is not an engine; check it as it is: {whole}"
                raise InputError(found, allowed=allowed, advice=advice, where=self.where)
            if torch.is_grad_enabled():  # as it is: a parameter would be a leaf of its own
                owner, last = module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
                delattr(owner, last)
                setattr(owner, last, value)
            else:
                parameter.data = torch.as_tensor(value).clone()
        module.eval()


def is_step(made: Made) -> bool:
    return names_of(made)[:1] == ["x_t"]


def is_by_hand(made: Made) -> bool:
    """Whether it is a pass backwards that somebody wrote by hand."""
    return names_of(made)[:1] == ["grad_output"]


def parts_of(sequence: Sequence, asked: list[str]) -> list[tuple[slice, int]]:
    """The items of the batch and the steps of each call: all together, or one item after the other where they are
    padded and the code does not ask for lengths."""
    if sequence.lengths is None or "lengths" in asked:
        return [(slice(None), sequence.steps)]
    return [(slice(item, item + 1), length) for item, length in enumerate(sequence.lengths)]


def names_of(made: Any) -> list[str]:
    return [one.name for one in parameters_of(made)]


def parameters_of(made: Any) -> list[inspect.Parameter]:
    try:
        found = arguments_of(made).parameters.values()
    except Exception:  # noqa: BLE001 - a builtin says nothing of itself, and its class may be theirs
        return []
    return [one for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def own_tensor(given: Any) -> Tensor | str:
    """A copy of an array or a tensor; or in words what it is, where its values are no plain floating-point numbers.
    Autograd, where it records, sees the copy as made of the tensor. Raises whatever the code of its class raises."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        return "masked values"
    if isinstance(given, np.ndarray):
        if given.dtype.kind != "f":
            return f"dtype {given.dtype}"
        return torch.from_numpy(np.array(given, given.dtype.newbyteorder("="), order="C", subok=False))
    found = torch.as_tensor(given)
    if found.layout != torch.strided:
        return f"layout {found.layout}"
    if found.is_meta:
        return "the device meta, which has no values"
    if not found.is_floating_point():  # quantised and complex tensors, too
        return f"dtype {found.dtype}"
    return found.clone() if torch.is_grad_enabled() else found.detach().clone()


@contextmanager
def settings_kept() -> Iterator[None]:
    """Afterwards torch's default dtype and whether it records gradients are what they were. Not its random numbers: a
    second run has to draw others, so that dropout is seen."""
    dtype = torch.get_default_dtype()
    try:
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            yield
    finally:
        torch.set_default_dtype(dtype)
