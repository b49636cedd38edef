"""`check --sweep` and `--split` from the command line: rows, formats, status, the command to repeat a run, refusals."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from rnnspect import Spec, sweep
from rnnspect.checking.sweep.result import Sweep
from rnnspect.cli import main
from rnnspect.views import sweep as view
from tests.marks import sampled

ENGINE = '''
import torch

from tests.causes.chunked import chunked


def right(x, h0, parameters):
    return chunked("mingru", 8)(x, h0, parameters)


def dropped(x, h0, parameters):
    return chunked("mingru", 8, "zeros")(x, h0, parameters)


def whole_chunks(x, h0, parameters):
    x.reshape(len(x), -1, 8, x.shape[-1])
    return right(x, h0, parameters)


def forgets(x, h0, parameters):
    """The state that a later call is given does not go in."""
    return chunked("mingru", 8)(x, torch.zeros_like(h0), parameters)
'''
SWEEP = ["--cell", "examples/cells/mingru.py:mingru", "--sweep", "--chunk", "8"]


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "forms.py"
    path.write_text(ENGINE)
    return lambda name: f"{path}:{name}"


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
def test_a_right_form_agrees(rnnspect, engine):
    result = rnnspect("check", *SWEEP, "--engine", engine("right"))
    assert result.status == 0
    assert result.out.startswith("✓ AGREE  forms.py:right matches this MINGRU in all 31 runs\n")
    assert "Left out batches of unequal length: forms.py:right takes no lengths" in result.out
    assert re.search(r"^    19 +1  random  8 \+ 11 +agree", result.out, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
def test_the_first_wrong_run_is_told_and_its_command_repeats_it(rnnspect, engine):
    result = rnnspect("check", *SWEEP, "--engine", engine("dropped"))
    assert result.status == 1
    assert result.out.startswith("✗ DIFFER  forms.py:dropped does not match this MINGRU in ")
    assert (
        "  First    9 steps, batch 1, an initial state of zeros\n           h of layer 0 forward, step 8" in result.out
    )
    assert "step 8 is the first of a chunk of 8" in result.out
    assert "  Wrong in all calls of more than 8 steps, and only these\n" in result.out
    command = json.loads(rnnspect("check", *SWEEP, "--engine", engine("dropped"), "-f", "json").out)["next"]
    assert command.endswith("--input randn:9")
    alone = rnnspect(*shlex.split(command)[1:])
    assert alone.status == 1
    where = next(line for line in result.out.splitlines() if "step 8, unit 0: expected" in line)
    assert where.strip() in alone.out


@pytest.mark.usefixtures("no_causes")
def test_a_split_is_repeated_by_its_command(rnnspect, engine):
    """The first wrong run of a form that loses what it is given is one of a drawn state: one step of it tells."""
    found = json.loads(rnnspect("check", *SWEEP, "--engine", engine("forgets"), "-f", "json").out)
    assert found["common"] == "runs with a random initial state"
    assert shlex.split(found["next"])[-4:] == ["--input", "randn:1", "--h0", "randn"]
    split = ["--cell", SWEEP[1], "--engine", engine("forgets"), "--input", "randn:19"]
    assert rnnspect("check", *split).status == 0
    result = rnnspect("check", *split, "--split", "8:1")
    assert result.status == 1
    assert "h of layer 0 forward, step 8, unit 0" in result.out
    assert "forms.py:forgets ran in 12 calls, of 8 steps and then 1 each" in " ".join(result.out.split())
    assert "Next" not in result.out  # derive runs in one call


@pytest.mark.usefixtures("no_causes")
def test_code_that_fails_at_some_lengths(rnnspect, engine):
    result = rnnspect("check", *SWEEP, "--engine", engine("whole_chunks"))
    assert result.status == 2
    assert result.out.startswith("✗ FAILS  forms.py:whole_chunks cannot be run in ")
    assert "  Wrong in all calls whose steps are not a multiple of 8, and only these\n" in result.out
    assert "Next     rnnspect check --cell" in result.out


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
def test_the_documents(rnnspect, engine, tmp_path):
    found = json.loads(rnnspect("check", *SWEEP, "--engine", engine("dropped"), "--format", "json").out)
    assert (found["format"], found["version"], found["verdict"]) == ("rnnspect.sweep", 1, "differ")
    assert (found["chunks"], found["edge"]) == ([8], "step 8 is the first of a chunk of 8")
    assert found["first"]["check"]["format"] == "rnnspect.check"
    assert found["first"]["first"] == {
        "address": "h of layer 0 forward, step 8, unit 0",
        "step": 8,
        "batch": 0,
        "unit": 0,
    }
    wrong = [one for one in found["runs"] if one["verdict"] == "differ"]
    assert all(max(one["steps"], 0) > 8 for one in wrong)
    assert {"at": 8, "each": 1} in [one["split"] for one in found["runs"]]
    file = tmp_path / "sweep.xml"
    told = rnnspect("check", *SWEEP, "--engine", engine("dropped"), "-o", file)
    assert "differ: forms.py:dropped does not match this MINGRU" in told.err
    suite = ElementTree.parse(file).getroot()
    assert suite.get("failures") == str(len(wrong))
    assert rnnspect("check", *SWEEP, "--engine", engine("right"), "-q", "-o", file).err == ""


def test_a_run_that_is_too_short_to_tell_is_no_error_of_a_sweep_that_agrees(rnnspect, tmp_path):
    """One step from zeros cannot test a forget gate, which the exit status does not mind."""
    file = tmp_path / "sweep.xml"
    command = ["check", "--cell", "lstm", "--engine", "torch-cell", "--sweep", "--chunk", "4", "-q"]
    assert rnnspect(*command, "-o", str(file)).status == 0
    suite = ElementTree.parse(file).getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    skipped = [case.get("name") for case in suite if case.find("skipped") is not None]
    assert skipped == ["1 step, batch 1, an initial state of zeros"]


def test_a_chunk_of_one_is_one_step() -> None:
    made = sweep(Spec(cell="rnn"), "torch-cell", chunk=1)
    assert isinstance(made, Sweep)
    assert "for chunks of 1 step, seed" in words_of(made)


def one_step_from_zeros() -> Sweep:
    """A sweep of an LSTM: one step from c0 = 0 cannot test its forget gate, one from a drawn state does."""
    made = sweep(Spec(cell="lstm"), "torch-cell", chunk=4)
    assert isinstance(made, Sweep)
    return made


def words_of(made: Sweep) -> str:
    return " ".join(str(made).split())


def test_runs_that_cannot_tell_are_counted_and_their_reason_stands_once_below_the_table() -> None:
    made = one_step_from_zeros()
    cannot = [one.run for one in made.runs if one.answer == "cannot tell"]
    assert [(run.steps, run.drawn) for run in cannot] == [(1, False)]
    said, every = words_of(made), len(made.runs)
    assert f"in {every - 1} of {every} runs (1 cannot tell; a run of each length and split agrees)" in said
    row = next(line for line in str(made).splitlines() if "cannot tell  " in line)
    assert row.rstrip().endswith("%")  # nothing was wrong, so nothing stands under "first wrong value"
    assert said.endswith(
        "Unseen in 1 run of 1 step: layer 0 forward: the forget gate f cannot be tested: it multiplies the cell "
        "state, and c0 is zero"
    )
    told = view.document(made)["runs"][0]["reason"]
    assert told is not None
    assert "--c0" not in told + said + view.as_junit(made)  # a sweep draws its own


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        ("float32", "--dtype float64 shows smaller errors, and another --seed makes other runs"),
        ("bfloat16", "--dtype float32 shows smaller errors, and another --seed makes other runs"),
        ("float64", "another --seed makes other runs"),
    ],
)
def test_where_no_run_of_a_length_tells_the_line_is_said(dtype: str, advice: str) -> None:
    made = one_step_from_zeros()
    runs = tuple(one for one in made.runs if one.run.steps > 1 or one.answer == "cannot tell")
    left = replace(made, runs=runs, spec=made.spec.with_changes(dtype=dtype))
    assert left.verdict == "cannot tell"
    assert (
        f"Why no run of 1 step can tell; to agree, each length and split needs a run that agrees {advice} Runs"
    ) in words_of(left)


@pytest.mark.parametrize("columns", sampled(["80", "200"], 2))
@pytest.mark.usefixtures("no_causes")
def test_no_line_is_wider_than_the_screen(capsys, monkeypatch, engine, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["check", *SWEEP, "--engine", engine("dropped"), "--hidden-size", "17"]) == 1
    assert max(map(len, capsys.readouterr().out.splitlines())) <= int(columns)


@pytest.mark.parametrize("source", sampled(["configs/bidirectional.yaml", "configs/gru.yaml", "configs/lstm.yaml"], 3))
def test_a_spec_with_an_input_of_its_own_is_swept_by_its_usual_engine(rnnspect, source):
    result = rnnspect("check", source, "--sweep", "--chunk", "4")
    assert result.status == 0
    assert "✓ AGREE  torch matches this " in result.out


REFUSED = {
    "--input": ([*SWEEP, "--input", "randn:5"], "--input: cannot be combined with --sweep, which makes its own"),
    "--h0": ([*SWEEP, "--h0", "randn"], "--h0: cannot be combined with --sweep"),
    "--recorded": ([*SWEEP, "--recorded", "y.npy"], "--recorded: cannot be combined with --sweep"),
    "--backward": ([*SWEEP, "--backward"], "--backward: cannot be combined with --sweep"),
    "--split": ([*SWEEP, "--split", "3"], "--split: cannot be combined with --sweep"),
    "--chunk": (["--cell", "gru", "--chunk", "8"], "--chunk: has an effect only with --sweep; add --sweep"),
    "chunk": (["--cell", "gru", "--sweep", "--chunk", "x"], "--chunk: cannot read 'x'; expected whole numbers"),
    "digits": (["--cell", "gru", "--sweep", "--chunk", "9" * 5000], "--chunk: cannot read '9999"),
    "no engine": (SWEEP, "there is nothing to compare with the equations: torch.nn has no MINGRU"),
    "several": (["configs/gru.yaml", "configs/lstm.yaml", "--sweep"], "--sweep: sweeps one network with one engine"),
    "all": (["configs/gru.yaml", "--sweep", "--engine", "all"], "--sweep: sweeps one network with one engine"),
    "live": (["model.py:build", "--sweep"], "model.py:build: a live model runs on inputs of its own"),
    "outside": (["configs/gru.yaml", "--split", "500"], "--split: a split at step 500 of 10 steps; expected 1 to 9"),
    "unread": (["configs/gru.yaml", "--split", "x"], "--split: cannot read 'x'"),
    "split back": (["configs/gru.yaml", "--split", "2", "--backward"], "--backward: cannot be combined with --split"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(rnnspect, case):
    argv, said = REFUSED[case]
    result = rnnspect("check", *argv)
    assert result.status == 2
    assert said in result.err


def test_a_sweep_of_weights_in_a_file(rnnspect, tmp_path):
    lstm = torch.nn.LSTM(3, 4, batch_first=True)
    torch.save(lstm.state_dict(), tmp_path / "model.pt")
    result = rnnspect("check", tmp_path / "model.pt", "--sweep", "--chunk", "4", "-f", "json")
    assert result.status == 0
    found = json.loads(result.out)
    assert found["spec"]["weights"].endswith("model.pt")
    assert {one["verdict"] for one in found["runs"] if one["steps"] > 2} == {"agree"}


def test_a_model_in_onnx_runs_itself(rnnspect, tmp_path):
    model = tmp_path / "lstm.onnx"
    assert rnnspect("convert", "configs/lstm.yaml", "--to", "onnx", "-o", model, "-q").status == 0
    result = rnnspect("check", model, "--sweep", "--chunk", "4", "-q")
    assert result.status == 0
    assert result.out.startswith("✓ AGREE  lstm.onnx matches this LSTM in ")
    assert "torch" not in result.out


@pytest.mark.usefixtures("no_causes")
def test_interrupted_it_says_how_far_it_came(rnnspect, engine, monkeypatch):
    from rnnspect.checking.sweep import sweep

    right, runs = sweep.check_prepared, []

    def until_the_fourth(prepared, *given, **more):
        runs.append(prepared)
        if len(runs) == 4:
            raise KeyboardInterrupt
        return right(prepared, *given, **more)

    monkeypatch.setattr(sweep, "check_prepared", until_the_fourth)
    result = rnnspect("check", *SWEEP, "--engine", engine("right"))
    assert result.status == 130
    assert "stopped after 3 steps, all layers and directions together; so far everything agrees" in result.err
