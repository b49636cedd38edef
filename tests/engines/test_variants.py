"""The keys of a spec that torch.nn has no module for, through the engines that know them.

That the equations of these variants are right is held by tests/cells/test_variants.py against a loop in numpy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from rnnspect import Spec
from rnnspect.checking.backward import check_backward
from rnnspect.checking.check import check_prepared
from rnnspect.engines.torch import TorchEngine
from rnnspect.errors import EngineError
from rnnspect.tracing.prepare import Prepared, prepare
from rnnspect.weights.writers.shared import onnx_graph
from tests.engines.test_engines import find
from tests.marks import sampled

if TYPE_CHECKING:
    from rnnspect.judging.verdict import Verdict

LSTM, GRU = {"cell": "lstm", "c0": "randn"}, {"cell": "gru"}
SQUASHED = ["hard_sigmoid(0.3, 0.4)", "leaky_relu(0.3)", "scaled_tanh(1.1, 0.7)"]
BOTH_WAYS = {"bidirectional": True, "activations": [*SQUASHED, "sigmoid", "softsign", "elu(0.5)"]}
CASES: dict[str, dict[str, Any]] = {
    "gru before": GRU | {"reset": "before"},
    "gru clip": GRU | {"clip": 0.6},
    "gru functions": GRU | {"activations": ["hard_sigmoid", "softplus"]},
    "rnn function": {"activations": ["thresholded_relu(0.2)"]},
    "rnn affine": {"activations": ["affine(0.4, 0.1)"]},
    "rnn clip": {"clip": 0.6},
    "rnn relu, clip": {"nonlinearity": "relu", "clip": 0.6},
    "lstm coupled": LSTM | {"input_forget": True},
    "lstm peepholes": LSTM | {"peepholes": True},
    "lstm both": LSTM | {"input_forget": True, "peepholes": True},
    "lstm functions": LSTM | {"activations": SQUASHED},
    "lstm functions of each direction": LSTM | BOTH_WAYS,
}
ONNX_ALONE = ("input_forget", "peepholes", "activations", "clip")


def prepared(keys: dict[str, Any], **more: Any) -> Prepared:
    network = {"input_size": 4, "hidden_size": 6, "input": "randn:12", "batch": 3, "h0": "randn"}
    return prepare(Spec(**network | keys | more))


def checked(name: str, keys: dict[str, Any], **more: Any) -> Verdict:
    return check_prepared(replace(prepared(keys, **more), engine=find(name)))


@pytest.mark.each_value_once
@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no-biases"])
@pytest.mark.parametrize(
    "more",
    [{}, {"reverse": True}, {"bidirectional": True}, {"num_layers": 2}, {"lengths": [12, 5, 9]}],
    ids=["forward", "reverse", "both ways", "layers", "lengths"],
)
@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_computes_them(case: str, more: dict[str, Any], bias: bool):
    if "reverse" in more and "bidirectional" in CASES[case]:
        more = {}  # two directions are not one
    verdict = checked("onnxruntime", CASES[case], bias=bias, **more)
    assert verdict.agrees, verdict


def test_onnxruntime_does_not_clip_what_goes_into_tanh_of_c():
    """The operator's text says that clip limits the input of activations, and the third is one."""
    assert checked("onnxruntime", LSTM | {"clip": 0.3}).verdict == "differ"


KEPT = {
    "gru clip": "clip",
    "rnn function": "activations",
    "lstm coupled": "input_forget",
    "lstm functions": "activations",
    "lstm functions of each direction": "activation_alpha",
    "gru before": "linear_before_reset",
}


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize(("case", "attribute"), sampled(KEPT.items(), 4), ids=KEPT.keys())
def test_an_attribute_that_did_not_arrive_is_found(monkeypatch, case: str, attribute: str):
    right = onnx_graph._attributes

    def without(spec: Spec) -> dict[str, Any]:
        kept = right(spec)
        if attribute == "linear_before_reset":
            return kept | {attribute: 1}
        if attribute == "activation_alpha":
            return kept | {attribute: [*reversed(kept[attribute])]}
        return {name: value for name, value in kept.items() if name != attribute}

    monkeypatch.setattr(onnx_graph, "_attributes", without)
    assert checked("onnxruntime", CASES[case]).verdict == "differ"


@pytest.mark.usefixtures("no_causes")
def test_peepholes_in_the_wrong_order_are_found(monkeypatch):
    right = onnx_graph._peepholes
    monkeypatch.setattr(onnx_graph, "_peepholes", lambda spec, p: right(spec, p)[::-1].copy())
    assert checked("onnxruntime", CASES["lstm peepholes"]).verdict == "differ"


