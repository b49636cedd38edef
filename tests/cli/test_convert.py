"""`rnnspect convert` as a command: what is verified is kept, what is not is said, and nothing else appears."""

from __future__ import annotations

import builtins
import json
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rnnspect import Spec, engines
from rnnspect.files.yaml import read_spec_file
from rnnspect.tracing.prepare import prepare
from rnnspect.weights import layouts, writers
from rnnspect.weights.writers.shared import flax_file
from tests.weights.writers.loaders import NEEDS, SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnspect.weights.layouts import Layout

pytestmark = pytest.mark.usefixtures("no_causes")

TARGETS = writers.names()
NET = ("--input-size", "4", "--hidden-size", "6")
STACK = (*NET, "--num-layers", "2", "--bidirectional")
WRITERS = {"keras": "h5py", "flax": "msgpack", "flax-linen": "msgpack", "onnx": "onnx", "pytorch": "safetensors"}


def skip_without(*modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"skipped: {module} is not installed")


def test_help_has_an_example_that_works(rnnspect, tmp_path):
    out = rnnspect("convert", "--help").out
    assert "Example:  rnnspect convert configs/lstm.yaml --to onnx -o lstm.onnx" in out
    assert rnnspect("convert", "configs/lstm.yaml", "--to", "onnx", "-o", tmp_path / "lstm.onnx").status == 0
    assert all(f" {name}" in " ".join(out.split()) for name in TARGETS)


def test_every_target_names_the_engine_that_runs_its_file():
    assert {writers.find(target).engine for target in TARGETS} <= set(engines.names())


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_the_file_is_there_once_it_agrees(rnnspect, tmp_path, target):
    skip_without(WRITERS[target], NEEDS[target])
    path = tmp_path / f"net{SUFFIXES[target]}"
    result = rnnspect("convert", "--cell", "lstm", *STACK, "--to", target, "-o", path)
    assert result.status == 0
    assert result.out.splitlines()[1].startswith("agree: ")
    assert "8 steps of 4 sequences" in " ".join(result.out.split())
    assert "To load it:" in result.out
    assert result.err == f"wrote {path}\n"
    assert left_in(tmp_path) == [path.name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_the_document(rnnspect, tmp_path, target):
    skip_without(WRITERS[target], NEEDS[target])
    path = tmp_path / f"net{SUFFIXES[target]}"
    result = rnnspect("convert", "--cell", "lstm", *NET, "--to", target, "-o", path, "-f", "json", "-q")
    assert (result.status, result.err) == (0, "")
    found = json.loads(result.out)
    assert (found["format"], found["version"], found["target"]) == ("rnnspect.convert", 1, target)
    assert (found["verdict"], found["unverified"], found["file"], found["lost"]) == ("agree", None, str(path), [])
    assert found["notes"] == ["no weights were given: these are random, drawn from seed 1"]
    assert found["check"]["format"] == "rnnspect.check"
    assert found["check"]["engine"]["name"].startswith(NEEDS[target])
    assert set(found["spec"]) == set(Spec.model_fields)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", ["onnx", "keras"])
def test_a_gru_that_resets_before_the_product(rnnspect, tmp_path, target):
    skip_without(WRITERS[target], NEEDS[target])
    (tmp_path / "net.yaml").write_text("{cell: gru, reset: before, input_size: 4, hidden_size: 6, num_layers: 2}\n")
    path = tmp_path / f"net{SUFFIXES[target]}"
    found = json.loads(rnnspect("convert", tmp_path / "net.yaml", "--to", target, "-o", path, "-f", "json").out)
    assert (found["verdict"], found["spec"]["reset"]) == ("agree", "before")
    assert "reset_after=False" in found["code"] or target == "onnx"
    if target == "onnx":
        shown = json.loads(rnnspect("shapes", path, "--module", "gru_l1", "-f", "json").out)
        assert shown["spec"]["reset"] == "before"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("target", [name for name in TARGETS if name != "pytorch"])
def test_the_reverse_direction_alone(rnnspect, tmp_path, target, layers):
    skip_without(WRITERS[target], NEEDS[target])
    (tmp_path / "net.yaml").write_text(f"{{cell: lstm, reverse: true, num_layers: {layers}}}\n")
    path = tmp_path / f"net{SUFFIXES[target]}"
    found = json.loads(rnnspect("convert", tmp_path / "net.yaml", "--to", target, "-o", path, "-f", "json").out)
    assert found["verdict"] == "agree"
    assert ("go_backwards=layer == 0" in found["code"]) == (target == "keras")


def test_a_model_that_takes_lengths(rnnspect, tmp_path):
    path = tmp_path / "net.onnx"
    assert rnnspect("convert", "--cell", "gru", *STACK, "--to", "onnx", "-o", path, "--with-lengths").status == 0
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    assert [(one.name, one.shape) for one in session.get_inputs()] == [
        ("x", ["B", "T", 4]),
        ("h0", [4, "B", 6]),
        ("lengths", ["B"]),
    ]
    torch.manual_seed(0)
    x, h0 = torch.randn(3, 5, 4), torch.randn(4, 3, 6)
    net = nn.GRU(4, 6, 2, batch_first=True, bidirectional=True)
    torch.manual_seed(1)  # the seed that a spec has if it says none
    [nn.init.uniform_(p, -(6**-0.5), 6**-0.5) for p in net.parameters()]
    given = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 2, 4]), batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        output, h_n = net(given, h0)
    output, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    feed = {"x": x.numpy(), "h0": h0.numpy(), "lengths": np.array([5, 2, 4], np.int32)}
    found = session.run(None, feed)
    # Ten roundings of the largest number here, as in tests/engines/test_engines.py.
    assert np.abs(found[0] - output.numpy()).max() <= 1.7e-6
    assert np.abs(found[1] - h_n.numpy()).max() <= 1.7e-6


