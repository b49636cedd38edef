"""The user's function or class: what it asks for by name, and how it is called. `engine.py` states the rules."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnspect.engines.own.loading import load_named, their_errors
from rnnspect.errors import InputError, listed, nearest
from rnnspect.network.parameters import suffix
from rnnspect.network.spec import Spec

Made = Callable[..., Any]
"""What is run: a step or a sequence."""
Offer = dict[str, Any]
"""What it may ask for, by name."""

_OTHERS = {"cell", "dropout", "device", "seed", "weights", "layout", "head"} | {"input", "batch", "h0", "c0", "lengths"}
_KEYS = [key for key in Spec.model_fields if key not in _OTHERS]
_OF_A_PLACE = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch")
ON_OFFER = f"spec, parameters, {listed(_KEYS)}, parameters by PyTorch's name"
_IMPORTS_TORCH = re.compile(r"^\s*(import|from)\s+torch\b", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """What `path:attribute` names. A file that imports torch computes with tensors, any other with numpy arrays."""

    found: Any
    path: Path
    attribute: str
    in_numpy: bool

    @classmethod
    def of(cls, source: str) -> Code:
        """Runs the file. Raises `InputError` as `load_named` does, and for what cannot be called."""
        found, path, attribute = load_named(source)
        if not callable(found):
            raise InputError(f"a {type(found).__name__}", allowed="a function or a class", where=source)
        return cls(found, path, attribute, not _IMPORTS_TORCH.search(path.read_text(encoding="utf-8")))

    def offer(self, spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> Offer:
        """What may be asked for by name: of the whole network, and of one layer and direction."""
        own = {name: self.theirs(value) for name, value in parameters.items() if not name.startswith("head.")}
        end = suffix(layer, direction)
        here = {name: own.get(name + end) for name in _OF_A_PLACE}
        keys = {name: getattr(spec, name) for name in _KEYS} | {"input_size": spec.layer_input_size(layer)}
        return {**keys, **own, **here, "spec": spec, "parameters": own, "layer": layer, "direction": direction}

    def make(self, offer: Offer) -> Made:
        """What is run: what was found, or what that gives when it is called."""
        made = self.found
        if inspect.isclass(made) or (not isinstance(made, nn.Module) and set(_names(made)) <= offer.keys()):
            self._check_on_offer(_parameters(made), offer)
            with their_errors(f"{self.attribute}()", self.path):
                made = self.found(**{name: offer[name] for name in _names(self.found) if name in offer})
        if not callable(made):
            found = f"{self.attribute}() gives a {type(made).__name__}"
            raise InputError(found, allowed="something to call with (x, state)", where=str(self.path))
        if isinstance(made, nn.Module):
            self._fill(made, offer)
        self._check_on_offer(_parameters(made)[2:], offer)
        return made  # type: ignore[no-any-return]

    def asked(self, made: Made) -> set[str]:
        """The names that it asks for, to be made and to be called."""
        before = set() if made is self.found else set(_names(self.found))
        own = {name for name, _ in made.named_parameters()} if isinstance(made, nn.Module) else set()
        return before | set(_names(made)[2:]) | {name.rpartition(".")[2] for name in own}

    def call(self, made: Made, offer: Offer, x: Tensor, state: tuple[Tensor, ...]) -> Any:
        """Without any state none is given to it."""
        states = tuple(map(self.theirs, state))
        options = {name: offer[name] for name in _names(made)[2:] if name in offer}
        with their_errors(f"{self.attribute}(x, state)", self.path):
            return made(self.theirs(x), *((states,) if len(states) > 1 else states), **options)

    def theirs(self, tensor: Tensor) -> Any:
        """A copy in what the file computes with: whoever writes into it changes nothing of ours."""
        return tensor.numpy().copy() if self.in_numpy else tensor.detach().clone()

    def _check_on_offer(self, asked: list[inspect.Parameter], offer: Offer) -> None:
        known = {*offer, "lengths"}
        missing = [one.name for one in asked if one.default is one.empty and one.name not in known]
        if missing:
            found, near = f"{self.attribute} asks for {listed(missing)}", nearest(missing[0], known)
            raise InputError(found, allowed=ON_OFFER, nearest=near, where=str(self.path))

    def _fill(self, module: nn.Module, offer: Offer) -> None:
        for name, parameter in module.named_parameters():
            value: Any = offer.get(name.rpartition(".")[2])
            if not hasattr(value, "shape") or tuple(value.shape) != tuple(parameter.shape):
                found = f"{self.attribute} has a parameter {name} of shape {tuple(parameter.shape)}"
                allowed = listed(f"{key} {tuple(own.shape)}" for key, own in offer["parameters"].items())
                raise InputError(found, allowed=allowed, where=str(self.path))
            parameter.data = torch.as_tensor(value).clone()
        module.eval()


def is_step(made: Made) -> bool:
    return _names(made)[:1] == ["x_t"]


def takes_no_state(made: Made) -> bool:
    """Whether it may be called with x alone."""
    return all(one.default is not one.empty for one in _parameters(made)[1:2])


def takes(made: Made, name: str) -> bool:
    return name in _names(made)[2:]


def _names(made: Any) -> list[str]:
    return [one.name for one in _parameters(made)]


def _parameters(made: Any) -> list[inspect.Parameter]:
    try:
        found = inspect.signature(made.forward if isinstance(made, nn.Module) else made).parameters.values()
    except (TypeError, ValueError):  # a builtin says nothing of itself
        return []
    return [one for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
