"""What the code of a TorchScript archive says of its recurrent modules, such as batch_first. The code is read as text,
line by line, and never run.

A compiled module writes its settings as constants: `batch_first : Final[bool] = True`. A traced one has only the call
that was seen: `torch.lstm(x, _1, _2, True, 2, 0., False, True, True)`, whose last arguments are has_biases, num_layers,
dropout, train, bidirectional and batch_first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_MODES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN_TANH", "rnn_relu": "RNN_RELU"}
_TRUTHS = {"True": True, "False": False}


def code_file(kind: str) -> str:
    """The member of the archive with the code of a class: code/__torch__/torch/nn/modules/rnn.py."""
    return f"code/{kind.rpartition('.')[0].replace('.', '/')}.py"


def settings(code: str, kind: str) -> dict[str, Any]:
    """The settings of a class as torch.nn names them, as far as its code says them plainly."""
    constants: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    for line in _lines_of_class(code, kind.rpartition(".")[2]):
        name, is_constant, value = line.strip().partition(" : Final[")
        if is_constant:
            constants[name] = _literal(value.partition("] = ")[2])
        elif (called := _called(line)) and called not in calls:
            calls.append(called)
    return constants or (calls[0] if len(calls) == 1 else {})


def _lines_of_class(code: str, name: str) -> Iterable[str]:
    inside = False
    for line in code.splitlines():
        if line.startswith("class "):
            inside = line.startswith(f"class {name}(")
        elif inside:
            yield line


def _called(line: str) -> dict[str, Any] | None:
    """What a call of a recurrent function in this line says; None where there is none."""
    name, _, given = line.partition("torch.")[2].partition("(")
    arguments = given.rstrip().removesuffix(")").rsplit(", ", 4)
    if name not in _MODES or len(arguments) < 5 or not all(one in _TRUTHS for one in arguments[-3:]):
        return None  # with packed sequences the last argument is another
    return {"mode": _MODES[name], "dropout": _literal(arguments[-4]), "batch_first": _TRUTHS[arguments[-1]]}


def _literal(text: str) -> Any:
    """A truth, a text or a number as TorchScript writes it; None for anything else."""
    if text in _TRUTHS:
        return _TRUTHS[text]
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        return None
