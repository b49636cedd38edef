"""What the config of a Keras model, which is JSON, says of its recurrent layers. Nothing that it names is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.weights.readers.interface import functions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 64
"""How many models and wrappers may lie inside one another."""
_CELLS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}
_BARE = {name + "Cell": cell for name, cell in _CELLS.items()}
_REFUSED = {
    "CuDNNLSTM": "CuDNNLSTM packs its biases as cuDNN does",
    "CuDNNGRU": "CuDNNGRU packs its biases as cuDNN does",
    **{f"ConvLSTM{n}D": f"the products of ConvLSTM{n}D are convolutions" for n in (1, 2, 3)},
}
_SAME = ("sigmoid", "tanh", "relu", "elu", "softplus", "softsign")
"""Activations that a spec calls as Keras does."""
_SHARED = ("units", "use_bias", "reset_after")
"""What a spec says of both directions at once."""


@dataclass(frozen=True)
class ConfiguredLayer:
    """One recurrent layer; a Bidirectional is one, too."""

    names: tuple[str, ...]
    """The names of the models and wrappers that hold it, from the outermost, then its own."""
    group: str
    """Where Keras 3 keeps its weights: layers/sequential/layers/lstm_1."""
    bidirectional: bool = False
    keys: dict[str, Any] = field(default_factory=dict)
    """Keys of a spec; without `reset` where the config does not say it."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of it; each goes on after "note: FILE:NAME "."""
    reason: str | None = None
    """Why a spec cannot describe it; None where it can."""


class _CannotSayError(Exception):
    """Why a spec cannot describe a layer."""


def configured_layers(config: Any, version: tuple[int, ...], where: str) -> list[ConfiguredLayer]:
    """The recurrent layers of a model and of the models and wrappers in it, in the order of the config.

    `version` is that of the Keras that wrote the file. Raises `FileError` for a config that describes no model.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise FileError("a config that describes no model", where=where)
    return list(_model(config.get("config"), "", (), version, where))


def _model(
    config: Any, group: str, names: tuple[str, ...], version: tuple[int, ...], where: str
) -> Iterator[ConfiguredLayer]:
    """The layers of a model. Keras 3 names a layer's group after its class and numbers them from the second one on
    (saving_lib.py, _save_container_state)."""
    if len(names) > MAX_DEPTH:
        raise FileError("models nested without end", allowed=f"{MAX_DEPTH} in one another", where=where)
    layers = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    used: dict[str, int] = {}
    for entry in layers if isinstance(layers, list) else []:
        if not isinstance(entry, dict):
            continue
        known = _snake(str(entry.get("class_name")))
        used[known] = used.get(known, -1) + 1
        known += f"_{used[known]}" if used[known] else ""
        yield from _layer(entry, f"{group}/layers/{known}".lstrip("/"), names, version, where)


def _layer(
    entry: dict[str, Any], group: str, names: tuple[str, ...], version: tuple[int, ...], where: str
) -> Iterator[ConfiguredLayer]:
    kind, config = str(entry.get("class_name")), entry.get("config")
    inner = config if isinstance(config, dict) else {}
    names = (*names, str(inner.get("name") or entry.get("name") or group.rpartition("/")[2]))
    wrapped = inner.get("layer")
    if kind in _REFUSED:
        yield ConfiguredLayer(names, group, reason=_REFUSED[kind])
    elif kind in (*_CELLS, "RNN"):
        yield _read(names, group, entry, None, version)
    elif kind == "Bidirectional" and isinstance(wrapped, dict):
        yield _read(names, group, wrapped, inner, version)
    elif isinstance(wrapped, dict):
        if len(names) > MAX_DEPTH:
            raise FileError("layers nested without end", allowed=f"{MAX_DEPTH} in one another", where=where)
        yield from _layer(wrapped, f"{group}/layer", names, version, where)
    else:
        yield from _model(config, group, names, version, where)


def _read(
    names: tuple[str, ...], group: str, entry: dict[str, Any], around: dict[str, Any] | None, version: tuple[int, ...]
) -> ConfiguredLayer:
    """One layer. Of a Bidirectional `entry` is its forward layer and `around` its own config."""
    both = around is not None
    try:
        cell, config = _cell(entry)
        keys, functions = _keys(cell, config, version), _functions(cell, config, version)
        notes = _notes(config, version)
        backwards = bool(config.get("go_backwards", False))
        if around is not None:
            if backwards:
                raise _CannotSayError("its forward layer goes backwards")
            if isinstance(other := around.get("backward_layer"), dict):
                second, theirs = _cell(other)
                differ = [key for key in _SHARED if theirs.get(key) != config.get(key)]
                if second != cell or differ:
                    what = differ[0] if second == cell else "their cell"
                    raise _CannotSayError(f"its two directions differ in {what}")
                others = _functions(cell, theirs, version)
                functions += others if others != functions else []
            if (mode := around.get("merge_mode", "concat")) != "concat":
                notes += [f"merges its directions by {mode}; here they stand side by side"]
        elif backwards:
            notes += ["goes backwards and gives its last step first; here each stands at its place in the input"]
    except _CannotSayError as reason:
        return ConfiguredLayer(names, group, both, reason=str(reason))
    keys |= {"bidirectional": both} | ({"reverse": True} if backwards else {})
    keys |= {"nonlinearity": "tanh"} if functions == ["tanh"] else functions_of(cell, functions)
    return ConfiguredLayer(names, group, both, keys, tuple(notes))


def _cell(entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The cell and the layer's config, joined with that of the cell for RNN(LSTMCell(…))."""
    kind, config = str(entry.get("class_name")), entry.get("config")
    if not isinstance(config, dict):
        raise _CannotSayError(f"{kind} without a config")
    if kind == "RNN":
        inner = config.get("cell")
        bare = str(inner.get("class_name")) if isinstance(inner, dict) else "no cell"
        if not isinstance(inner, dict) or bare not in _BARE or not isinstance(inner.get("config"), dict):
            raise _CannotSayError(f"RNN of {bare}")
        _check_own(inner, bare)
        return _BARE[bare], config | inner["config"]
    if kind not in _CELLS:
        raise _CannotSayError(f"both directions of {kind}")
    _check_own(entry, kind)
    return _CELLS[kind], config


