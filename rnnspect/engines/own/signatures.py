"""How the user's code is called and what it returns, in words that fit the network: for messages."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from rnnspect.errors import listed
from rnnspect.network.spec import Spec

OF_A_PLACE = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch")
"""PyTorch's parameters of one layer and direction, by the names that a step asks for."""
_C = ("c", "c_t", "c0", "c_prev", "c_t_1")
"""Names that code uses for a cell state as an argument of its own."""
_BIAS = ("b", "bias")
_MOST = 12
"""At most so many parameters are named in a signature."""


def arguments_of(made: Any) -> inspect.Signature:
    """What a function or a module's forward takes, one of TorchScript by its schema. Raises what its class raises."""
    called = made.forward if isinstance(made, nn.Module) else made
    if not isinstance(called, torch.jit.ScriptFunction | torch.ScriptMethod):
        return inspect.signature(called)
    schema: Any = called.schema
    given = [one for one in schema.arguments if one.name != "self"]
    kind, none = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    values = [one.default_value if one.has_default_value() else none for one in given]
    return inspect.Signature(
        [inspect.Parameter(one.name, kind, default=value) for one, value in zip(given, values, strict=True)]
    )


def takes_one(made: Any) -> bool:
    """Whether it takes only one positional argument, so that it cannot get a state after x."""
    by_place = _by_place(made)
    return len(by_place) == 1 and by_place[0].kind is not inspect.Parameter.VAR_POSITIONAL


def misplaced(made: Any, known: Collection[str]) -> str | None:
    """What its first two positional arguments, which are x and the state, are called if that is the name of anything
    else that is known: "bias_ih where the state is given"."""
    for one, given in zip(_by_place(made), ("x", "the state"), strict=False):
        if one.name in known and one.kind is not one.VAR_POSITIONAL:
            return f"{one.name} where {given} is given"
    return None


def _by_place(made: Any) -> list[inspect.Parameter]:
    try:
        found = arguments_of(made).parameters.values()
    except Exception:  # noqa: BLE001 - a builtin says nothing of itself, and its class may be theirs
        return []
    return [one for one in found if one.kind not in (one.KEYWORD_ONLY, one.VAR_KEYWORD)]


def signature(offer: Mapping[str, Any], whole: bool) -> str:
    """The parameters of a step, or of a function of a `whole` sequence, of the network that is on offer:
    "(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh) for a step"."""
    state = "state" if _has_c(offer) else "h0" if whole else "h"
    named = listed(_parameters(offer, whole), _MOST)
    begin, what = (f"x, {state}", "a whole sequence") if whole else (f"x_t, {state}", "a step")
    return f"({begin}{', ' * bool(named)}{named}) for {what}"


def state_of(offer: Mapping[str, Any], whole: bool) -> str:
    """The state that a function is called with: "h", or "(h, c)" of a cell with a cell state."""
    h, c = ("h0", "c0") if whole else ("h", "c")
    return f"({h}, {c})" if _has_c(offer) else h


def returned(spec: Spec) -> str:
    """What a function of a whole sequence returns."""
    return "(output, (h_n, c_n))" if spec.cell_type.has_cell_state else "(output, h_n)"


def a_value(given: Any) -> str:
    """What something is: "a list", "a tuple of 3"."""
    count = f" of {len(given)}" if type(given) is tuple else ""
    return f"a {type(given).__name__}{count}"


def call_of(attribute: str, names: list[str]) -> str:
    """A call as the user wrote its parameters: "step(x_t, h, weight_ih)"."""
    return f"{attribute}({listed(names, _MOST) or 'x, state'})"


def asks_for_c(missing: list[str]) -> bool:
    return not {*_C}.isdisjoint(missing)


def advice_on(missing: list[str], offer: Mapping[str, Any], whole: bool) -> str | None:
    """What to write if code asks for c as an argument of its own, or for only one bias."""
    cell, said = offer["spec"].cell_type, []
    if asks_for_c(missing):
        owner = "an LSTM's state" if cell.name == "lstm" else f"the state of {cell.title}"
        inside = state_of(offer, whole).strip("()")
        said.append(f"{owner} is " + (f"one argument: {inside} = state" if cell.has_cell_state else f"{inside} alone"))
    biases = [name for name in _parameters(offer, whole) if name.startswith(("bias_ih", "bias_hh"))][:2]
    if biases and (bias := next((name for name in missing if name in _BIAS), None)):
        said.append(f"one bias is their sum: {bias} = {' + '.join(biases)}" if biases[1:] else f"it is {biases[0]}")
    return "; ".join(said) or None


def _has_c(offer: Mapping[str, Any]) -> bool:
    return bool(offer["spec"].cell_type.has_cell_state)


def _parameters(offer: Mapping[str, Any], whole: bool) -> list[str]:
    """Those of the network by their names in a sequence, or in a step."""
    if whole:
        return list(offer["parameters"])
    own = dict(offer["spec"].cell_type.parameters)
    return [name for name in (*OF_A_PLACE, *own) if offer.get(name) is not None]
