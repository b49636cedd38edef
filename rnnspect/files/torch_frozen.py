"""Which parameters the constants of a frozen TorchScript module are. torch.jit.freeze makes numbered constants of
parameters, and the code calls the recurrent functions of torch with them. The code is read as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MODES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU"}
_CONSTANT = re.compile(r"CONSTANTS\.c(\d{1,6})")
_LIST = re.compile(r"\s*(\w+) = \[(CONSTANTS\.c[^\[\]]*)\]")
_CALL = re.compile(r"torch\.(lstm|gru|rnn_tanh|rnn_relu)(_cell)?\(")
_NUMBER = re.compile(r"\d{1,4}\.?\d{0,20}")
_CLASS = "torch.nn.modules.rnn."
_FLAT = "__flat_weights"
"""How the list of a module's parameters is called: self_rnn__flat_weights."""
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_MOST, _DIGITS = 10_000, 4  # characters of a line, and of a number of layers


@dataclass(frozen=True)
class FrozenModule:
    """A recurrent module: its name, the class that it has in torch.nn, what that would say of itself, and by PyTorch's
    name of each parameter the number of the constant that it is."""

    name: str
    kind: str
    attributes: dict[str, Any]
    parameters: dict[str, int]


def frozen_modules(code: str) -> list[FrozenModule]:
    """The recurrent modules that some code calls with constants, each once."""
    lists: dict[str, str] = {}
    found: dict[tuple[int, ...], FrozenModule] = {}
    for line in code.splitlines():
        if len(line) > _MOST:
            continue
        if (listed := _LIST.fullmatch(line)) is not None:
            lists[listed[1]] = listed[2]
        if (call := _CALL.search(line)) is not None:
            given = line[call.end() :].rstrip().removesuffix(")")
            one = _cell(call[1], given) if call[2] else _stack(call[1], given, lists)
            if one is not None:
                found.setdefault(tuple(one.parameters.values()), one)
    return list(found.values())


def _stack(function: str, given: str, lists: dict[str, str]) -> FrozenModule | None:
    """Of a call: what is `given` ends in parameters, has_biases, num_layers, dropout, train, bidirectional, and
    batch_first, but for a packed sequence."""
    parts = given.rsplit(", ", 6)
    after = parts[-6:] if parts[-6:-5] in (["True"], ["False"]) else parts[-5:]
    before = given[: -len(", ".join(after)) - 2]
    if len(after) < 5 or not after[1].isdecimal() or len(after[1]) > _DIGITS:
        return None
    named = before[before.rfind("[") :] if before.endswith("]") else before.rpartition(", ")[2]
    constants = [int(number) for number in _CONSTANT.findall(lists.get(named, named))]
    ways = 2 if after[4] == "True" else 1
    places = int(after[1]) * ways
    kinds = (*_PARTS[: 4 if after[0] == "True" else 2], "weight_hr")
    each = len(constants) // places if places and len(constants) % places == 0 else 0
    if each not in (len(kinds) - 1, len(kinds)):
        return None
    ends = [f"_l{layer}{end}" for layer in range(places // ways) for end in ("", "_reverse")[:ways]]
    names = [kind + end for end in ends for kind in kinds[:each]]
    name = named.removeprefix("self_").removesuffix(_FLAT) if named in lists else function
    attributes: dict[str, Any] = {"mode": MODES[function]}
    if _NUMBER.fullmatch(after[2]):
        attributes["dropout"] = float(after[2])
    if len(after) > 5:
        attributes["batch_first"] = after[5] == "True"
    kind = MODES[function].partition("_")[0]
    return FrozenModule(name, _CLASS + kind, attributes, dict(zip(names, constants, strict=True)))


def _cell(function: str, given: str) -> FrozenModule | None:
    constants = [int(number) for number in _CONSTANT.findall(given)]
    if len(constants) not in (2, 4):
        return None
    kind, _, nonlinearity = function.partition("_")
    attributes = {"nonlinearity": nonlinearity} if nonlinearity else {}
    parameters = dict(zip(_PARTS, constants, strict=False))
    return FrozenModule(f"{function}_cell", f"{_CLASS}{kind.upper()}Cell", attributes, parameters)
