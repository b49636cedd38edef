""".onnx models through the command line: shapes, trace and check."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession

from rnnspect.cli import main
from tests import onnx_models as made

if TYPE_CHECKING:
    from pathlib import Path

X = np.random.default_rng(5).normal(0, 1, (6, 2, made.INPUTS)).astype(np.float32)


def saved(tmp_path: Path, model: onnx.ModelProto, **arrays: Any) -> list[str]:
    """The arguments of a check: the model and its inputs."""
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", **(arrays or {"x": X}))
    return [str(tmp_path / "m.onnx"), "--input", str(tmp_path / "x.npz")]


def documents(arguments: list[str], capsys: Any) -> tuple[int, list[dict[str, Any]]]:
    status = main(["check", "--format", "json", *arguments])
    found = json.loads(capsys.readouterr().out)
    return status, found if isinstance(found, list) else [found]


NODE_TESTS = """
import contextlib, io, json, sys, warnings
import numpy as np, onnx
warnings.simplefilter("ignore")
from onnx.backend.test.case.node import collect_testcases
from rnnspect.cli import main
op, folder = sys.argv[1:]
found = {}
for case in collect_testcases(op):
    if case.model.graph.node[0].op_type == op:
        path = f"{folder}/{case.name}.onnx"
        onnx.save(case.model, path)
        names = [known.name for known in case.model.graph.input]
        np.savez(path + ".npz", **dict(zip(names, case.data_sets[0][0])))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            status = main(["check", path, "--input", path + ".npz", "--format", "json"])
        found[case.name] = [status, json.loads(out.getvalue())["verdict"]]
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("op", "at_least"), [("RNN", 5), ("GRU", 5), ("LSTM", 5)])
def test_the_operators_own_tests_agree(tmp_path: Path, op: str, at_least: int):
    """collect_testcases filters on its first call only: one process an operator."""
    ran = subprocess.run([sys.executable, "-c", NODE_TESTS, op, str(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert len(found) >= at_least
    assert set(map(tuple, found.values())) == {(0, "agree")}


@pytest.mark.usefixtures("no_causes")
def test_a_peephole_that_onnxruntime_was_not_given_is_seen(tmp_path: Path, capsys: Any):
    """The node's own outputs against the equations of other weights: the comparison is not with itself."""
    arguments = saved(tmp_path, made.of_node("LSTM", peepholes=True))
    assert main(["check", *arguments]) == 0
    capsys.readouterr()
    from rnnspect.weights.readers import onnx

    right = onnx.parameters_of_node
    with pytest.MonkeyPatch.context() as patch:
        wrong = lambda node, arrays: right(node, arrays | {"P": 0 * arrays["P"]})  # noqa: E731
        patch.setattr("rnnspect.checking.onnx.nodes.parameters_of_node", wrong)
        assert main(["check", *arguments]) == 1


ACTS = {"Relu": {}, "Affine": {"activation_alpha": [0.7], "activation_beta": [0.1]}, "Softsign": {}, "Softplus": {}}
ACTS |= {"LeakyRelu": {"activation_alpha": [0.2]}, "ThresholdedRelu": {"activation_alpha": [0.3]}}
ACTS |= {"ScaledTanh": {"activation_alpha": [1.2], "activation_beta": [0.6]}, "Elu": {"activation_alpha": [0.5]}}
ACTS |= {"HardSigmoid": {"activation_alpha": [0.3], "activation_beta": [0.4]}, "Sigmoid": {}}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"RNN {name}": ("RNN", {"activations": [name], **more}) for name, more in ACTS.items()},
    **{f"GRU {name}": ("GRU", {"activations": ["Sigmoid", name], **more}) for name, more in ACTS.items()},
    **{f"LSTM g {name}": ("LSTM", {"activations": ["Sigmoid", name, "Tanh"], **more}) for name, more in ACTS.items()},
    "GRU before": ("GRU", {}),
    "GRU after": ("GRU", {"linear_before_reset": 1}),
    "GRU hard": ("GRU", {"activations": ["HardSigmoid", "Tanh"], "linear_before_reset": 1}),
    "GRU clip": ("GRU", {"clip": 0.6}),
    "RNN clip": ("RNN", {"clip": 0.6}),
    "LSTM": ("LSTM", {}),
    "LSTM peepholes": ("LSTM", {"peepholes": True}),
    "LSTM coupled": ("LSTM", {"input_forget": 1}),
    "LSTM both": ("LSTM", {"input_forget": 1, "peepholes": True}),
    "LSTM hard": ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}),
    "LSTM squash": ("LSTM", {"activations": ["Sigmoid", "Tanh", "Softsign"]}),
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "keys"), VARIANTS.values(), ids=VARIANTS.keys())
def test_what_onnxruntime_computes_agrees(tmp_path: Path, capsys: Any, op: str, keys: dict[str, Any], direction: str):
    each = 2 if direction == "bidirectional" else 1
    numbers = {name: value * each for name, value in keys.items() if isinstance(value, list)}
    arguments = saved(tmp_path, made.of_node(op, **(keys | numbers), direction=direction))
    status, found = documents(arguments, capsys)
    assert (status, [one["verdict"] for one in found]) == (0, ["agree"]), found