def _check_own(entry: dict[str, Any], kind: str) -> None:
    """Raises for somebody's own class that is called LSTM; Keras 3 says which module a class comes from."""
    module = entry.get("module")
    if module is not None and not str(module).startswith(("keras", "tf_keras", "tensorflow.")):
        raise _CannotSayError(f"{kind} of {module}, which is not Keras'")


def _keys(cell: str, config: dict[str, Any], version: tuple[int, ...]) -> dict[str, Any]:
    units = config.get("units", config.get("output_dim") if version < (2,) else None)
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise _CannotSayError(f"units of {units!r}"[:80])
    keys: dict[str, Any] = {"cell": cell, "hidden_size": units, "bias": bool(config.get("use_bias", True))}
    if cell == "gru" and "reset_after" in config:
        keys["reset"] = "after" if config["reset_after"] else "before"
    return keys | {"batch_first": not config.get("time_major", False)}


def _functions(cell: str, config: dict[str, Any], version: tuple[int, ...]) -> list[str]:
    """The activations of a layer in the order of a spec."""
    own = _activation(config.get("activation", "tanh"), version)
    usual = "hard_sigmoid" if version < (2, 3) else "sigmoid"
    gates = _activation(config.get("recurrent_activation", usual), version)
    return {"rnn": [own], "gru": [gates, own], "lstm": [gates, own, own]}[cell]


def _activation(value: Any, version: tuple[int, ...]) -> str:
    """As a spec writes it. Keras 3 changed the slope of hard_sigmoid from 1/5 to 1/6 (activations/activations.py)."""
    name = value
    if isinstance(value, dict):
        kind, module = value.get("class_name"), str(value.get("module", ""))
        plain = kind == "function" and module.startswith(("keras", "builtins"))
        name = value.get("config") if plain else f"{kind} {value.get('registered_name') or ''}".strip()
    if name in _SAME:
        return str(name)
    if name in (None, "linear"):
        return "affine(1, 0)"
    if name == "hard_sigmoid":
        return f"hard_sigmoid({1 / 6 if version >= (3,) else 0.2!r}, 0.5)"
    if name == "leaky_relu":
        return "leaky_relu(0.2)"
    raise _CannotSayError(f"the activation {name}"[:80])


def _notes(config: dict[str, Any], version: tuple[int, ...]) -> list[str]:
    notes = []
    drops = [f"{key} {config[key]}" for key in ("dropout", "recurrent_dropout") if config.get(key)]
    if drops:
        notes.append(f"has {' and '.join(drops)}, in training only")
    if config.get("stateful"):
        notes.append("is stateful: Keras starts a batch where the one before ended, here h0 and c0 say where")
    if "hard_sigmoid" in (config.get("activation"), config.get("recurrent_activation")) and version < (3,):
        notes.append("has the hard_sigmoid of Keras 2, 0.2 x + 0.5; Keras 3 computes x/6 + 0.5 of the same file")
    policy = config.get("dtype")
    inner = policy.get("config") if isinstance(policy, dict) else None
    policy = inner.get("name") if isinstance(inner, dict) else policy
    if str(policy).startswith("mixed_"):
        notes.append(f"computes under {policy}; here in the dtype of its weights, or --dtype")
    return notes


def _snake(name: str) -> str:
    """As to_snake_case in keras/src/utils/naming.py."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
