"""The examples do what the README and docs/ say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnnspect.cli import main

LSTM = ["--cell", "lstm", "--hidden-size", "4", "--input", "randn:12", "--h0", "randn", "--c0", "randn"]


def test_the_readme_s_own_step_is_a_gru_that_resets_before_the_product(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--engine", "examples/mine.py:step", "--format", "json"]
    assert main(["check", "configs/gru.yaml", *own]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["first"]["layer"], found["first"]["step"]) == (0, 0)


def test_a_gru_that_keeps_its_state_agrees_once_and_not_twice(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--engine", "examples/kept.py:Kept", "--format", "json"]
    assert main(["check", "--cell", "gru", "--input", "randn:6", *own]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["identities"] if not one["holds"]] == ["two evaluations"]


def test_the_backward_of_an_lstm_gives_every_gradient(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--backward", "--engine", "examples/lstm_backward.py:backward", "--format", "json"]
    assert main(["check", *LSTM, "--batch", "3", *own]) == 0
    looked_at = json.loads(capsys.readouterr().out)["observed"]
    assert {"dL/dx", "dL/dh0", "dL/dc0", "dL/dweight_hh"} <= {name.split()[-1] for name in looked_at}


def test_the_backward_of_an_lstm_that_forgets_the_forget_gate_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Path("examples/lstm_backward.py").read_text(encoding="utf-8")
    (tmp_path / "wrong.py").write_text(right.replace("dc * f\n", "dc\n"), encoding="utf-8")
    own = ["--backward", "--engine", f"{tmp_path / 'wrong.py'}:backward"]
    assert main(["check", *LSTM, *own]) == 1
    assert "grad-c-carried-without-f" in capsys.readouterr().out


def test_a_port_with_two_mistakes_is_told_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = Path("examples/ported.py").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "ported.py", "exec"), {})
    assert main(["check", "model.pt", "--input", "x.npy", "--recorded", "y.npy", "--format", "json"]) == 1
    causes = json.loads(capsys.readouterr().out)["causes"]
    assert [one["name"] for one in causes] == causes[0]["together"] == ["gate-order", "bias-dropped"]
    assert causes[0]["parameters"] == {"order": "i f o g"}


@pytest.mark.usefixtures("no_causes")
def test_the_chunked_form_agrees_and_one_that_does_not_hand_the_state_on_differs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sweep = ["--cell", "examples/cells/mingru.py:mingru", "--sweep", "--chunk", "16", "--engine"]
    assert main(["check", *sweep, "examples/chunked.py:mingru"]) == 0
    right = Path("examples/chunked.py").read_text(encoding="utf-8")
    lost = tmp_path / "lost.py"
    lost.write_text(right.replace("(h[", "(state[0]["), encoding="utf-8")
    capsys.readouterr()
    assert main(["check", *sweep, f"{lost}:mingru"]) == 1
    assert "step 16 is the first of a chunk of 16" in capsys.readouterr().out