@pytest.mark.usefixtures("no_causes")
def test_onnxruntime_does_not_clip_the_cell_state(tmp_path: Path, capsys: Any):
    """The operator says that clip is applied to the input of activations, and h is one."""
    path = saved(tmp_path, made.of_node("LSTM", clip=0.6))[0]
    status, found = documents([path, "--input", "randn:40"], capsys)
    assert (status, found[0]["verdict"]) == (1, "differ")


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_exchanged_axes_are_said(tmp_path: Path, capsys: Any, op: str):
    status, found = documents(saved(tmp_path, made.of_node(op, layout=1)), capsys)
    assert (status, found[0]["verdict"]) == (0, "agree")
    assert any("layout=1" in note for note in found[0]["notes"])


@pytest.mark.each_value_once
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize(
    ("make", "arrays", "calls"),
    [
        (made.in_if, {"x": X, "outer": np.array(True), "inner": np.array(True)}, ["the node, call 0"]),
        (made.in_if, {"x": X, "outer": np.array(True), "inner": np.array(False)}, ["other, call 0"]),
        (made.in_loop, {"x": X}, [f"the node, call {at}" for at in range(3)]),
        (made.in_scan, {"x": np.stack([X, 2 * X])}, ["the node, call 0", "the node, call 1"]),
        (made.in_function, {"x": X}, None),
    ],
    ids=["then", "else", "loop", "scan", "function"],
)
def test_nested_nodes_are_checked_on_what_they_received(tmp_path, capsys, op, make, arrays, calls):
    arguments = saved(tmp_path, make(op), **arrays)
    status, found = documents(arguments, capsys)
    assert (status, {one["verdict"] for one in found}) == (0, {"agree"}), found
    if calls:
        assert [one["source"] for one in found] == [f"{arguments[0]} {call}" for call in calls]
    assert all(one["checked"]["values"] == X.shape[0] * X.shape[1] * made.HIDDEN for one in found)


def test_the_branch_not_taken_is_noted(tmp_path: Path, capsys: Any):
    arguments = saved(tmp_path, made.in_if("GRU"), x=X, outer=np.array(False), inner=np.array(True))
    assert main(["check", *arguments]) == 2
    err = capsys.readouterr().err
    assert "the node never ran" in err
    assert "no recurrent node ran on this input" in err


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("fixed", [("initial_h", "initial_c"), ("sequence_lens",), ("X",)])
def test_what_a_node_receives_may_be_constant(tmp_path: Path, capsys: Any, fixed: tuple[str, ...], layout: int):
    """States, lengths and x that the file itself holds are what the node ran on."""
    rng = np.random.default_rng(0)
    axes = (1, 0, 2) if layout else (0, 1, 2)
    values = {
        "X": rng.normal(size=(5, 2, made.INPUTS)).transpose(axes).astype(np.float32),
        "sequence_lens": np.array([5, 3], np.int32),
        "initial_h": rng.normal(size=(1, 2, made.HIDDEN)).transpose(axes).astype(np.float32),
        "initial_c": rng.normal(size=(1, 2, made.HIDDEN)).transpose(axes).astype(np.float32),
    }
    held = {name: values[name] for name in fixed}
    states = ("sequence_lens", "initial_h", "initial_c")
    given = ["X", "W", "R", "B", *(name if name in fixed else "" for name in states)]
    node = helper.make_node("LSTM", given, ["y"], name="the node", hidden_size=made.HIDDEN, layout=layout)
    inputs = [] if "X" in fixed else [made.value("X", made.F, list(values["X"].shape))]
    model = made.model([node], {**made.weights("LSTM"), **held})
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    path = saved(tmp_path, model)[0]
    assert main(["check", path, "--input", "randn:5", "--batch", "2"]) == 0
    assert "AGREE" in capsys.readouterr().out


