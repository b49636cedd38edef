"""Mistakes that people make with torch, Keras, Flax and Haiku, made with the packages themselves, are told by name.

Nothing here calls what a cause does to an assumption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.causes.nodes import HIDDEN, INPUTS, LENGTHS, Array, Layer, first

if TYPE_CHECKING:
    from collections.abc import Callable

RNN, GRU, LSTM = {"cell": "rnn"}, {"cell": "gru"}, {"cell": "lstm"}
BOTH, BACK = {"bidirectional": True}, {"reverse": True}
BIASES = ("bias_ih", "bias_hh")


def module(layer: Layer, **more: Any) -> torch.nn.RNNBase:
    made = getattr(torch.nn, layer.cell.upper())(INPUTS, HIDDEN, bidirectional=len(layer.ends) > 1, **more)
    made.load_state_dict({name: torch.from_numpy(v) for name, v in layer.drawn.items() if name[0] in "wb"})
    return made


def state(layer: Layer) -> Any:
    given = tuple(torch.from_numpy(layer.drawn[name]) for name in layer.states)
    return given if len(given) > 1 else given[0]


@pytest.mark.parametrize("keys", [RNN, GRU, LSTM, LSTM | BOTH], ids=["rnn", "gru", "lstm", "both ways"])
def test_batch_first_that_was_forgotten_is_named(keys: dict[str, Any]):
    """The input is (B, T, I) and the module takes B for time; nothing raises, since it begins from zero."""
    layer = Layer(keys)
    for name in layer.states:
        layer.drawn[name][:] = 0
    with torch.no_grad():
        y = module(layer)(torch.from_numpy(layer.drawn["x"]).transpose(0, 1))[0].transpose(0, 1)
    assert first(layer.check({"output": y}))[0] == "time-batch-exchanged"


@pytest.mark.parametrize("keys", [GRU, LSTM, LSTM | BOTH], ids=["gru", "lstm", "both ways"])
def test_a_batch_that_was_not_packed_is_named(keys: dict[str, Any]):
    layer = Layer(keys, LENGTHS)
    with torch.no_grad():
        y, ended = module(layer)(torch.from_numpy(layer.drawn["x"]), state(layer))
    h_n = ended[0] if layer.cell == "lstm" else ended
    assert first(layer.check({"output": y, "h_n": h_n}))[0] == "padding-not-masked"


def test_a_state_that_was_not_passed_is_named():
    layer = Layer(LSTM)
    with torch.no_grad():
        y = module(layer)(torch.from_numpy(layer.drawn["x"]))[0]
    assert first(layer.check({"output": y})) == ("state-ignored", {"which": "h0 and c0"})


def blocks(layer: Layer, parameter: str, order: str) -> Array:
    own = dict(zip(layer.gates, np.split(layer.drawn[f"{parameter}_l0"], len(layer.gates)), strict=True))
    return np.concatenate([own[gate] for gate in order])


@pytest.mark.filterwarnings("ignore")  # whatever a framework warns of is not ours
@pytest.mark.parametrize(("kept", "name"), [(False, "gru-b_hn-dropped"), (True, "gru-b_hn-folded")])
def test_flax_nnx_has_no_b_hn(kept: bool, name: str):
    """flax.nnx.GRUCell keeps one bias of n, outside r ⊙ ( )."""
    nnx = pytest.importorskip("flax.nnx", reason="skipped: flax is not installed")
    jnp = pytest.importorskip("jax.numpy", reason="skipped: jax is not installed")
    layer = Layer(GRU)
    cell = nnx.GRUCell(INPUTS, HIDDEN, rngs=nnx.Rngs(0))
    b_ih, b_hh = (blocks(layer, bias, "rzn").copy() for bias in BIASES)
    b_hh[2 * HIDDEN :] *= kept
    cell.dense_i.kernel[...] = blocks(layer, "weight_ih", "rzn").T
    cell.dense_h.kernel[...] = blocks(layer, "weight_hh", "rzn").T
    cell.dense_i.bias[...] = b_ih + b_hh
    h, out = jnp.array(layer.drawn["h0"][0]), []
    for x in layer.drawn["x"]:
        h, _ = cell(h, jnp.array(x))
        out.append(np.array(h))
    assert first(layer.check({"output": np.stack(out)}))[0] == name


def _reset(keras: Any, layer: Layer) -> Any:
    made = keras.layers.GRU(HIDDEN, reset_after=False, return_sequences=True)
    return made, [*kernels(layer, "zrn"), blocks(layer, "bias_ih", "zrn") + blocks(layer, "bias_hh", "zrn")]


def _hard(keras: Any, layer: Layer) -> Any:
    made = keras.layers.LSTM(HIDDEN, recurrent_activation="hard_sigmoid", return_sequences=True)
    return made, [*kernels(layer, "ifgo"), layer.drawn["bias_ih_l0"] + layer.drawn["bias_hh_l0"]]


def _twice(keras: Any, layer: Layer) -> Any:
    """1 added to the forget bias by hand, on top of what is stored: unit_forget_bias only says how it begins."""
    made = keras.layers.LSTM(HIDDEN, return_sequences=True)
    *own, bias = _hard(keras, layer)[1]
    return made, [*own, bias + np.eye(4, dtype=np.float32)[1].repeat(HIDDEN)]


def _backwards(keras: Any, layer: Layer) -> Any:
    made = keras.layers.LSTM(HIDDEN, go_backwards=True, return_sequences=True)
    w_ih, w_hh, b_ih, b_hh = (layer.drawn[f"{name}_l0_reverse"] for name in ("weight_ih", "weight_hh", *BIASES))
    return made, [w_ih.T, w_hh.T, b_ih + b_hh]


def kernels(layer: Layer, order: str) -> list[Array]:
    return [blocks(layer, "weight_ih", order).T, blocks(layer, "weight_hh", order).T]


KERAS: dict[str, tuple[dict[str, Any], Callable[[Any, Layer], Any]]] = {
    "gru-reset-before": (GRU, _reset),
    "hard-sigmoid": (LSTM, _hard),
    "forget-bias-added": (LSTM, _twice),
    "reverse-not-realigned": (LSTM | BACK, _backwards),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KERAS)
def test_keras_with_another_setting_is_named(name: str, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="skipped: keras is not installed")
    keys, make = KERAS[name]
    layer = Layer(keys)
    made, arrays = make(keras, layer)
    x = layer.drawn["x"].transpose(1, 0, 2).copy()
    made.build(x.shape)
    made.set_weights(arrays)
    y = made(x, initial_state=[keras.ops.convert_to_tensor(layer.drawn[one][0]) for one in layer.states])
    assert first(layer.check({"output": keras.ops.convert_to_numpy(y).transpose(1, 0, 2)}))[0] == name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dropped", [{"recurrent_dropout": 0.4}, {"dropout": 0.2, "recurrent_dropout": 0.4}])
def test_keras_in_train_mode_is_named(dropped: dict[str, float], monkeypatch):
    """With recurrent_dropout each gate has a mask of its own, that of x included."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="skipped: keras is not installed")
    keras.utils.set_random_seed(0)
    layer = Layer(LSTM)
    longer = (24, *layer.drawn["x"].shape[1:])  # which tell the masks
    layer.drawn["x"] = np.random.default_rng(1).uniform(-1, 1, longer).astype(np.float32)
    made = keras.layers.LSTM(HIDDEN, return_sequences=True, **dropped)
    x = layer.drawn["x"].transpose(1, 0, 2).copy()
    made.build(x.shape)
    made.set_weights([*kernels(layer, "ifgo"), layer.drawn["bias_ih_l0"] + layer.drawn["bias_hh_l0"]])
    states = [keras.ops.convert_to_tensor(layer.drawn[one][0]) for one in layer.states]
    y = made(x, initial_state=states, training=True)
    found = layer.check({"output": keras.ops.convert_to_numpy(y.detach()).transpose(1, 0, 2)}).causes
    assert [(one.name, one.parameters) for one in found] == [("dropout-active", {"where": "gates", "p": 0.4})]


