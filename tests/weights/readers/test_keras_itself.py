"""Files that Keras itself wrote, against what Keras itself computes with them. Skipped where Keras is not installed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="keras is not installed")

from rnnspect.cli import main  # noqa: E402 - after the backend is chosen
from rnnspect.weights import readers  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What Keras 3 itself does when it is imported or saves the form that it calls legacy.
pytestmark = pytest.mark.filterwarnings("ignore")

INPUTS, UNITS = 5, 4
X = np.random.default_rng(7).normal(0, 1, (2, 9, INPUTS)).astype(np.float32)
HARD = {"recurrent_activation": "hard_sigmoid"}
LAYERS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: keras.layers.LSTM(UNITS, return_sequences=True, bias_initializer="random_normal"),
    "LSTM plain": lambda: keras.layers.LSTM(UNITS, return_sequences=True, use_bias=False),
    "LSTM hard": lambda: keras.layers.LSTM(UNITS, return_sequences=True, activation="relu", **HARD),
    "LSTM forgets": lambda: keras.layers.LSTM(UNITS, return_sequences=True, unit_forget_bias=True, dropout=0.3),
    "GRU": lambda: keras.layers.GRU(UNITS, return_sequences=True, bias_initializer="random_normal"),
    "GRU before": lambda: keras.layers.GRU(UNITS, return_sequences=True, reset_after=False),
    "GRU before plain": lambda: keras.layers.GRU(UNITS, return_sequences=True, reset_after=False, use_bias=False),
    "GRU softsign": lambda: keras.layers.GRU(UNITS, return_sequences=True, activation="softsign"),
    "SimpleRNN": lambda: keras.layers.SimpleRNN(UNITS, return_sequences=True, bias_initializer="random_normal"),
    "SimpleRNN relu": lambda: keras.layers.SimpleRNN(UNITS, return_sequences=True, activation="relu"),
    "SimpleRNN elu": lambda: keras.layers.SimpleRNN(UNITS, return_sequences=True, activation="elu"),
    "SimpleRNN leaky": lambda: keras.layers.SimpleRNN(UNITS, return_sequences=True, activation="leaky_relu"),
    "RNN of a cell": lambda: keras.layers.RNN(keras.layers.GRUCell(UNITS), return_sequences=True),
}
FORMS = ["keras", "h5", "weights.h5"]


def saved(model: Any, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


def agrees(path: Path, output: np.ndarray, x: np.ndarray, *argv: str) -> int:
    """Keras' own output held against the equations with the weights in the file, within what float32 allows."""
    np.save(path.parent / "x.npy", x)
    np.save(path.parent / "out.npy", output)
    files = ["--input", str(path.parent / "x.npy"), "--recorded", str(path.parent / "out.npy")]
    return main(["check", str(path), *files, *argv])


def numbers(values: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(values))