REFERENCE: dict[str, str] = {
    "gru before": "agree",
    "lstm peepholes": "agree",
    "rnn affine": "agree",
    "gru clip": "differ",
    "gru functions": "differ",
    "rnn clip": "differ",
    "lstm coupled": "differ",
    "lstm both": "differ",
    "lstm functions": "differ",
    "lstm functions of each direction": "differ",
}


@pytest.mark.parametrize(("case", "answer"), sampled(REFERENCE.items(), 2), ids=REFERENCE.keys())
def test_what_onnx_reference_ignores_differs(case: str, answer: str):
    assert checked("onnx-reference", CASES[case]).verdict == answer


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_onnx_reference_ignores_lengths(cell: str):
    """One way, the outputs within a length are right: it is the final state that is of a later step."""
    verdict = checked("onnx-reference", {"cell": cell}, lengths=[12, 5, 9])
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert (verdict.first.quantity, verdict.first.batch) in {("h_n", 1), ("h_n", 2), ("c_n", 1), ("c_n", 2)}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (CASES["rnn function"], r"activations: \[thresholded_relu\(0.2\)\]: onnx.reference's RNN knows only Tanh"),
        ({"nonlinearity": "relu"}, "nonlinearity: relu: onnx.reference's RNN knows only Tanh and Affine"),
        ({"bidirectional": True, "activations": ["affine", "tanh"]}, "activation_alpha must have the same size"),
    ],
)
def test_where_onnx_reference_raises_it_says_why(keys: dict[str, Any], said: str):
    with pytest.raises(EngineError, match=said):
        checked("onnx-reference", keys)


@pytest.mark.each_value_once
@pytest.mark.filterwarnings("ignore")  # whatever a framework warns of is not ours
@pytest.mark.parametrize("lengths", [None, [12, 5, 9]], ids=["whole", "lengths"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("name", ["equinox", "flax", "keras", "onnx-reference", "onnxruntime", "openvino"])
def test_a_single_direction_from_the_end(name: str, cell: str, lengths: list[int] | None):
    keys = {"cell": cell, "reverse": True, "num_layers": 2}
    if (name, cell) == ("equinox", "rnn"):
        with pytest.raises(EngineError, match="has only LSTMCell and GRUCell"):
            checked(name, keys, lengths=lengths)
        return
    verdict = checked(name, keys, lengths=lengths)
    wrong = (name, cell) == ("flax", "gru") or (name == "onnx-reference" and lengths is not None)
    assert verdict.verdict == ("differ" if wrong else "agree"), verdict


REASONS = {
    "reset": "applies the reset gate after the matrix product",
    "reverse": "runs from the start|cannot run in reverse only",
    "input_forget": "forget gate",
    "peepholes": "do not see the cell state|has no peepholes",
    "activations": "usual ones|cannot use other activations",
    "clip": "does not limit|does not clip",
}
REFUSED = {
    "torch": REASONS.keys(),
    "torch-cell": REASONS.keys(),
    "torch-compile": REASONS.keys(),
    "keras": ("input_forget", "peepholes", "clip"),
    "openvino": ONNX_ALONE,
    "flax": ("reset", *ONNX_ALONE),
    "equinox": ("reset", *ONNX_ALONE),
}
ASKED: dict[str, dict[str, Any]] = {
    "reset": GRU | {"reset": "before"},
    "reverse": LSTM | {"reverse": True},
    "input_forget": LSTM | {"input_forget": True},
    "peepholes": LSTM | {"peepholes": True},
    "activations": LSTM | {"activations": ["sigmoid", "tanh", "softsign"]},
    "clip": LSTM | {"clip": 0.5},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in REFUSED.items() for key in keys])
def test_what_an_engine_does_not_know_it_refuses_in_the_words_of_a_spec(name: str, key: str):
    with pytest.raises(EngineError, match=REASONS[key]) as raised:
        checked(name, ASKED[key])
    said = str(raised.value)
    if name in ("torch", "torch-compile"):
        assert said.endswith("--engine onnxruntime of trace, derive, check and report runs it")
    else:
        value = {"activations": "[sigmoid, tanh, softsign]", "clip": "0.5", "reset": "before"}.get(key, "true")
        assert f"{name} cannot run {key}: {value}: " in said


ITS_OWN: dict[str, dict[str, Any]] = {
    "lstm hard": LSTM | {"activations": ["hard_sigmoid(0.16666666666666666, 0.5)", "tanh", "tanh"]},
    "lstm softsign": LSTM | {"activations": ["sigmoid", "softsign", "softsign"], "bidirectional": True},
    "gru elu": GRU | {"activations": ["hard_sigmoid(0.16666666666666666, 0.5)", "elu"], "reset": "before"},
    "gru leaky": GRU | {"activations": ["sigmoid", "leaky_relu(0.2)"], "lengths": [12, 5, 9]},
    "rnn linear": {"activations": ["affine"], "num_layers": 2},
    "rnn softplus": {"activations": ["softplus", "relu"], "bidirectional": True},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ITS_OWN)
def test_keras_has_functions_of_its_own_forwards_and_backwards(case: str):
    run = replace(prepared(ITS_OWN[case]), engine=find("keras"))
    assert check_prepared(run).agrees
    found = check_backward(run)
    assert found.verdict == "agree", found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            ["hard_sigmoid(0.2, 0.5)", "tanh", "tanh"],
            r"activations: hard_sigmoid\(0.2, 0.5\): keras.activations has none",
        ),
        (["sigmoid", "tanh", "softsign"], "tanh of g and softsign of c: its LSTM has one function for g and for c"),
    ],
)
def test_what_keras_has_not_it_says(keys: list[str], said: str):
    with pytest.raises(EngineError, match=said):
        checked("keras", LSTM | {"activations": keys})