def test_lengths_and_weights_that_are_inputs(tmp_path: Path, capsys: Any):
    held = made.weights("LSTM", 2)
    node = helper.make_node(
        "LSTM", ["x", "W", "R", "B", "lens"], ["", "y"], hidden_size=made.HIDDEN, direction="bidirectional"
    )
    shapes = {name: made.value(name, made.F, list(values.shape)) for name, values in held.items()}
    inputs = [
        made.value("x", made.F, ["T", "N", 3]),
        made.value("lens", onnx.TensorProto.INT32, ["N"]),
        *shapes.values(),
    ]
    model = made.model([node], {}, inputs)
    arguments = saved(tmp_path, model, x=X, lens=np.array([6, 3]), **held)
    status, found = documents(arguments, capsys)
    assert (status, found[0]["verdict"], found[0]["checked"]["values"]) == (0, "agree", (6 + 3) * 2 * made.HIDDEN)
    arguments = saved(tmp_path, model, x=X, lens=np.array([6, 0]), **held)
    status, found = documents(arguments, capsys)
    assert (status, found[0]["checked"]["values"]) == (0, 6 * 2 * made.HIDDEN)
    assert "ignored 1 batch item of length 0" in found[0]["notes"]
    assert main(["trace", arguments[0]]) == 2
    assert "when it runs; use check" in capsys.readouterr().err


def test_float64_which_onnxruntime_lacks_for_rnn(tmp_path: Path, capsys: Any):
    model = made.of_node("RNN")
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    status, found = documents(saved(tmp_path, model), capsys)
    assert (status, found[0]["verdict"], found[0]["engine"]["name"]) == (0, "agree", "onnx.reference")
    for tensor in model.graph.node:
        tensor.attribute.append(helper.make_attribute("clip", 0.5))
    assert main(["check", *saved(tmp_path, model)]) == 2
    assert "onnx.reference ignores clip" in capsys.readouterr().err


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("layers", [1, 2])
def test_what_torch_exports(tmp_path: Path, capsys: Any, kind: str, layers: int):
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(3, 5, layers, bidirectional=True).eval()
    x = torch.randn(7, 2, 3)
    path = tmp_path / "m.onnx"
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), str(path), dynamo=False, opset_version=17, input_names=["x"])
    np.save(tmp_path / "x.npy", x.numpy())
    capsys.readouterr()
    status, found = documents([str(path), "--input", str(tmp_path / "x.npy")], capsys)
    assert (status, [one["verdict"] for one in found]) == (0, ["agree"] * layers), found
    status, found = documents([str(path), "--input", "randn:7"], capsys)
    assert status == 0


def test_a_gru_of_torch_that_resets_before_is_warned_about(tmp_path: Path, capsys: Any):
    model = made.of_node("GRU")
    model.producer_name = "pytorch"
    assert main(["check", *saved(tmp_path, model)]) == 0
    assert "linear_before_reset=0" in capsys.readouterr().err
    model.producer_name = "tf2onnx"
    assert main(["check", *saved(tmp_path, model)]) == 0
    assert capsys.readouterr().err == ""


def test_shapes_lists_the_nodes_and_shows_one(tmp_path: Path, capsys: Any):
    path = saved(tmp_path, made.in_if("LSTM"))[0]
    assert main(["shapes", path]) == 0
    out = capsys.readouterr().out
    assert "the node: LSTM(3, 4)" in out
    assert "other: LSTM(3, 4)" in out
    assert main(["shapes", path, "--module", "the node"]) == 0
    assert "weight_hh_l0" in capsys.readouterr().out
    assert main(["shapes", path, "--module", "the nude"]) == 2
    assert "did you mean 'the node'?" in capsys.readouterr().err


