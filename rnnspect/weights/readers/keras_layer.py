"""Reads one recurrent layer of a Keras model from its config. Nothing that it names is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnspect.weights.readers.interface import functions_of

_BARE = {"LSTMCell": "lstm", "GRUCell": "gru", "SimpleRNNCell": "rnn"}
_CUDNN = {"CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
KERAS_CELLS = {name.removesuffix("Cell"): cell for name, cell in _BARE.items()} | _CUDNN
_SAME = ("sigmoid", "tanh", "relu", "elu", "softplus", "softsign")
"""Activations that a spec calls as Keras does."""
_KERAS_1 = {
    "output_dim": "units",
    "inner_activation": "recurrent_activation",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
}
"""What Keras 1 called the keys of today."""
CONCATENATED = "here they are concatenated, so record both (merge_mode='concat')"
_HALF = ("bfloat16", "float16")
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
    gives_steps: bool = False
    """Whether its output is h of every step, in their order, both directions side by side."""
    policy: str = ""
    """The name of its dtype policy."""
    below: str = ""
    """The recurrent layer of the same model whose output it reads, as "/".join(names); empty where there is none."""


class _CannotSayError(Exception):
    """Why a spec cannot describe a layer."""


def read_layer(
    names: tuple[str, ...], group: str, entry: dict[str, Any], around: dict[str, Any] | None, version: tuple[int, ...]
) -> ConfiguredLayer:
    """One layer. Of a Bidirectional `entry` is its forward layer and `around` its own config."""
    both = around is not None
    try:
        cell, config, taken = _cell(entry, version)
        keys, functions = _keys(cell, config), _functions(cell, config, version)
        notes = [*taken, *_notes(config, version)]
        backwards, gives_steps = bool(config.get("go_backwards", False)), bool(config.get("return_sequences", False))
        if around is not None:
            if backwards:
                raise _CannotSayError("its forward layer has go_backwards=True")
            if isinstance(other := around.get("backward_layer"), dict):
                second, theirs, _ = _cell(other, version)
                differ = [key for key in _SHARED if theirs.get(key) != config.get(key)]
                if second != cell or differ:
                    what = differ[0] if second == cell else "the cell"
                    raise _CannotSayError(f"its two directions differ in {what}")
                others = _functions(cell, theirs, version)
                functions += others if others != functions else []
            if (mode := around.get("merge_mode", "concat")) != "concat":
                notes += [f"merges its directions with {mode!r}; {CONCATENATED}"]
                gives_steps = False
        elif backwards:
            notes += ["has go_backwards=True and returns its last step first; turn what it gave: y[:, ::-1]"]
    except _CannotSayError as reason:
        return ConfiguredLayer(names, group, both, reason=str(reason))
    keys |= {"bidirectional": both} | ({"reverse": True} if backwards else {})
    keys |= functions_of(cell, functions)
    in_order = gives_steps and not backwards
    return ConfiguredLayer(names, group, both, keys, tuple(notes), gives_steps=in_order, policy=_policy(config))


def _cell(entry: dict[str, Any], version: tuple[int, ...]) -> tuple[str, dict[str, Any], list[str]]:
    """The cell, the layer's config as a layer of today would have it, and what was taken for what it does not say. Of
    RNN(LSTMCell(…)) the config is joined with that of the cell."""
    kind, config = str(entry.get("class_name")), entry.get("config")
    if not isinstance(config, dict):
        raise _CannotSayError(f"its {kind} has no config")
    if kind == "RNN":
        inner = config.get("cell")
        bare = str(inner.get("class_name")) if isinstance(inner, dict) else "no cell"
        if not isinstance(inner, dict) or bare not in _BARE or not isinstance(inner.get("config"), dict):
            raise _CannotSayError(f"the cell of its RNN is {bare}")
        _check_own(inner, bare)
        return _BARE[bare], *_as_today(_BARE[bare], config | inner["config"], version)
    if kind not in KERAS_CELLS:
        raise _CannotSayError(f"Bidirectional around {kind}")
    _check_own(entry, kind)
    if kind in _CUDNN:
        usual = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "reset_after": True}
        return KERAS_CELLS[kind], config | usual, []
    return KERAS_CELLS[kind], *_as_today(KERAS_CELLS[kind], config, version)


def _as_today(cell: str, config: dict[str, Any], version: tuple[int, ...]) -> tuple[dict[str, Any], list[str]]:
    today = {_KERAS_1.get(name, name) if version < (2,) else name: value for name, value in config.items()}
    if cell == "rnn" or "recurrent_activation" in today:
        return today, []
    gates = usual_gates(version)
    since = "the default before Keras 2.3" if gates == "hard_sigmoid" else "the default since Keras 2.3"
    note = f"does not store recurrent_activation; assuming {gates}, {since}"
    return today | {"recurrent_activation": gates}, [note]


def usual_gates(version: tuple[int, ...]) -> str:
    """The recurrent_activation of an LSTM or GRU that does not say it (release notes of Keras 2.3.0)."""
    return "hard_sigmoid" if () < version < (2, 3) else "sigmoid"


def _check_own(entry: dict[str, Any], kind: str) -> None:
    """Raises for somebody's own class that is called LSTM. Keras 3 says which module a class comes from, or the name
    under which it was registered: my>LSTM."""
    module, (package, registered, _) = entry.get("module"), str(entry.get("registered_name")).partition(">")
    if registered:
        raise _CannotSayError(f"{kind} is a class that was registered by {package}, not of Keras")
    if module is not None and str(module).partition(".")[0] not in ("keras", "keras_core", "tf_keras", "tensorflow"):
        raise _CannotSayError(f"{kind} is a class of {module}, not of Keras")


def _keys(cell: str, config: dict[str, Any]) -> dict[str, Any]:
    units = config.get("units")
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise _CannotSayError(f"units is {units!r}"[:80])
    keys: dict[str, Any] = {"cell": cell, "hidden_size": units, "bias": bool(config.get("use_bias", True))}
    if cell == "gru" and ("reset_after" in config or not keys["bias"]):  # older Keras had no other form
        keys["reset"] = "after" if config.get("reset_after") else "before"
    return keys | {"batch_first": not config.get("time_major", False)}


def _functions(cell: str, config: dict[str, Any], version: tuple[int, ...]) -> list[str]:
    """The activations of a layer in the order of a spec."""
    own = _activation(config.get("activation", "tanh"), version)
    if cell == "rnn":
        return [own]
    gates = _activation(config["recurrent_activation"], version)
    return [gates, own] if cell == "gru" else [gates, own, own]


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
    advice = "a cell of your own can have it: rnnspect init --cell mine.py"
    raise _CannotSayError(f"{f'unsupported activation {name}'[:80]}; {advice}")


def _notes(config: dict[str, Any], version: tuple[int, ...]) -> list[str]:
    notes = []
    drops = [f"{key} {config[key]}" for key in ("dropout", "recurrent_dropout") if config.get(key)]
    if drops:
        notes.append(f"has {' and '.join(drops)}, which acts only in training")
    if config.get("stateful"):
        notes.append("is stateful: Keras carries the state from batch to batch, here h0 and c0 set it")
    if "hard_sigmoid" in (config.get("activation"), config.get("recurrent_activation")) and version < (3,):
        notes.append("uses hard_sigmoid as in Keras 2, 0.2 x + 0.5; Keras 3 would compute x/6 + 0.5 with this file")
    return notes


def _policy(config: dict[str, Any]) -> str:
    """The name of its dtype policy: float32, mixed_bfloat16, …; Keras 3 writes it as an object or as its name."""
    policy = config.get("dtype")
    inner = policy.get("config") if isinstance(policy, dict) else None
    return str(inner.get("name") if isinstance(inner, dict) else policy)


def dtype_of_run(
    layer: ConfiguredLayer, stored: str | None, flags: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The key `dtype` of a layer that its policy has computed in a half type, from weights that are `stored` in a wider
    one, and what is worth knowing of it. What the user says goes before; nothing where the weights alone are wanted.

    Keras casts weights and x to that type, as any run in it does (`DTypePolicy.compute_dtype`).
    """
    own, asked = layer.policy.removeprefix("mixed_"), flags.get("dtype")
    if own not in _HALF or own == (asked or stored) or flags.get("as_stored"):
        return {}, []
    said = f"has the dtype policy {layer.policy}"
    if asked:
        return {}, [f"{said}; here it runs in {asked}, as --dtype says"]
    return {"dtype": own}, [f"{said}, so it runs in {own}; --dtype chooses another"]