@pytest.mark.each_value_once
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("batch_first", ["--batch-first", "--no-batch-first"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_model_is_a_source_of_a_check(rnnspect, tmp_path, cell, batch_first, lengths):
    path = tmp_path / "net.onnx"
    more = ["--with-lengths"] if lengths else []
    given = ("convert", "--cell", cell, *STACK, batch_first, "--to", "onnx", "-o", path, *more)
    assert rnnspect(*given).status == 0
    x = "randn:7"
    if lengths:
        shape = (2, 7, 4) if batch_first == "--batch-first" else (7, 2, 4)
        arrays = {"x": np.random.default_rng(0).normal(size=shape), "lengths": np.array([7, 3])}
        arrays |= {name: np.ones((4, 2, 6)) for name in (("h0", "c0") if cell == "lstm" else ("h0",))}
        np.savez(tmp_path / "x.npz", **arrays)
        x = str(tmp_path / "x.npz")
    result = rnnspect("check", path, "--input", x, "-f", "json")
    found = json.loads(result.out)
    assert (result.status, [one["verdict"] for one in found]) == (0, ["agree", "agree"])
    assert [one["source"].partition(" ")[2] for one in found] == [f"{cell}_l{at}, call 0" for at in (0, 1)]


@pytest.mark.filterwarnings("ignore")
def test_what_is_lost_is_refused_and_said(rnnspect, tmp_path):
    skip_without("msgpack")
    path = tmp_path / "net.msgpack"
    given = ("convert", "--cell", "gru", *NET, "--to", "flax", "-o", path)
    result = rnnspect(*given)
    assert (result.status, result.out) == (2, "")
    largest = result.err.partition("b_hn (largest value ")[2].partition(")")[0]
    assert result.err == (
        f"error: --to: layer 0 forward: flax.nnx.GRUCell cannot store b_hn (largest value {largest}); "
        "use --to with one of flax-linen, keras, onnx, pytorch, or drop it with --lossy\n"
    )
    assert left_in(tmp_path) == []
    found = json.loads(rnnspect(*given, "--lossy", "-f", "json").out)
    assert found["verdict"] == ("agree" if find_spec("flax") else None)
    assert [(one["layer"], one["direction"], one["name"]) for one in found["lost"]] == [(0, "forward", "b_hn")]
    assert f"{found['lost'][0]['largest']:.3g}" == largest
    said = rnnspect(*given, "--lossy").out
    assert "lost: layer 0 forward: flax.nnx.GRUCell cannot store b_hn" in said
    assert ("the check took zeros for what is lost" in said) == (find_spec("flax") is not None)
    # Without biases nothing is lost, and with those of a stack the rest is counted.
    assert rnnspect(*given, "--no-bias").status == 0
    many = rnnspect("convert", "--cell", "gru", "--num-layers", "10", "--to", "flax", "-o", path)
    assert many.err.count("\n") == 9
    assert "2 more cannot be stored; " in many.err


def exchanged(layout: Layout, form: str) -> Layout:
    """A mistake in a row: two gates of the first fused array in each other's place, or two arrays where none is."""

    def mistaken(arrays: Any) -> dict[str, str]:
        found = dict(arrays)
        name = next((name for name, line in found.items() if len(line.split()) > 1), "")
        if name:
            one, other, *rest = found[name].split()
            return found | {name: " ".join([other, one, *rest])}
        one, other, *_ = found
        return found | {one: found[other], other: found[one]}

    rows = [
        replace(one, arrays=MappingProxyType(mistaken(one.arrays))) if one.form == form else one
        for one in layout.packings
    ]
    return replace(layout, packings=tuple(rows))


@pytest.mark.each_value_once
@pytest.mark.usefixtures("no_causes")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_mistake_in_a_layout_leaves_no_file(rnnspect, tmp_path, monkeypatch, target, cell):
    skip_without(WRITERS[target], NEEDS[target])
    known = writers.find(target).layout
    planted = exchanged(layouts.find(known), cell)
    real: Callable[..., Layout] = layouts.find
    monkeypatch.setattr(layouts, "find", lambda name, *where: planted if name == known else real(name, *where))
    path = tmp_path / f"net{SUFFIXES[target]}"
    path.write_bytes(b"as it was")
    result = rnnspect("convert", "--cell", cell, *STACK, "--to", target, "-o", path, "--lossy")
    assert result.status == 1
    assert result.out.startswith(f"{path} was not written\n")
    assert result.out.splitlines()[1].startswith("differ: ")
    assert "h of layer 0 forward, step 0" in result.out
    assert "To load it" not in result.out
    assert left_in(tmp_path) == [path.name]
    assert path.read_bytes() == b"as it was"
    path.unlink()
    result = rnnspect("convert", "--cell", cell, *STACK, "--to", target, "-o", path, "--lossy", "-f", "json")
    found = json.loads(result.out)
    assert (result.status, found["verdict"], found["file"]) == (1, "differ", None)
    assert left_in(tmp_path) == []


def test_what_cannot_be_told_is_not_kept_either(rnnspect, tmp_path):
    """Weights so large that every gate is fully open or shut: any number of it may be wrong and h be the same."""
    module = torch.nn.LSTM(4, 6, batch_first=True)
    module.load_state_dict({name: 2000 * torch.ones_like(w) for name, w in module.state_dict().items()})
    torch.save(module.bfloat16().state_dict(), tmp_path / "net.pt")
    path = tmp_path / "net.safetensors"
    result = rnnspect("convert", tmp_path / "net.pt", "--to", "pytorch", "-o", path)
    assert result.status == 3
    assert "cannot tell" in result.out
    assert "write the same numbers with --dtype float32" in " ".join(result.out.split())
    assert left_in(tmp_path) == ["net.pt"]


@pytest.mark.parametrize("flags", [["--to", "onnx"], ["--to", "onnx", "--with-lengths"], ["--to", "pytorch"]])
def test_gates_that_the_usual_sequence_shuts_are_opened_before_nothing_can_be_told(rnnspect, tmp_path, flags):
    """W_ih x is about 200 for x of size 1; some x of a drawn sequence are small enough."""
    torch.manual_seed(0)
    module = torch.nn.GRU(40, 8, batch_first=True)
    with torch.no_grad():
        module.weight_ih_l0.mul_(100)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    path = tmp_path / ("net.onnx" if "onnx" in flags else "net.safetensors")
    result = rnnspect("convert", tmp_path / "net.pt", *flags, "-o", path, "-f", "json")
    found = json.loads(result.out)
    assert (result.status, found["verdict"]) == (0, "agree")
    assert any("x, h0 were drawn for these weights" in note for note in found["check"]["notes"])
    assert path.exists()


SAME = [
    ("--cell", "rnn", "--nonlinearity", "relu", "--no-batch-first"),
    ("--cell", "lstm", "--num-layers", "2", "--dropout", "0.25", "--bidirectional", "--no-batch-first"),
    ("--cell", "gru", "--no-bias", "--dtype", "float64"),
]


@pytest.mark.parametrize("flags", SAME, ids=" ".join)
def test_a_safetensors_file_is_read_back_as_the_same_network(rnnspect, tmp_path, flags):
    path = tmp_path / "net.safetensors"
    written = json.loads(rnnspect("convert", *NET, *flags, "--to", "pytorch", "-o", path, "-f", "json").out)["spec"]
    read = rnnspect("shapes", path, "-f", "json")
    assert read.err == "", "nothing is assumed"
    network = ("cell", "input_size", "hidden_size", "num_layers", "nonlinearity", "bias", "batch_first", "dropout")
    network += ("bidirectional", "proj_size", "dtype")
    spec = json.loads(read.out)["spec"]
    assert {key: spec[key] for key in network} == {key: written[key] for key in network}
    assert set(load_file(path)) == {one["name"] for one in json.loads(read.out)["parameters"]}


BROKEN = {
    "no JSON": ("{", "the file's metadata 'rnnspect' is damaged"),
    "a list": ("[1]", "the file's metadata 'rnnspect' is damaged"),
    "deep": ("[" * 9000 + "]" * 9000, "the file's metadata 'rnnspect' is damaged"),
    "another type": ('{"batch_first": "yes"}', "batch_first"),
    "out of range": ('{"dropout": 7}', "dropout"),
    "of another cell": ('{"nonlinearity": "relu"}', "nonlinearity"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_metadata_that_is_wrong_is_refused(rnnspect, tmp_path, text, said):
    arrays = nn.GRU(4, 6).state_dict()
    save_file(arrays, tmp_path / "net.safetensors", {"rnnspect": text})
    result = rnnspect("shapes", tmp_path / "net.safetensors")
    assert result.status == 2
    assert said in result.err
    assert "net.safetensors" in result.err
    save_file(arrays, tmp_path / "net.safetensors", {"rnnspect": '{"weights": "x", "cell": "lstm", "hidden_size": 3}'})
    assert rnnspect("shapes", tmp_path / "net.safetensors").status == 0, "shapes and names are not taken from there"


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "pytorch"])
def test_a_framework_that_is_not_installed(rnnspect, tmp_path, monkeypatch, target):
    """The file is written all the same: its format does not need the framework."""
    skip_without(WRITERS[target])
    framework = NEEDS[target]
    forbid(monkeypatch, framework)
    monkeypatch.delitem(sys.modules, f"rnnspect.engines.{writers.find(target).engine}", raising=False)
    path = tmp_path / f"net{SUFFIXES[target]}"
    result = rnnspect("convert", "--cell", "lstm", *NET, "--to", target, "-o", path)
    said = " ".join(result.out.split())
    assert result.status == 0
    assert f"not verified here: {framework} is not installed (pip install 'rnnspect[{framework}]')" in said
    assert left_in(tmp_path) == [path.name]


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "pytorch"])
def test_a_package_that_is_not_installed(rnnspect, tmp_path, monkeypatch, target):
    package = WRITERS[target]
    extra = {"h5py": "keras-files", "msgpack": "flax-files", "onnx": "onnx"}[package]
    forbid(monkeypatch, package)
    monkeypatch.delitem(sys.modules, "rnnspect.weights.writers.shared.onnx_graph", raising=False)
    path = tmp_path / f"net{SUFFIXES[target]}"
    result = rnnspect("convert", "--cell", "lstm", *NET, "--to", target, "-o", path)
    assert (result.status, result.out) == (2, "")
    assert result.err == f"error: {package} is not installed (pip install 'rnnspect[{extra}]')\n"
    assert left_in(tmp_path) == []