def test_shapes_of_a_model_loads_no_torch(tmp_path: Path):
    path = saved(tmp_path, made.of_node("LSTM"))[0]
    code = "import sys; from rnnspect.cli import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code, "shapes", path], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "0 False", ran.stderr


@pytest.mark.parametrize(
    ("op", "keys"), [("GRU", {}), ("LSTM", {"peepholes": True}), ("LSTM", {}), ("RNN", {"layout": 1})]
)
def test_a_node_is_traced(tmp_path: Path, capsys: Any, op: str, keys: dict[str, Any]):
    path = saved(tmp_path, made.of_node(op, **keys))[0]
    assert main(["trace", path, "--input", "randn:4", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["max_abs_difference"] < 1e-5  # float32, four steps of few terms
    assert len(found["layers"][0]["quantities"]["h"][0]) == 4


def test_inputs_that_do_not_fit(tmp_path: Path, capsys: Any):
    path = saved(tmp_path, made.in_if("GRU"))[0]
    cases = {
        "the model has no input 'outr'": {"x": X, "outr": np.array(True), "inner": np.array(True)},
        "missing: inner": {"x": X, "outer": np.array(True)},
        "x has the shape (6, 2)": {"x": X[..., 0], "outer": np.array(True), "inner": np.array(True)},
    }
    for said, arrays in cases.items():
        assert main(["check", *saved(tmp_path, made.in_if("GRU"), **arrays)]) == 2
        assert said in capsys.readouterr().err
    assert main(["check", path, "--input", "randn:3", "--cell", "gru"]) == 2
    assert "--cell" in capsys.readouterr().err


def looked_up(rows: int) -> onnx.ModelProto:
    """An embedding in front of an LSTM, whose integers must be below its number of rows; and lengths."""
    table = np.random.default_rng(1).normal(size=(rows, made.INPUTS)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["words"], ["places"], to=made.I64),
        helper.make_node("Gather", ["table", "places"], ["x"]),
        helper.make_node("LSTM", ["x", "W", "R", "B", "lengths"], ["y"], name="the node", hidden_size=made.HIDDEN),
    ]
    inputs = [
        made.value("words", onnx.TensorProto.INT32, ["time", "batch"]),
        made.value("lengths", onnx.TensorProto.INT32, ["batch"]),
    ]
    return made.model(nodes, {**made.weights("LSTM"), "table": table}, inputs)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: made.in_if("GRU"), "x float32 (16, {batch}, 3), outer bool () = True, inner bool () = True"),
        (lambda: looked_up(2), "words int32 (16, {batch}) below 2, lengths int32 ({batch},)"),
    ],
    ids=["if", "embedding"],
)
def test_a_model_without_an_input_runs_on_a_drawn_one(tmp_path: Path, capsys: Any, make: Any, shown: str, batch: int):
    path = saved(tmp_path, make())[0]
    assert main(["check", path, "--batch", str(batch), "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "agree"
    assert "note: no input was given: drew " + shown.format(batch=batch) in captured.err


def test_longer_inputs_are_drawn_until_a_model_runs(tmp_path: Path, capsys: Any):
    """This one takes 100 steps from step 300 on, and no fewer."""
    held = {"start": np.array([300]), "end": np.array([400]), "sizes": np.array([100, 1, made.INPUTS])}
    cut = helper.make_node("Slice", ["given", "start", "end"], ["cut"])
    whole = helper.make_node("Reshape", ["cut", "sizes"], ["x"])
    inputs = [made.value("given", made.F, ["T", 1, made.INPUTS])]
    model = made.model([cut, whole, made.node("LSTM")], {**made.weights("LSTM"), **held}, inputs)
    assert main(["check", saved(tmp_path, model)[0]]) == 0
    assert "given float32 (512, 1, 3)" in capsys.readouterr().err


def hostile(folder: Path) -> dict[str, bytes]:
    model = made.of_node("LSTM")
    whole = model.SerializeToString()
    outside = made.of_node("LSTM")
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    huge = made.of_node("LSTM")
    huge.graph.initializer[0].dims[:] = [1, 10**6, 10**6]
    beside = made.of_node("LSTM")
    tensor = beside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [1, 10**6, 10**6]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="x.npz")
    circle = made.of_node("LSTM")
    del circle.graph.initializer[0]
    circle.graph.node.insert(0, helper.make_node("Identity", ["W"], ["W2"]))
    circle.graph.node.insert(0, helper.make_node("Identity", ["W2"], ["W"]))
    held = made.weights("LSTM", peepholes=True)
    short = made.model([made.node("LSTM", peepholes=True)], held | {"P": held["P"][:, :4]})
    flat = made.model([made.node("LSTM", peepholes=True)], held | {"P": held["P"][0, 0]})
    (folder.parent / "secret").write_bytes(b"\0" * 10**4)
    return {
        "cut short": whole[: len(whole) // 2],
        "empty": b"",
        "a zip": b"PK\x03\x04" + b"\0" * 100,
        "text": b"hello, this is no model at all",
        "outside": outside.SerializeToString(),
        "huge": huge.SerializeToString(),
        "beside": beside.SerializeToString(),
        "circle": circle.SerializeToString(),
        "short peepholes": short.SerializeToString(),
        "flat peepholes": flat.SerializeToString(),
    }


@pytest.mark.parametrize("peepholes", ["short peepholes", "flat peepholes"])
def test_peepholes_of_another_shape_are_said(tmp_path: Path, capsys: Any, peepholes: str):
    (tmp_path / "m.onnx").write_bytes(hostile(tmp_path)[peepholes])
    assert main(["trace", str(tmp_path / "m.onnx")]) == 2
    assert "P has the shape" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["shapes", "trace", "check"])
@pytest.mark.parametrize("case", ["cut short", "empty", "a zip", "text", "outside", "huge", "beside", "circle"])
def test_a_hostile_file_is_one_message(tmp_path: Path, capsys: Any, case: str, command: str):
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "m.onnx"
    np.savez(tmp_path / "inner" / "x.npz", x=X)
    path.write_bytes(hostile(tmp_path / "inner")[case])
    more = ["--input", str(tmp_path / "inner" / "x.npz")] if command == "check" else []
    status = main([command, str(path), *more])
    shown = capsys.readouterr()
    assert status == 2, shown
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith("error: ")


@pytest.fixture(scope="session")
def silero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("silero")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "silero-vad==6.2.3", "-d", str(folder)]
    try:
        ran = subprocess.run(command, capture_output=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        pytest.skip("silero-vad 6.2.3 cannot be had here")
    wheels = list(folder.glob("*.whl"))
    if ran.returncode or not wheels:
        pytest.skip("silero-vad 6.2.3 cannot be had here")
    with zipfile.ZipFile(io.BytesIO(wheels[0].read_bytes())) as archive:
        archive.extractall(folder)
    return folder / "silero_vad" / "data"


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "samples"), [(16000, 576), (8000, 288)])
def test_silero_vad(silero: Path, tmp_path: Path, capsys: Any, rate: int, samples: int):
    """Its LSTMs are in Ifs inside Ifs, one for each rate and use; exactly one of them runs."""
    rng, path = np.random.default_rng(0), str(silero / "silero_vad.onnx")
    audio = 0.3 * np.sin(2 * np.pi * 200 * np.arange(samples) / rate) + 0.05 * rng.standard_normal(samples)
    state = rng.normal(0, 0.1, (2, 1, 128))
    np.savez(tmp_path / "x.npz", input=audio[None].astype(np.float32), state=np.float32(state), sr=np.array(rate))
    status, found = documents([path, "--input", str(tmp_path / "x.npz")], capsys)
    assert (status, [one["verdict"] for one in found]) == (0, ["agree"]), found
    assert main(["shapes", path]) == 0
    assert capsys.readouterr().out.count("LSTM(128, 128)") == 4


