"""Several engines at once, and what a run keeps for an implementation in another language."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rnnspect import engines
from rnnspect.errors import EngineError

BOTH = ["--engine", "torch", "--engine", "torch-cell"]
SOURCE = Path("examples/lstm.c")


def test_two_engines_stand_side_by_side(rnnspect):
    result = rnnspect("trace", "--cell", "gru", *BOTH)
    assert result.status == 0
    assert result.out.count("h (torch)") == result.out.count("h (torch-cell)") == 3
    assert re.search(r"^torch-cell (matches|gives the same)", result.out, re.MULTILINE)


def test_two_engines_are_a_list_of_documents(rnnspect):
    documents = json.loads(rnnspect("trace", "--cell", "gru", *BOTH, "--format", "json").out)
    assert [document["engine"]["name"] for document in documents] == ["torch", "torch-cell"]
    assert documents[0]["layers"][0]["quantities"] == documents[1]["layers"][0]["quantities"]
    alone = json.loads(rnnspect("trace", "--cell", "gru", "--engine", "torch-cell", "--format", "json").out)
    assert alone == documents[1]


def test_the_arrays_of_two_engines_have_their_names(rnnspect, tmp_path):
    file = tmp_path / "both.npz"
    assert rnnspect("trace", "--cell", "gru", *BOTH, "-o", file, "-q").status == 0
    kept = np.load(file)
    assert {"l0.forward.engine.torch.h", "engine.torch-cell.output", "manual.h_n"} <= set(kept)


@pytest.fixture
def all_but_one(monkeypatch):
    """Three engines, one of them of a framework that nobody has."""
    right = engines.find

    def find(name, where=None):
        if name == "keras":
            raise EngineError("keras cannot be loaded: keras is not installed; run pip install 'rnnspect[keras]'")
        return right(name, where)

    monkeypatch.setattr(engines, "names", lambda: ["torch", "torch-cell", "keras"])
    monkeypatch.setattr(engines, "find", find)


def test_of_all_engines_those_that_cannot_are_left_out(rnnspect, all_but_one):
    result = rnnspect("check", "configs/projected.yaml", "--engine", "all")
    assert result.status == 0
    assert re.findall(r"^(agree|differ|skipped) ", result.out, re.MULTILINE) == ["agree", "skipped", "skipped"]
    said = " ".join(result.out.split())
    assert "pip install 'rnnspect[keras]'" in said
    assert "torch.nn.LSTMCell has none" in said


def test_one_engine_by_name_that_cannot_is_bad_input(rnnspect, all_but_one):
    for name in ("keras", "torch-cell"):
        result = rnnspect("check", "configs/projected.yaml", "--engine", name)
        assert result.status == 2
        assert len(result.err.splitlines()) == 1


def test_who_is_left_out_says_so_in_every_format(rnnspect, all_but_one):
    documents = json.loads(rnnspect("check", "configs/lstm.yaml", "--engine", "all", "--format", "json").out)
    assert [document["verdict"] for document in documents] == ["agree", "agree", None]
    assert "pip install" in documents[2]["skipped"]
    suite = ElementTree.fromstring(rnnspect("check", "configs/lstm.yaml", "--engine", "all", "--format", "junit").out)
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "0", "1")
    traced = rnnspect("trace", "configs/lstm.yaml", "--engine", "all")
    assert traced.status == 0
    assert traced.err.startswith("note: keras cannot be loaded")


def test_with_parameters_wants_a_file_that_holds_them(rnnspect, tmp_path):
    for file in ([], ["-o", tmp_path / "case.json"]):
        result = rnnspect("run", "--with-parameters", *file)
        assert result.status == 2
        assert "--with-parameters: needs an output file: -o case.npz" in result.err


@pytest.fixture
def case(rnnspect, tmp_path):
    network = ["--cell", "lstm", "--hidden-size", 8, "--batch", 2, "-i", "randn:50", "--h0", "randn", "--c0", "randn"]
    file = tmp_path / "case.npz"
    assert rnnspect("run", *network, "-o", file, "--with-parameters", "-q").status == 0
    return file


def test_a_case_is_a_checkpoint_with_its_own_input(rnnspect, case):
    kept = np.load(case)
    assert {"x", "h0", "c0", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"} <= set(kept)
    inputs = ["-i", f"{case}:x", "--h0", f"{case}:h0", "--c0", f"{case}:c0"]
    assert rnnspect("check", case, *inputs, "-q").status == 0


@pytest.mark.skipif(shutil.which("cc") is None, reason="skipped: this machine has no C compiler")
@pytest.mark.parametrize(
    ("right", "wrong", "status"),
    [
        (None, None, 0),
        ("gates[H + j]) * ct[j] + sigmoid(gates[j])", "gates[j]) * ct[j] + sigmoid(gates[H + j])", 1),
        ("b_ih[g] + b_hh[g]", "b_ih[g]", 1),
    ],
    ids=["right", "i and f exchanged", "b_hh lost"],
)
def test_the_round_trip_through_c(rnnspect, case, tmp_path, right, wrong, status):
    code = SOURCE.read_text()
    if right:
        assert right in code
        code = code.replace(right, wrong)
    (tmp_path / "lstm.c").write_text(code)
    program, folder = tmp_path / "lstm", tmp_path / "case"
    compiled = ["cc", "-O2", "-Wall", "-Wextra", "-o", program, tmp_path / "lstm.c", "-lm"]
    subprocess.run(compiled, check=True, capture_output=True)
    with zipfile.ZipFile(case) as archive:
        archive.extractall(folder)
    subprocess.run([program, folder], check=True)
    inputs = ["-i", f"{case}:x", "--h0", f"{case}:h0", "--c0", f"{case}:c0"]
    result = rnnspect("check", case, *inputs, "--recorded", folder / "y.npy", "--format", "json", "-q")
    assert result.status == status
    if status:
        assert json.loads(result.out)["first"]["step"] == 0


def test_names_are_those_of_files_that_define_an_engine():
    assert engines.names()[:3] == ["torch", "torch-cell", "torch-compile"]
    assert {"onnxruntime", "onnx-reference", "keras", "flax", "openvino", "equinox"} <= set(engines.names())
    assert not any(name.startswith(("_", "-")) for name in engines.names())