def test_the_default_engine_names_no_engine_that_cannot():
    for more, said in (
        ({"dtype": "float64"}, "; in float32, --engine onnxruntime"),
        ({"proj_size": 2}, "; run your own"),
    ):
        with pytest.raises(EngineError, match=said):
            check_prepared(replace(prepared(LSTM, reverse=True, **more), engine=TorchEngine()))


MINE = """
import numpy as np

def sigmoid(v):
    return 1 / (1 + np.exp(-v))

def step(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh, weight_ch, clip):
    h, c = state
    p_i, p_f, p_o = np.split(weight_ch, 3)
    f = lambda v: np.clip(v, -clip, clip)
    i, f_, g, o = np.split(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh, 4, -1)
    i, f_ = sigmoid(f(i + p_i * c)), sigmoid(f(f_ + p_f * c))
    c = f_ * c + i * np.tanh(f(g))
    return sigmoid(f(o + p_o * c)) * np.tanh(f(c)), c
"""


@pytest.mark.usefixtures("no_causes")
def test_your_own_gets_what_a_variant_needs(rnnspect, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    network = ["--cell", "lstm", "--peepholes", "--clip", "0.4", "--bidirectional", "-i", "randn:20"]
    assert rnnspect("check", *network, "--engine", tmp_path / "mine.py:step").status == 0
    (tmp_path / "mine.py").write_text(MINE.replace("np.tanh(f(c))", "np.tanh(c)"))
    assert rnnspect("check", *network, "--engine", tmp_path / "mine.py:step").status == 1


def test_flags_say_what_a_file_may(rnnspect, tmp_path):
    """The same network by keys and by flags; `trace` runs it as `check` does."""
    (tmp_path / "keys.yaml").write_text(
        "cell: lstm\ninput: randn:9\nreverse: true\ninput_forget: true\npeepholes: true\nclip: 3\n"
        "activations: ['hard_sigmoid(0.3, 0.4)', tanh, 'scaled_tanh(1.1, 0.7)']\n"
    )
    flags = ["--cell", "lstm", "-i", "randn:9", "--reverse", "--input-forget", "--peepholes", "--clip", "3"]
    flags += ["--activations", "[hard_sigmoid(0.3, 0.4), tanh,scaled_tanh(1.1, 0.7)]"]
    engine = ["--engine", "onnxruntime", "--format", "json"]
    by_keys, by_flags = (rnnspect("trace", *said, *engine) for said in ([tmp_path / "keys.yaml"], flags))
    assert (by_keys.status, by_keys.out) == (0, by_flags.out)
    assert rnnspect("check", "--cell", "gru", "--reset", "before", "--engine", "onnxruntime").status == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--cell", "lstm", "--peepholes"], "torch.nn.LSTM has no peepholes; --engine onnxruntime"),
        (["--cell", "gru", "--reset", "befor"], "--reset: reset is the text 'befor'; expected after, before; did you"),
        (["--clip", "0"], "--clip: clip is 0.0; expected a number above 0"),
        (["--cell", "gru", "--peepholes"], "--peepholes: cell gru has no peepholes"),
        (["--cell", "lstm", "--activations", "sigmoid,tahn,tanh"], "--activations: unknown activation 'tahn'"),
        (["--activations", "affine(1,2"], "--activations: "),
        (["--reverse", "--bidirectional"], "reverse and bidirectional exclude each other"),
    ],
)
def test_wrong_flags_are_one_line(rnnspect, flags: list[str], said: str):
    result = rnnspect("check", *flags)
    assert result.status == 2
    assert said in result.err
    assert len(result.err.splitlines()) == 1


def test_a_flag_wins_over_what_goes_with_what_it_replaces(rnnspect, tmp_path):
    (tmp_path / "n.yaml").write_text("reverse: true\n")
    result = rnnspect("check", tmp_path / "n.yaml", "--bidirectional")
    assert result.status == 0
    assert "reverse of " in result.err
