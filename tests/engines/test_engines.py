"""Every engine × cell × layers × directions × biases × lengths: it agrees with the equations, or says why it cannot.

PyTorch stands beside them as a second witness: of float32 engines none is further from it than 1.7e-6, which is ten
roundings of the largest number here.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from rnnspect import Spec, engines
from rnnspect.checking.check import check_prepared
from rnnspect.errors import EngineError
from rnnspect.tracing.prepare import prepare
from tests.marks import sampled

if TYPE_CHECKING:
    from rnnspect.engines.interface import Engine
    from rnnspect.network.recording import Recording

CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm", "c0": "randn"},
    "lstm-projected": {"cell": "lstm", "c0": "randn", "proj_size": 3},
    "gru": {"cell": "gru"},
}
LENGTHS = [7, 3, 5]
NAMES = [name for name in engines.names() if name not in {"torch", "torch-compile"}]
"""torch is what all others stand beside; torch-compile has tests of its own machine's compiler elsewhere."""
FROM_TORCH = 1.7e-6

CANNOT = {
    ("onnx-reference", "relu"): "onnx.reference's RNN knows only Tanh and Affine",
    ("equinox", "rnn"): "equinox.nn has only LSTMCell and GRUCell",
    ("equinox", "relu"): "equinox.nn has only LSTMCell and GRUCell",
} | {(name, "lstm-projected"): "cannot run a projection" for name in NAMES}


def find(name: str) -> Engine:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a framework's own, while it loads
            return engines.find(name)
    except EngineError as error:
        pytest.skip(f"skipped: {error}")


def spec_of(cell: str, layers: int, bidirectional: bool, bias: bool, lengths: bool, **more: Any) -> Spec:
    return Spec(
        **CELLS[cell],
        input_size=4,
        hidden_size=6,
        num_layers=layers,
        bidirectional=bidirectional,
        bias=bias,
        lengths=LENGTHS if lengths else None,
        input="randn:7",
        batch=3,
        h0="randn",
        **more,
    )


