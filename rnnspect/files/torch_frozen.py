"""What the code of a frozen TorchScript module says of its constants: torch.jit.freeze makes constants of parameters,
which have no names but numbers, and calls the recurrent functions of torch with them. The code is read as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MODES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU"}
_CONSTANT = re.compile(r"CONSTANTS\.c(\d{1,6})")
_LIST = re.compile(r"\s*(\w+) = \[(CONSTANTS\.c[^\[\]]*)\]")
_CALL = re.compile(r"torch\.(lstm|gru|rnn_tanh|rnn_relu)(_cell)?\(")
_FLAT = "__flat_weights"
"""How the list of a module's parameters is called: self_rnn__flat_weights."""
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_MOST, _DIGITS = 10_000, 4  # characters of a line, and of a number of layers


@dataclass(frozen=True)
class FrozenModule:
    """A recurrent module: its name, its mode as torch.nn has it, the number of the constant that each parameter is, by
    PyTorch's names, and whether it is a cell."""

    name: str
    mode: str
    parameters: dict[str, int]
    is_cell: bool = False
    line: str = ""
    """That calls it."""


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
            one = _cell(call[1], given) if call[2] else _stack(call[1], given, lists, line)
            if one is not None:
                found.setdefault(tuple(one.parameters.values()), one)
    return list(found.values())


def _stack(function: str, given: str, lists: dict[str, str], line: str) -> FrozenModule | None:
    """…, parameters, has_biases, num_layers, dropout, train, bidirectional, and of a padded sequence batch_first."""
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
    return FrozenModule(name, MODES[function], dict(zip(names, constants, strict=True)), line=line)


def _cell(function: str, given: str) -> FrozenModule | None:
    constants = [int(number) for number in _CONSTANT.findall(given)]
    if len(constants) not in (2, 4):
        return None
    return FrozenModule(f"{function}_cell", MODES[function], dict(zip(_PARTS, constants, strict=False)), is_cell=True)


def settings_of(module: FrozenModule, of_call: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class in torch.nn, and what a module of it would say; `of_call` is what the call says."""
    if not module.is_cell:
        return "torch.nn.modules.rnn." + module.mode.partition("_")[0], of_call
    name, _, function = module.mode.partition("_")
    return f"torch.nn.modules.rnn.{name}Cell", {"nonlinearity": function.lower()} if function else {}
