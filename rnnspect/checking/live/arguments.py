"""Which arguments of a call of a recurrent module are x and the state."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from rnnspect.errors import listed
from rnnspect.network.torch_modules import kind_of

_USUAL = ("input", "hx")
_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Arguments:
    """The parameters of a module's own `forward`, which may be that of a subclass: x is the one named input, else the
    first; the state is the one named hx, else the next. They are read once, as a step of a cell is fast."""

    def __init__(self, module: nn.Module) -> None:
        self._kind = kind_of(module)
        parameters = _parameters(module)
        kinds = {one.kind for one in parameters}
        by_keyword = [one.name for one in parameters if one.kind == inspect.Parameter.KEYWORD_ONLY]
        self._in_order = [one.name for one in parameters if one.kind in _NAMED]
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            self._in_order += [name for name in _USUAL[len(self._in_order) :] if name not in by_keyword]
        names = [*self._in_order, *by_keyword]
        self._x = _usual_or_first("input", [name for name in names if name != "hx"])
        self._state = _usual_or_first("hx", [name for name in names if name != self._x])
        self._defaults = {one.name: one.default for one in parameters}

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """x and the state under torch.nn's names, input and hx, and why the call cannot be judged by these alone."""
        given = dict(zip(self._in_order, args, strict=False)) | kwargs
        x, state = given.pop(self._x, None), given.pop(self._state, None)
        further = [
            f"{name}=…"
            for name, value in given.items()
            if value is not None and not _is_same(value, self._defaults.get(name))
        ]
        first = len(self._in_order)
        further += [f"argument {first + i}" for i, value in enumerate(args[first:], 1) if value is not None]
        found = {"input": x, "hx": state}
        if further:
            return found, f"it was called with {listed(further)}, which torch.nn's {self._kind} does not take"
        if not _may_be_state(state):
            return found, f"it was called with {self._state}=…, which is no state of torch.nn's {self._kind}"
        return found, None


def _is_same(value: Any, default: Any) -> bool:
    """Whether an argument says what leaving it out says."""
    is_plain = isinstance(value, int | float | str) and type(value) is type(default)
    return value is default or (is_plain and bool(value == default))


def _usual_or_first(usual: str, names: list[str]) -> str:
    return usual if usual in names or not names else names[0]


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # it is not written in Python
        return list(inspect.signature(lambda *args, **kwargs: None).parameters.values())  # noqa: ARG005


def _may_be_state(value: Any) -> bool:
    parts = value if isinstance(value, tuple | list) else (value,)
    return value is None or all(isinstance(part, Tensor) and part.is_floating_point() for part in parts)