@pytest.mark.filterwarnings("ignore")  # whatever a framework warns of is not ours
@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("bias", sampled([True, False], 2), ids=["biases", "no-biases"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("layers", sampled([2, 1], 2))
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", NAMES)
def test_it_agrees_or_says_why_not(name, cell, layers, bidirectional, bias, lengths, monkeypatch):
    """It runs once, since some compile a network for seconds."""
    engine = find(name)
    prepared = prepare(spec_of(cell, layers, bidirectional, bias, lengths))
    if reason := CANNOT.get((name, cell)):
        with pytest.raises(EngineError, match=reason):
            engine.run(prepared.spec, prepared.parameters, prepared.sequence)
        return
    given, run = [], engine.run
    monkeypatch.setattr(engine, "run", lambda *asked: given.append(run(*asked)) or given[-1])
    verdict = check_prepared(replace(prepared, engine=engine))
    if name == "flax" and cell == "gru" and bias:
        # flax.nnx.GRUCell has no b_hn: a true difference, seen in n and so in h at the first step.
        assert verdict.verdict == "differ"
        assert verdict.first is not None
        assert verdict.first.layer == 0
        assert "flax.nnx.GRUCell cannot store b_hn (largest value 0." in verdict.notes[0]
        return
    if name == "onnx-reference" and lengths:  # it ignores sequence_lens: final states are those of the padding
        assert verdict.verdict == "differ"
        return
    assert verdict.agrees, verdict
    assert verdict.notes == ()
    assert len(given) == 1
    assert apart(given[0], prepared.engine.run(prepared.spec, prepared.parameters, prepared.sequence)) <= FROM_TORCH


def apart(one: Recording, other: Recording) -> float:
    """The largest difference of everything that both show, padding included."""
    pairs = [(one.output, other.output), (one.h_n, other.h_n)]
    pairs += [] if one.c_n is None else [(one.c_n, other.c_n)]
    pairs += [(h, other.layers[place]) for place, h in one.layers.items()]
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.each_value_once
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_other_dtypes_do_not_differ_or_are_refused(name, dtype):
    """Half types round so coarsely that a verdict may be "cannot tell"; a difference would be a wrong declaration."""
    engine = find(name)
    for cell in ("rnn", "lstm", "gru"):
        prepared = prepare(spec_of(cell, 2, True, False, False, dtype=dtype))
        try:
            verdict = check_prepared(replace(prepared, engine=engine))
        except EngineError as error:
            assert dtype in str(error) or "equinox" in str(error)  # noqa: PT017 - either outcome is right
        else:
            assert verdict.verdict != "differ", (cell, verdict)
            assert verdict.engine.dtype == dtype


@pytest.mark.usefixtures("no_causes")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_exchanged_gates_are_found(name):
    """An engine that is handed its weights in the wrong order of gates differs at the first step."""
    engine = find(name)
    prepared = prepare(spec_of("lstm", 1, False, True, False))
    mistaken = dict(prepared.parameters)
    i, f, g, o = mistaken["weight_ih_l0"].chunk(4)
    mistaken["weight_ih_l0"] = torch.cat([f, i, g, o])

    class Exchanged:
        def run(self, spec, parameters, sequence):
            return engine.run(spec, mistaken, sequence)

    verdict = check_prepared(replace(prepared, engine=Exchanged()))
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert verdict.first.step == 0


def test_a_key_that_an_engine_does_not_know_is_refused():
    """Whatever is added to a spec later is refused by those who were not taught it."""
    from rnnspect.engines.interface import check_spec

    class Later(Spec):
        coupled: bool = False

    check_spec("somebody", Later(), (), "it has none")
    check_spec("somebody", Later(coupled=True), ("coupled",), "it has none")
    with pytest.raises(EngineError, match="somebody cannot run coupled: true: it has no coupled; use coupled: false"):
        check_spec("somebody", Later(coupled=True), (), "it has none")


def test_a_framework_that_is_not_installed_is_one_line(monkeypatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'keras'", name="keras")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(EngineError, match=r"keras is not installed; run pip install 'rnnspect\[keras\]'"):
        engines.find("keras")


def test_a_fault_of_ours_is_not_called_a_missing_framework(monkeypatch):
    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'rnnspect.nothing'", name="rnnspect.nothing")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError):
        engines.find("keras")


def test_openvino_reports_to_nobody():
    """In a fresh process: its package for that is never loaded, and can be had again afterwards."""
    find("openvino")
    code = (
        "import sys; from rnnspect import engines; engines.find('openvino'); print('openvino_telemetry' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


class Before(Spec):
    reset: str = "after"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["keras", "onnx-reference", "onnxruntime", "openvino"])
def test_a_gru_that_resets_before_the_product(name):
    """Against a loop in numpy, float64: thirty roundings of float32 are more than seven steps of six units make."""
    engine = find(name)
    spec = Before(reset="before", cell="gru", input_size=4, hidden_size=6, input="randn:7", batch=3, h0="randn")
    prepared = prepare(spec_of("gru", 1, False, True, False))
    p = {name: value.double().numpy() for name, value in prepared.parameters.items()}
    h = prepared.sequence.h0[0].double().numpy()
    expected = []
    for x in prepared.sequence.x.double().numpy():
        w_r, w_z, w_n = np.split(x @ p["weight_ih_l0"].T + p["bias_ih_l0"] + p["bias_hh_l0"], 3, -1)
        u_r, u_z, u_n = np.split(p["weight_hh_l0"].T, 3, -1)
        r, z = 1 / (1 + np.exp(-w_r - h @ u_r)), 1 / (1 + np.exp(-w_z - h @ u_z))
        h = (1 - z) * np.tanh(w_n + (r * h) @ u_n) + z * h
        expected.append(h)
    given = engine.run(spec, prepared.parameters, prepared.sequence)
    assert np.abs(given.output.numpy() - np.stack(expected)).max() <= 30 * 2.0**-24


@pytest.mark.parametrize("name", ["equinox", "flax", "torch-cell"])
def test_who_resets_after_the_product_refuses(name):
    engine = find(name)
    prepared = prepare(spec_of("gru", 1, False, True, False))
    spec = Before(reset="before", cell="gru", input_size=4, hidden_size=6, input="randn:7", batch=3, h0="randn")
    with pytest.raises(EngineError, match="before"):
        engine.run(spec, prepared.parameters, prepared.sequence)


@pytest.mark.parametrize(
    ("flags", "dtype", "permitted"),
    [
        ("flags\t\t: fpu sse avx512f avx512_fp16 amx_tile", "float16", "float16, float16 sums"),
        ("Features\t: fp asimd fphp asimdhp", "float16", "float16, float16 sums"),
        ("flags\t\t: fpu sse avx512f", "float16", None),
        ("flags\t\t: fpu sse avx512f avx512_fp16", "bfloat16", None),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_sums_that_xla_keeps_in_float16_are_declared(flags, dtype, permitted, tmp_path, monkeypatch):
    """On a CPU with float16 instructions XLA keeps sums in float16: a run that only those explain is no mistake."""
    find("equinox")
    from rnnspect.engines.shared import jax
    from rnnspect.judging.declared import declared_by

    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    monkeypatch.setattr(jax, "_CPU", tmp_path / "cpuinfo")
    declared = declared_by(jax.info("equinox", "0", Spec(dtype=dtype)))
    assert declared.name == f"{dtype}, float32 sums"
    assert (declared.permitted and declared.permitted.name) == permitted
