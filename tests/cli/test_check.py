"""The check from the command line: verdict, exit status, formats."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from rnnspect.engines.torch import TorchEngine

CONFIGS = sorted(Path("configs").glob("*.yaml"))


@pytest.fixture
def broken_engine(monkeypatch):
    """PyTorch, but unit 1 of the last step of the first item is off by a hundredth."""
    right = TorchEngine.run

    def run(self, spec, parameters, sequence):
        recording = right(self, spec, parameters, sequence)
        for h in recording.layers.values():
            h[-1, 0, 1] += 0.01
        return recording

    monkeypatch.setattr(TorchEngine, "run", run)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_our_own_configs_agree(rnnspect, config):
    result = rnnspect("check", config)
    assert result.status == 0
    assert result.out.startswith("✓ AGREE  torch matches this ")
    assert "sensitivity: the smallest gate error this check would detect" not in result.out
    assert "sensitivity: the smallest gate error this check would detect" in rnnspect("check", config, "-v").out


def test_several_sources_are_a_row_each_and_the_worst_status_wins(rnnspect):
    result = rnnspect("check", *CONFIGS)
    assert result.status == 0
    assert sum(line.startswith("agree  ") for line in result.out.splitlines()) == len(CONFIGS)
    with_missing = rnnspect("check", *CONFIGS, "nothing.yaml")
    assert with_missing.status == 2
    name, why = with_missing.out.splitlines()[-2:]
    assert name.split() == ["error", "nothing.yaml"]
    assert why.strip().startswith("no such file")


@pytest.mark.usefixtures("no_causes")
def test_a_wrong_number_is_found_where_it_is(rnnspect, broken_engine):
    result = rnnspect("check", "configs/gru.yaml", "--format", "json")
    assert result.status == 1
    document = json.loads(result.out)
    first = document["first"]
    assert (first["layer"], first["step"], first["batch"], first["unit"]) == (0, 9, 0, 1)
    assert (first["direction"], first["quantity"]) == ("forward", "h")
    assert first["engine"] - first["manual"] == pytest.approx(0.01, rel=1e-3)  # a float32 h is 1e-5 exact or better
    assert first["ratio"] > 1
    assert "step 9 alone" in document["pattern"]
    assert "unit 1" in document["pattern"]


@pytest.mark.usefixtures("no_causes")
def test_differ_beats_bad_input(rnnspect, broken_engine):
    assert rnnspect("check", "configs/gru.yaml", "nothing.yaml").status == 1


@pytest.mark.usefixtures("no_causes")
def test_a_wrong_number_in_words(rnnspect, broken_engine):
    out = rnnspect("check", "configs/gru.yaml").out
    assert out.startswith("✗ DIFFER  torch does not match this GRU (5 of 80 values wrong)\n")
    assert "h of layer 0 forward, step 9, unit 1: expected " in out
    assert out.index("First ") < out.index("allowed ") < out.index("Where ") < out.index("Next ")
    assert "rnnspect derive configs/gru.yaml --step 9 --unit 1" in out


def test_where_gates_cannot_be_seen_it_cannot_tell(rnnspect):
    """In bfloat16 an LSTM's h is rounded to eight bits: a gate may be off by more than a hundredth unseen."""
    result = rnnspect("check", "--cell", "lstm", "--dtype", "bfloat16", "--hidden-size", "8", "--input", "ramp:3")
    assert result.status == 3
    assert result.out.startswith("? CANNOT TELL  whether torch matches this LSTM\n")
    assert "the forget gate f can hardly be tested" in result.out
    assert "sensitivity: the smallest gate error this check would detect" in result.out


def test_document_keys(rnnspect):
    document = json.loads(rnnspect("check", "configs/lstm.yaml", "--format", "json").out)
    assert (document["format"], document["version"]) == ("rnnspect.check", 1)
    keys = {"verdict", "arithmetic", "worst", "first", "pattern", "resolution", "observed", "estimated", "checked"}
    assert keys | {"spec", "engine"} <= set(document)
    point = {"ratio", "layer", "direction", "step", "batch", "unit", "quantity", "manual", "engine", "bound"}
    assert set(document["worst"]) == point
    assert document["first"] is None
    assert set(document["resolution"]["layer 0 forward"]) == {"i", "f", "g", "o"}
    assert {"steps", "values"} <= set(document["checked"])


def test_several_documents_are_a_list(rnnspect):
    documents = json.loads(
        rnnspect("check", *CONFIGS[:2], "--engine", "torch", "--engine", "torch-cell", "-f", "json").out
    )
    assert [document["engine"]["name"] for document in documents] == ["torch", "torch-cell"] * 2


@pytest.mark.usefixtures("no_causes")
def test_junit(rnnspect, tmp_path, broken_engine):
    path = tmp_path / "report.xml"
    rnnspect("check", "configs/gru.yaml", "nothing.yaml", "-o", path)
    suite = ElementTree.parse(path).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "1")
    assert suite[0][0].tag == "failure"
    assert "differ: h of layer 0" in suite[0][0].get("message")
    assert suite[1][0].tag == "error"


def test_junit_says_what_xml_cannot_hold(rnnspect):
    out = rnnspect("check", "a\x1b[31m<b>&.yaml", "configs/gru.yaml", "--format", "junit").out
    suite = ElementTree.fromstring(out)
    assert suite[0].get("name") == "a\\x1b[31m<b>&.yaml"


def test_an_engine_that_cannot_says_why(rnnspect):
    result = rnnspect("check", "configs/projected.yaml", "--engine", "torch-cell")
    assert result.status == 2
    assert "torch-cell cannot run a projection" in result.err