def test_a_loop_whose_calls_cannot_be_led_out(tmp_path: Path, capsys: Any):
    """The node runs in every second iteration only: nothing to stack in the others. Its row says so."""
    is_odd = [helper.make_node("Mod", ["i", "two"], ["odd"]), helper.make_node("Cast", ["odd"], ["is odd"], to=made.B)]
    then = helper.make_graph([made.node("GRU", y="y then")], "then", [], [made.value("y then")])
    same = helper.make_graph(
        [helper.make_node("Identity", ["nothing"], ["y else"])], "else", [], [made.value("y else")]
    )
    choice = helper.make_node("If", ["is odd"], ["y now"], then_branch=then, else_branch=same)
    on = helper.make_node("Identity", ["on"], ["on still"])
    body = helper.make_graph(
        [*is_odd, choice, on], "body",
        [made.value("i", made.I64, []), made.value("on", made.B, [])],
        [made.value("on still", made.B, []), made.value("y now")],
    )  # fmt: skip
    held = made.weights("GRU") | {"three": np.array(3), "yes": np.array(True), "two": np.array(2)}
    held["nothing"] = np.zeros((6, 1, 2, made.HIDDEN), np.float32)
    model = made.model([helper.make_node("Loop", ["three", "yes"], ["y"], body=body)], held)
    status, found = documents(saved(tmp_path, model), capsys)
    assert status == 3
    assert "cannot be shown" in found[0]["error"]