@pytest.mark.parametrize("wrapped", [False, True], ids=["", "Bidirectional"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_a_layer(tmp_path: Path, capsys: Any, make: Any, form: str, wrapped: bool):
    keras.utils.set_random_seed(1)
    layer = keras.layers.Bidirectional(make(), name="mine") if wrapped else make()
    model = keras.Sequential([keras.Input((None, INPUTS)), layer])
    path = saved(model, tmp_path / f"m.{form}")
    inner = layer.forward_layer if wrapped else layer
    told = inner.cell.get_config()
    status = agrees(path, numbers(model(X)), X)
    untold = told["activation"] != "tanh" or not (told.get("reset_after", True) or told["use_bias"])
    if form == "weights.h5" and untold:
        assert (status, "does not store activation" in capsys.readouterr().err) == (1, True)
    else:
        assert status == 0, capsys.readouterr()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_layer_with_a_policy(tmp_path: Path, capsys: Any, policy: str):
    """Keras computes in half types from weights in float32, as its file says."""
    keras.utils.set_random_seed(3)
    layer = keras.layers.LSTM(UNITS, return_sequences=True, bias_initializer="random_normal", dtype=policy)
    model = keras.Sequential([keras.Input((None, INPUTS)), layer])
    path, half = saved(model, tmp_path / "m.keras"), policy.removeprefix("mixed_")
    output = numbers(keras.ops.cast(model(X), "float32"))
    assert agrees(path, output, X) == 0
    assert f"has the dtype policy {policy}, so it runs in {half}" in capsys.readouterr().err
    assert agrees(path, output, X, "--dtype", "float32") == 1
    assert main(["check", str(path)]) == 0
    assert main(["check", str(path), "--engine", "keras"]) == 0


@pytest.mark.parametrize("form", FORMS)
def test_stacked_cells_are_layers(tmp_path: Path, capsys: Any, form: str):
    keras.utils.set_random_seed(4)
    options = {"bias_initializer": "random_normal"}
    cells = [keras.layers.GRUCell(3, **options), keras.layers.LSTMCell(UNITS, **options)]
    model = keras.Sequential([keras.Input((None, INPUTS)), keras.layers.RNN(cells, return_sequences=True)])
    path = saved(model, tmp_path / f"m.{form}")
    below = numbers(keras.layers.RNN(cells[0], return_sequences=True)(X))
    assert agrees(path, below, X, "--module", "*gru_cell*") == 0, capsys.readouterr()
    assert agrees(path, numbers(model(X)), below, "--module", "*lstm_cell*") == 0, capsys.readouterr()


def test_a_layer_that_goes_backwards(tmp_path: Path, capsys: Any):
    keras.utils.set_random_seed(2)
    layer = keras.layers.LSTM(UNITS, return_sequences=True, go_backwards=True)
    model = keras.Sequential([keras.Input((None, INPUTS)), layer])
    path = saved(model, tmp_path / "m.keras")
    given = numbers(model(X))
    assert agrees(path, given[:, ::-1].copy(), X) == 0
    assert "returns its last step first" in capsys.readouterr().err
    assert agrees(path, given, X) == 1


@pytest.mark.parametrize("before", ["Masking", "Embedding", "nothing"])
def test_a_layer_that_gets_a_mask(tmp_path: Path, capsys: Any, before: str):
    keras.utils.set_random_seed(2)
    layers = keras.layers
    masks = {"Masking": [layers.Masking()], "Embedding": [layers.Embedding(9, INPUTS, mask_zero=True)]}.get(before, [])
    shape = (None,) if before == "Embedding" else (None, INPUTS)
    lstm = layers.LSTM(UNITS, return_sequences=True)
    path = saved(keras.Sequential([keras.Input(shape), *masks, lstm]), tmp_path / "m.keras")
    assert main(["check", str(path)]) == 0
    assert ("gets a mask in this model: give --lengths" in capsys.readouterr().err) == bool(masks)


def network() -> Any:
    """A Sequential in a functional model; layers of the same class and of the same name, in an order that is not
    that of their names."""
    layers = keras.layers
    shared = layers.LSTM(UNITS, return_sequences=True, name="zebra")
    encoder = keras.Sequential(
        [
            keras.Input((None, INPUTS)),
            shared,
            layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both"),
            layers.Dense(INPUTS),
        ],
        name="encoder",
    )
    x = keras.Input((None, INPUTS))
    h = encoder(x)
    first = layers.LSTM(UNITS, return_sequences=True, name="zebra")
    second = layers.LSTM(UNITS, return_sequences=True, name="ape")
    third = layers.GRU(UNITS, return_sequences=True, reset_after=False, name="cat")
    return keras.Model(x, third(second(first(h)))), {
        "encoder/zebra": shared,
        "encoder/both": encoder.get_layer("both"),
        "zebra": first,
        "ape": second,
        "cat": third,
    }


@pytest.mark.parametrize("form", FORMS)
def test_every_layer_of_a_nested_model(tmp_path: Path, capsys: Any, form: str):
    keras.utils.set_random_seed(3)
    model, layers = network()
    path = saved(model, tmp_path / f"m.{form}")
    for name, layer in layers.items():
        width = (layer.forward_layer if hasattr(layer, "forward_layer") else layer).cell.kernel.shape[0]
        x = np.random.default_rng(1).normal(0, 1, (2, 6, width)).astype(np.float32)
        assert agrees(path, numbers(layer(x)), x, "--module", name) == 0, (name, capsys.readouterr())
    capsys.readouterr()
    assert main(["shapes", str(path)]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^{name}(, which reads \S+)?: ", shown, re.MULTILINE) for name in layers)


def nested(name: str, *layers: Any, width: int = INPUTS) -> Any:
    return keras.Sequential([keras.Input((None, width)), *layers], name=name)


def named(kind: str, name: str, **more: Any) -> Any:
    """None of its functions is the usual one: a layer whose config is not found would be another."""
    return getattr(keras.layers, kind)(UNITS, name=name, activation="softsign", return_sequences=True, **more)


def two(name: str = "both", forward: str = "one", backward: str = "two") -> Any:
    first, second = named("GRU", forward), named("GRU", backward, go_backwards=True)
    return keras.layers.Bidirectional(first, backward_layer=second, name=name)


def bidirectional(name: str) -> Any:
    return keras.layers.Bidirectional(named("LSTM", "in"), name=name)


LIKE_NAMED: dict[str, Callable[[], list[Any]]] = {
    "in a model and in one within it": lambda: [
        nested("outer", named("LSTM", "in"), nested("inner", named("LSTM", "in"), width=UNITS))
    ],
    "as the model": lambda: [nested("own", named("LSTM", "own"), named("GRU", "other"))],
    "directions of other names": lambda: [two()],
    "a Bidirectional as a direction": lambda: [bidirectional("forward_one")],
    "several as a direction": lambda: [nested("outer", bidirectional("backward_one"), named("GRU", "b"))],
    "two in a model": lambda: [nested("outer", bidirectional("a"), two("b", "forward", "backward"))],
}


def recurrent(model: Any, names: tuple[str, ...] = ()) -> dict[str, Any]:
    found = {}
    for layer in model.layers:
        inner = (*names, layer.name)
        is_model = isinstance(layer, keras.Model)
        found |= recurrent(layer, inner) if is_model else {"/".join(inner): layer}
    return found


@pytest.mark.parametrize("form", FORMS[:2])
@pytest.mark.parametrize("make", LIKE_NAMED.values(), ids=LIKE_NAMED)
def test_layers_whose_names_say_something_else(tmp_path: Path, capsys: Any, make: Any, form: str):
    keras.utils.set_random_seed(6)
    model = keras.Sequential([keras.Input((None, INPUTS)), *make()])
    path = saved(model, tmp_path / f"m.{form}")
    for name, layer in recurrent(model).items():
        width = (layer.forward_layer if hasattr(layer, "forward_layer") else layer).cell.kernel.shape[0]
        x = np.random.default_rng(1).normal(0, 1, (2, 6, width)).astype(np.float32)
        assert agrees(path, numbers(layer(x)), x, "--module", name) == 0, (name, capsys.readouterr())
        assert "does not store" not in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMS[:2])
def test_a_layer_that_could_not_be_found_is_not_there_without_its_config(tmp_path: Path, capsys: Any, form: str):
    cells = [keras.layers.LSTMCell(UNITS), keras.layers.LSTMCell(UNITS)]
    both = keras.layers.Bidirectional(keras.layers.RNN(cells, return_sequences=True))
    path = saved(keras.Sequential([keras.Input((None, INPUTS)), both, named("GRU", "last")]), tmp_path / f"m.{form}")
    assert main(["shapes", str(path), "--format", "json"]) == 0
    assert "last" in capsys.readouterr().out
    assert main(["shapes", str(path)]) == 0
    shown = capsys.readouterr()
    assert "lstm_cell" not in shown.out
    assert "does not store" not in shown.err


@keras.saving.register_keras_serializable(package="mine")
class LSTM(keras.layers.LSTM):  # type: ignore[misc]
    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        return 3.0 * super().call(sequences, initial_state, mask, training)


@pytest.mark.parametrize("form", FORMS[:2])
def test_a_layer_of_a_registered_class_is_not_that_of_keras(tmp_path: Path, capsys: Any, form: str):
    model = keras.Sequential([keras.Input((None, INPUTS)), LSTM(UNITS, return_sequences=True)])
    path = saved(model, tmp_path / f"m.{form}")
    assert main(["check", str(path)]) == 2
    assert "LSTM is a class that was registered by mine, not of Keras" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["torch", "keras"])
@pytest.mark.parametrize("name", ["ape", "encoder/both", "cat"])
def test_check_runs_an_engine_with_the_weights(tmp_path: Path, capsys: Any, engine: str, name: str):
    """And the engine's numbers are those of the layer that was saved."""
    keras.utils.set_random_seed(4)
    model, layers = network()
    path = saved(model, tmp_path / "m.keras")
    layer = layers[name]
    width = (layer.forward_layer if hasattr(layer, "forward_layer") else layer).cell.kernel.shape[0]
    x = np.random.default_rng(1).normal(0, 1, (2, 6, width)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    argv = [str(path), "--module", name, "--input", str(tmp_path / "x.npy"), "--engine", engine]
    status = main(["check", *argv])
    shown = capsys.readouterr()
    if (name, engine) == ("cat", "torch"):
        assert (status, "torch.nn.GRU applies the reset gate after the matrix product" in shown.err) == (2, True)
        assert main(["check", *argv[:-2]]) == 0, "Keras' own engine is what such a file takes by itself"
        return
    assert status == 0, shown
    assert agrees(path, numbers(layer(x)), x, "--module", name) == 0


def test_a_model_of_a_class_of_ones_own(tmp_path: Path, capsys: Any):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = keras.layers.LSTM(UNITS, return_sequences=True)

        def call(self, x):
            return self.encoder(x)

    keras.utils.set_random_seed(5)
    model = Mine()
    output = numbers(model(X))
    assert agrees(saved(model, tmp_path / "m.keras"), output, X) == 0
    assert "does not store activation" in capsys.readouterr().err


def test_layers_of_weights_alone_are_in_the_order_of_the_model(tmp_path: Path):
    """Not in that of their names; lstm_10 comes after lstm_2."""
    names = [f"{letter}_{at}" for at, letter in enumerate("zyxwvutsrqponm")]
    layers = [keras.layers.LSTM(2, return_sequences=True, name=name) for name in names]
    path = saved(keras.Sequential([keras.Input((None, 2)), *layers]), tmp_path / "m.weights.h5")
    assert list(readers.modules_in(path, {})) == names