def test_an_engine_misspelt(rnnspect):
    result = rnnspect("check", "--engine", "torch-cel")
    assert result.status == 2
    assert "did you mean 'torch-cell'?" in result.err


def test_an_arithmetic_misspelt(rnnspect):
    assert "did you mean 'float32'?" in rnnspect("check", "--arithmetic", "float23").err


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_compiled_code_agrees(rnnspect, cell, compiler):
    result = rnnspect("check", "--cell", cell, "--input", "randn:3", "--engine", "torch-compile", "--format", "json")
    assert json.loads(result.out)["engine"]["name"] == "torch-compile"
    assert result.status == 0


@pytest.fixture
def compiler():
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("skipped: this machine has no C++ compiler")


@pytest.mark.usefixtures("no_causes")
def test_held_to_another_arithmetic(rnnspect):
    """A float32 run is no float64 run."""
    result = rnnspect("check", "configs/lstm.yaml", "--arithmetic", "float64", "--format", "json")
    assert result.status == 1
    assert json.loads(result.out)["arithmetic"] == "float64"


def test_nan_agrees_with_nan(rnnspect):
    result = rnnspect("check", "--input", "[[NaN, 1, 1, 1, 1], [1, 1, 1, 1, 1]]", "-q")
    assert "differ" not in result.out


def test_interrupted_it_says_how_far_it_had_agreed(rnnspect, monkeypatch):
    from rnnspect.judging.judge import Judge

    right = Judge.__call__

    def interrupted(self, run, rows=None, progress=None):
        def then_stop(found, steps):
            progress(found, steps)
            raise KeyboardInterrupt

        return right(self, run, 100, then_stop)

    monkeypatch.setattr(Judge, "__call__", interrupted)
    result = rnnspect("check", "--input", "randn:1000")
    assert result.status == 130
    assert "after 100 steps, all layers and directions together; so far everything agrees" in result.err


def test_the_callers_threads_and_modes_are_left_alone(rnnspect):
    before = torch.get_num_threads(), torch.is_grad_enabled()
    rnnspect("check", "configs/lstm.yaml")
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before


@pytest.mark.usefixtures("no_causes")
def test_a_stack_that_is_wrong_only_as_a_whole_differs(rnnspect, monkeypatch):
    """A backend may be right for each layer alone and wrong for the stack."""
    right = TorchEngine.run

    def run(self, spec, parameters, sequence):
        recording = right(self, spec, parameters, sequence)
        output = recording.output.clone()
        output[4, 0, 1] += 0.01
        return replace(recording, output=output, stack_difference=0.01)

    monkeypatch.setattr(TorchEngine, "run", run)
    result = rnnspect("check", "configs/gru.yaml", "--format", "json")
    assert result.status == 1
    document = json.loads(result.out)
    assert (document["first"]["layer"], document["first"]["step"], document["first"]["unit"]) == (1, 4, 1)
    assert "all layers in one run and each layer alone differ by up to 1.00e-02" in " ".join(document["notes"])


def test_a_stack_that_rounds_otherwise_as_a_whole_agrees(rnnspect, monkeypatch):
    right = TorchEngine.run

    def run(self, spec, parameters, sequence):
        recording = right(self, spec, parameters, sequence)
        return replace(recording, output=recording.output * (1 + 2**-24), stack_difference=2**-24)

    monkeypatch.setattr(TorchEngine, "run", run)
    assert rnnspect("check", "configs/gru.yaml").status == 0


def test_one_wrong_number_is_not_blamed_on_tf32(rnnspect, broken_engine):
    assert "TF32" not in rnnspect("check", "--hidden-size", "64", "--input", "randn:50").out


def test_a_checkpoint_beside_an_onnx_file_is_no_comparison(rnnspect, tmp_path):
    """Each is checked by itself; whoever meant the one against the other is told how."""
    torch.save(torch.nn.LSTM(3, 4, batch_first=True).state_dict(), tmp_path / "model.pt")
    assert rnnspect("convert", tmp_path / "model.pt", "--to", "onnx", "-o", tmp_path / "model.onnx", "-q").status == 0
    result = rnnspect("check", tmp_path / "model.onnx", tmp_path / "model.pt")
    how = f"rnnspect check {tmp_path / 'model.pt'} --engine {tmp_path / 'model.onnx'}"
    assert f"note: each file is checked by itself; to compare them: {how}" in result.err
    assert "to compare them" not in rnnspect("check", tmp_path / "model.onnx").err


@pytest.mark.parametrize("typed", ["mine.py", "mine.py:"])
def test_a_python_file_as_an_engine_needs_a_name(rnnspect, typed):
    result = rnnspect("check", "--engine", typed)
    assert result.status == 2
    assert f"{typed!r} names no function or class" in result.err
    assert "name one after a colon: --engine mine.py:step" in result.err


@pytest.mark.parametrize("given", [("",), ("configs/gru.yaml", ""), ("--format", "junit"), ("-o", "checks.xml")])
def test_nothing_to_check_is_no_pass(rnnspect, tmp_path, monkeypatch, given):
    """As where a variable of CI is not set."""
    monkeypatch.chdir(tmp_path)
    result = rnnspect("check", *given)
    assert (result.status, result.out) == (2, "")
    assert "say what to check, such as model.pt" in result.err
    assert not list(tmp_path.iterdir())


def test_what_no_engine_can_run_is_not_told_to_be_right(rnnspect):
    """A CI that skips all would pass, with nothing checked."""
    result = rnnspect("check", "--cell", "examples/cells/mingru.py:mingru", "--engine", "all")
    assert result.status == 3
    assert "no engine can run this, so nothing was checked" in result.err
