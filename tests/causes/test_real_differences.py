"""What onnxruntime and onnx.reference do otherwise than ONNX says, and what an export loses, is told by its name.

The packages themselves are run; nothing here calls what a cause does to an assumption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rnnspect.cli import main
from tests.causes.nodes import HIDDEN, LENGTHS, Array, Layer, first, run
from tests.marks import sampled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnspect.judging.verdict import Verdict

RNN, GRU, LSTM = {"cell": "rnn"}, {"cell": "gru"}, {"cell": "lstm"}
BOTH, BACK = {"bidirectional": True}, {"reverse": True}
DIRECTIONS: dict[str, dict[str, Any]] = {"forward": {}, "reverse": BACK, "both ways": BOTH}
SQUASHED = {"activations": ["hard_sigmoid(0.3, 0.4)", "leaky_relu(0.3)", "scaled_tanh(1.1, 0.7)"]}
IN_ONNX = {
    "activations": ["HardSigmoid", "LeakyRelu", "ScaledTanh"],
    "activation_alpha": [0.3, 0.3, 1.1],
    "activation_beta": [0.4, 0.7],
}


def of_node(
    layer: Layer, runtime: str, without: tuple[str, ...] = (), inputs: Mapping[str, Array] | None = None, **said: Any
) -> Verdict:
    """A node with some attributes and inputs left out, and others in their place."""
    given = {name: value for name, value in (layer.inputs() | dict(inputs or {})).items() if name not in without}
    attributes = {name: value for name, value in (layer.attributes() | said).items() if name not in without}
    return layer.check(run(layer, runtime, given, attributes))


RIGHT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (RNN, {}),
    (RNN | {"clip": 0.5}, {}),
    (GRU, {}),
    (GRU | {"reset": "before"}, {}),
    (GRU | {"clip": 0.5}, {}),
    (LSTM, {}),
    (LSTM | {"peepholes": True}, {}),
    (LSTM | {"input_forget": True}, {}),
    (LSTM | {"input_forget": True, "peepholes": True}, {}),
    (LSTM | SQUASHED, IN_ONNX),
]


@pytest.mark.each_value_once
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("way", DIRECTIONS)
@pytest.mark.parametrize(("keys", "said"), RIGHT, ids=[" ".join(map(str, keys)) for keys, _ in RIGHT])
def test_a_node_that_is_as_it_should_be_is_given_no_cause(
    keys: dict[str, Any], said: dict[str, Any], way: str, lengths: list[int] | None
):
    if way == "both ways":
        said = {name: 2 * values for name, values in said.items()}
    verdict = of_node(Layer(keys | DIRECTIONS[way], lengths), "onnxruntime", **said)
    assert verdict.agrees
    assert verdict.causes == ()


IGNORED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (RNN | {"clip": 0.5}, {}, "clip-ignored"),
    (GRU | {"clip": 0.5}, {}, "clip-ignored"),
    (GRU | {"clip": 0.5, "reset": "before"}, {}, "clip-ignored"),
    (LSTM | {"clip": 0.5}, {}, "clip-ignored"),
    (LSTM | {"clip": 0.5, "peepholes": True}, {}, "clip-ignored"),
    (
        GRU | {"activations": ["hard_sigmoid", "softsign"]},
        {"activations": ["HardSigmoid", "Softsign"]},
        "activations-ignored",
    ),
    (LSTM | SQUASHED, IN_ONNX, "activations-ignored"),
    (LSTM | {"input_forget": True}, {}, "input-forget-ignored"),
    (LSTM | {"input_forget": True, "peepholes": True}, {}, "input-forget-ignored"),
]


@pytest.mark.each_value_once
@pytest.mark.parametrize("way", DIRECTIONS)
@pytest.mark.parametrize(
    ("keys", "said", "name"),
    sampled(IGNORED, 2),
    ids=[f"{name} {' '.join(map(str, keys.values()))}" for keys, _, name in IGNORED],
)
def test_what_onnx_reference_ignores_is_named(keys: dict[str, Any], said: dict[str, Any], name: str, way: str):
    if way == "both ways":
        said = {key: 2 * values for key, values in said.items()}
    assert first(of_node(Layer(keys | DIRECTIONS[way]), "onnx.reference", **said))[0] == name


@pytest.mark.parametrize(
    ("keys", "said", "which"),
    [
        (GRU | {"activations": ["softsign", "elu"], "clip": 0.4}, ["Softsign", "Elu"], "activations and clip"),
        (LSTM | {"input_forget": True, "clip": 0.4}, None, "clip and input_forget"),
    ],
)
def test_all_that_onnx_reference_ignores_at_once_is_named(keys: dict[str, Any], said: list[str] | None, which: str):
    found = of_node(Layer(keys), "onnx.reference", **({"activations": said} if said else {}))
    assert first(found) == (f"{which.partition(' ')[0]}-ignored", {"which": which})
    assert f"{which} are ignored" in found.causes[0].explanation


@pytest.mark.each_value_once
@pytest.mark.parametrize(
    ("way", "name"),
    [("forward", "padding-not-masked"), ("reverse", "reverse-from-padding"), ("both ways", "padding-not-masked")],
)
@pytest.mark.parametrize("cell", [RNN, GRU, LSTM], ids=["rnn", "gru", "lstm"])
def test_the_lengths_that_onnx_reference_ignores_are_named(cell: dict[str, Any], way: str, name: str):
    assert first(of_node(Layer(cell | DIRECTIONS[way], LENGTHS), "onnx.reference"))[0] == name


@pytest.mark.each_value_once
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("way", DIRECTIONS)
@pytest.mark.parametrize(
    "more", [{}, {"peepholes": True}, {"input_forget": True}], ids=["plain", "peepholes", "coupled"]
)
def test_what_onnxruntime_does_not_clip_is_named(more: dict[str, Any], way: str, lengths: list[int] | None):
    """Its LSTM limits the gates and the candidate, and not what goes into tanh of the cell state."""
    layer = Layer(LSTM | {"clip": 0.4} | more | DIRECTIONS[way], lengths)
    assert first(of_node(layer, "onnxruntime")) == ("clip-misplaced", {"where": "gates alone"})


SIX = {"activations": [*SQUASHED["activations"], "sigmoid", "softsign", "tanh"]} | BOTH
LOST: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "initial_h": (GRU, {"without": ("initial_h",)}, "state-ignored"),
    "initial_c": (LSTM, {"without": ("initial_c",)}, "state-ignored"),
    "both states": (LSTM, {"without": ("initial_h", "initial_c")}, "state-ignored"),
    "linear_before_reset": (GRU, {"linear_before_reset": 0}, "gru-reset-before"),
    "linear_before_reset set": (GRU | {"reset": "before"}, {"linear_before_reset": 1}, "gru-reset-after"),
    "P": (LSTM | {"peepholes": True}, {"without": ("P",)}, "peepholes-ignored"),
    "P, coupled": (LSTM | {"peepholes": True, "input_forget": True}, {"without": ("P",)}, "peepholes-ignored"),
    "input_forget": (LSTM | {"input_forget": True}, {"input_forget": 0}, "input-forget-ignored"),
    "input_forget set": (LSTM, {"input_forget": 1}, "input-forget-added"),
    "input_forget set, with P": (LSTM | {"peepholes": True}, {"input_forget": 1}, "input-forget-added"),
    "clip": (LSTM | {"clip": 0.4}, {"without": ("clip",)}, "clip-ignored"),
    "activations": (LSTM | SQUASHED, {}, "activations-ignored"),
    "activations, with clip": (GRU | {"activations": ["softsign", "elu"], "clip": 0.5}, {}, "activations-ignored"),
    "alpha and beta": (
        LSTM | {"activations": ["hard_sigmoid(0.3, 0.4)", "leaky_relu(0.3)", "elu(0.5)"]},
        {"activations": ["HardSigmoid", "LeakyRelu", "Elu"]},  # ONNX says what their numbers are where none are given
        "activations-ignored",
    ),
    "the reverse direction's": (LSTM | SIX, {name: 2 * own for name, own in IN_ONNX.items()}, "activations-ignored"),
    "hard sigmoid": (LSTM, {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "hard-sigmoid"),
    "B": (LSTM, {"without": ("B",)}, "bias-dropped"),
}


@pytest.mark.parametrize("case", sampled(LOST, 4))
def test_what_an_export_lost_or_added_is_named(case: str):
    keys, change, name = LOST[case]
    found, parameters = first(of_node(Layer(keys), "onnxruntime", **change))
    assert found == name
    if found == "activations-ignored":
        partly = ("alpha and beta", "the reverse direction's")
        assert parameters == {"which": case if case in partly else "all"}


def test_sequence_lens_that_an_export_lost_are_named():
    assert first(of_node(Layer(LSTM, LENGTHS), "onnxruntime", without=("sequence_lens",)))[0] == "padding-not-masked"


@pytest.mark.parametrize(("cell", "order"), [(LSTM, "i o f g"), (GRU, "z r n")], ids=["lstm", "gru"])
def test_rows_handed_over_in_the_order_of_pytorch_are_named(cell: dict[str, Any], order: str):
    """The node takes its second block for o, or its first for z: read in ONNX's order."""
    layer = Layer(cell)
    own = {name: layer.drawn[f"{parameter}_l0"][None] for name, parameter in (("W", "weight_ih"), ("R", "weight_hh"))}
    own["B"] = np.concatenate([layer.drawn["bias_ih_l0"], layer.drawn["bias_hh_l0"]])[None]
    name, parameters = first(of_node(layer, "onnxruntime", inputs=own))
    assert (name, parameters) == ("gate-order", {"order": order})