@pytest.mark.parametrize(("package", "command"), [("onnx", "shapes"), ("onnx", "check"), ("onnxruntime", "check")])
def test_a_package_that_is_not_there(tmp_path, capsys, monkeypatch, package, command):
    arguments = saved(tmp_path, made.of_node("LSTM"))
    monkeypatch.setitem(sys.modules, package, None)
    assert main([command, *(arguments if command == "check" else arguments[:1])]) == 2
    err = capsys.readouterr().err
    assert f"needs the package {package}; install it: pip install 'rnnspect[onnx]'" in err
    assert len(err.splitlines()) == 1


def test_what_a_model_says_itself_cannot_be_said_beside_it(tmp_path: Path, capsys: Any):
    arguments = saved(tmp_path, made.of_node("LSTM"))
    for more in (["--engine", "torch"], ["--hidden-size", "3"]):
        assert main(["check", *arguments, *more]) == 2
        assert more[0] in capsys.readouterr().err
    assert main(["shapes", arguments[0], "--hidden-size", "3"]) == 2
    assert ", but " in capsys.readouterr().err


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_float16_which_onnxruntime_runs_in_float32(tmp_path: Path, capsys: Any, op: str):
    model = made.of_node(op)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for known in (model.graph.input[0], model.graph.output[0]):
        known.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    x = np.random.default_rng(0).normal(0, 1, (200, 3, made.INPUTS)).astype(np.float16)
    status, found = documents(saved(tmp_path, model, x=x), capsys)
    assert (status, found[0]["verdict"]) == (0, "agree"), found
    assert any("float16" in note for note in found[0]["notes"])


@pytest.mark.parametrize(
    ("op", "settings"), [("LSTM", {}), ("GRU", {"linear_before_reset": 0}), ("LSTM", {"clip": 0.5})], ids=str
)
def test_a_recording_is_held_to_the_weights_of_its_node(op: str, settings: Any, tmp_path: Path, capsys: Any):
    """What another runtime gave for the model, of which ONNX Runtime's own numbers stand here."""
    argv = saved(tmp_path, made.of_node(op, **settings))
    model, x = argv[0], str(tmp_path / "x.npy")
    np.save(x, X)
    y = InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": X})[0]
    np.save(tmp_path / "y.npy", y[:, 0])
    held = ["check", model, "--recorded", str(tmp_path / "y.npy"), "--input"]
    for given in (x, f"x={x}"):
        assert main([*held, given]) == 0, capsys.readouterr().err
    np.save(tmp_path / "y.npy", y[:, 0] + np.float32(1e-3))
    assert main([*held, x, "--explain", "0"]) == 1
    capsys.readouterr()
    assert main(["check", *argv, "--engine", "torch"]) == 2
    said = capsys.readouterr().err
    assert f"(rnnspect convert {model} --to pytorch -o model.safetensors writes its own)" in said
    assert f"rnnspect check model.safetensors --engine {model}" in said


@pytest.mark.parametrize("more", [["--steps", "0"], ["--backward", "--steps", "0"]], ids=["", "backward"])
def test_the_command_that_is_shown_has_the_options_as_they_were_typed(tmp_path: Path, capsys: Any, more: list[str]):
    """The run has neither, but what the node received from its model."""
    path = saved(tmp_path, made.of_node("GRU", linear_before_reset=1))[0]
    assert main(["trace", path, "--input", "x=randn:3", "--batch", "1", *more]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"rnnspect derive {path} --batch 1 --input x=randn:3 " in said, said