def forbid(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As if it were not installed."""
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--to", "keras", "-o", "a.h5"],
            "'a.h5' is not a file name for keras; expected a name that ends in .weights.h5",
        ),
        (["--to", "kears", "-o", "a.h5"], "unknown target 'kears'; expected flax"),
        (["--to", "onnx", "-o", "nowhere/a.onnx"], "the folder 'nowhere' does not exist"),
        (["--to", "onnx"], "--output is missing: File to write"),
        (["-o", "a.onnx"], "--to is missing: Framework: "),
        (["--to", "pytorch", "-o", "a.safetensors", "--with-lengths"], "use --to onnx"),
        (["model.py:build", "--to", "onnx", "-o", "a.onnx"], "model.py:build: a live model; save its weights"),
        (["--to", "onnx", "-o", "a.onnx", "--format", "jsn"], "unknown format 'jsn'"),
        (["--cell", "lstm", "--proj-size", "1", "--to", "onnx", "-o", "a.onnx"], "ONNX's LSTM has no projection"),
        (["--cell", "lstm", "--proj-size", "1", "--to", "keras", "-o", "a.weights.h5"], "has no projection"),
        (["--cell", "lstm", "--proj-size", "1", "--to", "flax", "-o", "a.msgpack"], "has no projection"),
        (["--dtype", "bfloat16", "--to", "onnx", "-o", "a.onnx"], "use --dtype with one of float16, float32, float64"),
    ],
)
def test_what_cannot_be_done_is_one_line(rnnspect, tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    result = rnnspect("convert", *given)
    assert (result.status, result.out) == (2, "")
    assert said in result.err
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_what_a_framework_cannot_run_is_not_verified(rnnspect, tmp_path, dtype):
    path = tmp_path / "net.onnx"
    given = ("convert", "--cell", "lstm", *NET, "--dtype", dtype, "--to", "onnx", "-o", path)
    result = rnnspect(*given, "-f", "json")
    found = json.loads(result.out)
    assert (result.status, found["verdict"], found["check"], found["file"]) == (0, None, None, str(path))
    assert found["unverified"] == f"onnxruntime's RNN, LSTM and GRU compute only in float32, not in {dtype}"
    assert json.loads(rnnspect("shapes", path, "-f", "json").out)["spec"]["dtype"] == dtype


def test_what_cannot_be_read_back_is_not_written_to(rnnspect, tmp_path):
    os.mkfifo(tmp_path / "net.onnx")
    result = rnnspect("convert", "--to", "onnx", "-o", tmp_path / "net.onnx")
    assert (result.status, result.out) == (2, "")
    assert "expected a plain file" in result.err
    assert (tmp_path / "net.onnx").is_fifo()


def test_a_node_of_a_model_as_a_source(rnnspect, tmp_path):
    """The parameters of the upper layer of a stack, by way of ONNX; its input is as wide as both directions below."""
    model, back = tmp_path / "net.onnx", tmp_path / "back.safetensors"
    assert rnnspect("convert", "--cell", "gru", *STACK, "--to", "onnx", "-o", model).status == 0
    assert rnnspect("convert", model, "--module", "gru_l1", "--to", "pytorch", "-o", back).status == 0
    drawn = prepare(Spec(cell="gru", input_size=4, hidden_size=6, num_layers=2, bidirectional=True)).parameters
    found = load_file(back)
    assert len(found) == 8
    assert all(torch.equal(values, drawn[name.replace("_l0", "_l1")]) for name, values in found.items())
    assert rnnspect("convert", model, "--to", "pytorch", "-o", back).status == 0
    whole = load_file(back)
    assert whole.keys() == drawn.keys(), "without a name it is the network that was written, not one of its layers"
    assert all(torch.equal(values, drawn[name]) for name, values in whole.items())


@pytest.mark.parametrize("key", ["activations: [relu]", "clip: 1.0", "reverse: true"])
@pytest.mark.parametrize("target", TARGETS)
def test_keys_that_a_target_has_no_place_for(rnnspect, tmp_path, target, key):
    name = key.partition(":")[0]
    if name in writers.find(target).holds:
        return
    (tmp_path / "net.yaml").write_text(f"{{cell: rnn, {key}}}\n")
    result = rnnspect("convert", tmp_path / "net.yaml", "--to", target, "-o", tmp_path / f"a{SUFFIXES[target]}")
    assert (result.status, result.out) == (2, "")
    assert f"--to: {target} cannot store {name}: " in result.err
    assert left_in(tmp_path) == ["net.yaml"]


def test_a_key_that_no_target_was_taught_is_refused():
    class Later(Spec):
        coupled: bool = False

    for target in map(writers.find, TARGETS):
        assert target.refusals(Later()) == []
        assert [str(one) for one in target.refusals(Later(coupled=True))] == [
            f"{target.name} cannot store coupled: true: {target.title} have no coupled; choose another target"
        ]


def test_a_cell_that_the_framework_does_not_have_is_refused():
    """As the targets there are have every cell, with the layout of one that has no plain RNN."""
    target = replace(writers.find("pytorch"), layout="tinygrad")
    (problem,) = target.refusals(Spec(cell="rnn"))
    assert str(problem).startswith("pytorch has no rnn; ")


def test_the_parameters_of_a_spec_with_a_head(rnnspect, tmp_path):
    """The head is left out, and what is drawn is what `check` draws."""
    path = tmp_path / "net.safetensors"
    result = rnnspect("convert", "configs/notebook-model.yaml", "--to", "pytorch", "-o", path, "-f", "json")
    assert json.loads(result.out)["notes"][-1] == "the head is not written to the file"
    found = load_file(path)
    drawn = prepare(Spec.from_data(read_spec_file(Path("configs/notebook-model.yaml"))[0])).parameters
    assert set(drawn) - set(found) == {"head.weight", "head.bias"}
    assert all(torch.equal(found[name], drawn[name]) for name in found)


def test_a_large_array_of_flax_is_cut_as_flax_cuts_it(tmp_path, monkeypatch):
    skip_without("msgpack")
    monkeypatch.setattr(flax_file, "MOST", 20)
    array = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    with (tmp_path / "a").open("wb") as file:
        flax_file.write_tree({"a": {"b": array}, "c": lambda: {"d": array[:1, :1]}}, file)
    skip_without("flax")
    from flax import serialization

    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 20)
    tree = {"a": {"b": array.numpy()}, "c": {"d": array[:1, :1].numpy()}}
    assert (tmp_path / "a").read_bytes() == serialization.msgpack_serialize(tree)


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (["--peepholes"], 0),
        (["--input-forget"], 0),
        (["--activations", "hard_sigmoid,tanh,tanh"], 0),
        (["--reverse"], 0),
        (["--clip", "0.4"], 1),  # onnxruntime does not clip the input of tanh(c)
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_variant_goes_to_onnx_unless_onnxruntime_runs_it_otherwise(rnnspect, tmp_path, flags, status):
    skip_without("onnx", "onnxruntime")
    path = tmp_path / "net.onnx"
    assert rnnspect("convert", "--cell", "lstm", *NET, *flags, "--to", "onnx", "-o", path).status == status
    assert path.exists() == (status == 0)