@pytest.mark.filterwarnings("ignore")
def test_keras_with_the_biases_that_it_begins_with_is_named(monkeypatch):
    """Kernels alone were loaded: the biases are zero, but for the forget gate's, which unit_forget_bias begins at 1."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="skipped: keras is not installed")
    layer = Layer(LSTM)
    made = keras.layers.LSTM(HIDDEN, return_sequences=True)
    x = layer.drawn["x"].transpose(1, 0, 2).copy()
    made.build(x.shape)
    made.set_weights([*kernels(layer, "ifgo"), made.get_weights()[2]])
    y = made(x, initial_state=[keras.ops.convert_to_tensor(layer.drawn[one][0]) for one in layer.states])
    verdict = layer.check({"output": keras.ops.convert_to_numpy(y).transpose(1, 0, 2)})
    assert {cause.name for cause in verdict.causes} == {"bias-dropped", "forget-bias-added"}
    assert verdict.causes[0].worst_ratio_after <= 1


def _haiku_lstm(haiku: Any, layer: Layer) -> Any:
    bias = blocks(layer, "bias_ih", "igfo") + blocks(layer, "bias_hh", "igfo")
    params = {"cell/linear": {"w": np.concatenate(kernels(layer, "igfo")), "b": bias}}
    return haiku.LSTM, params, haiku.LSTMState(layer.drawn["h0"][0], layer.drawn["c0"][0])


def _haiku_gru(haiku: Any, layer: Layer) -> Any:
    w_i, w_h = kernels(layer, "zrn")
    bias = blocks(layer, "bias_ih", "zrn") + blocks(layer, "bias_hh", "zrn")
    return haiku.GRU, {"cell": {"w_i": w_i, "w_h": w_h, "b": bias}}, layer.drawn["h0"][0]


HAIKU: dict[str, tuple[dict[str, Any], Callable[[Any, Layer], Any]]] = {
    "forget-bias-added": (LSTM, _haiku_lstm),
    "gru-mix-flipped": (GRU | {"reset": "before"}, _haiku_gru),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HAIKU)
def test_haiku_given_parameters_as_they_are_is_named(name: str):
    haiku = pytest.importorskip("haiku", reason="skipped: dm-haiku is not installed")
    keys, make = HAIKU[name]
    layer = Layer(keys)
    kind, params, state = make(haiku, layer)
    cell = haiku.without_apply_rng(haiku.transform(lambda x, state: kind(HIDDEN, name="cell")(x, state)))
    out = []
    for x in layer.drawn["x"]:
        h, state = cell.apply(params, x, state)
        out.append(np.array(h))
    assert first(layer.check({"output": np.stack(out)}))[0] == name