@pytest.mark.parametrize(("kept", "name"), [(False, "gru-b_hn-dropped"), (True, "gru-b_hn-folded")])
def test_a_node_without_b_hn_is_named(kept: bool, name: str):
    layer = Layer(GRU)
    b = layer.inputs()["B"].copy()
    n, own = slice(5 * HIDDEN, None), slice(2 * HIDDEN, 3 * HIDDEN)
    if kept:
        b[:, own] += b[:, n]
    b[:, n] = 0
    assert first(of_node(layer, "onnxruntime", inputs={"B": b}))[0] == name


TOLD = {
    "gru-b_hn-dropped": ("flax", ["--cell", "gru"], "b_hn is missing"),
    "clip-misplaced": ("onnxruntime", ["--cell", "lstm", "--clip", "0.2"], "unclipped, as in onnxruntime"),
    "input-forget-ignored": ("onnx-reference", ["--cell", "lstm", "--input-forget"], "input_forget is ignored"),
    "padding-not-masked": ("onnx-reference", ["--cell", "gru", "--lengths", "9,2,5"], "the padding is processed"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TOLD)
def test_a_check_of_an_engine_says_what_it_does_otherwise(name: str, capsys):
    engine, flags, said = TOLD[name]
    pytest.importorskip(engine.partition("-")[0], reason=f"skipped: {engine} is not installed")
    assert main(["check", *flags, "--input", "randn:9", "--batch", "3", "--engine", engine]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert name in out
    assert said in out
