"""A live model, path/to/model.py:build, in the commands that show a run: its first recurrent module, as it ran."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("no_causes")

MODEL = """
import torch
from torch import nn

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, 4)
        self.rnn = nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True)
        self.cell = nn.GRUCell(12, 3)
        self.unused = nn.RNN(2, 2)
        self.out = nn.Linear(3, 2)

    def forward(self, tokens):
        y, _ = self.rnn(self.embed(tokens))
        h = y.new_zeros(len(y), 3)
        for t in range(y.shape[1]):
            h = self.cell(y[:, t], h)
        return self.out(h)

class Spoilt(Tagger):
    def __init__(self):
        super().__init__()
        self.rnn.register_forward_hook(lambda _module, _given, out: (out[0] * 1.01, out[1]))

def numbers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.GRU(5, 3))

class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(7, 3, batch_first=True)

    def forward(self, x):
        lengths = torch.tensor([2, x.shape[1]])
        return self.rnn(nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False))

class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.rnn = nn.Conv1d(12, 8, 3, padding=1), nn.LSTM(8, 5, batch_first=True)

    def forward(self, x):
        print("a model that prints")
        return self.rnn(self.conv(x.transpose(1, 2)).transpose(1, 2))

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4)

    def forward(self, source, target, scale=1.0):
        return self.rnn(source + target)

class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4)

    def forward(self, x):
        return self.rnn(x.view(7, 11, 3))

def no_rnn():
    return nn.Linear(3, 2)
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


@pytest.fixture
def built(model):
    """The objects of the file, and token ids that it can take, in a .npy file."""
    made: dict = {}
    exec(MODEL, made)
    tokens = np.random.default_rng(0).integers(0, 50, (2, 9))
    np.save(model.parent / "tokens.npy", tokens)
    return made["Tagger"]().eval(), torch.from_numpy(tokens), model.parent / "tokens.npy"


def document(rnnspect, *argv):
    result = rnnspect(*argv, "--format", "json", "-q")
    assert result.status == 0, result.err
    return json.loads(result.out)


@torch.no_grad()
def test_a_trace_shows_what_the_module_received_and_returned_in_the_model(rnnspect, model, built):
    tagger, tokens, path = built
    x = tagger.embed(tokens)
    y, (h_n, c_n) = tagger.rnn(x)
    shown = document(rnnspect, "trace", f"{model}:Tagger", "--input", path)
    assert shown["spec"]["cell"] == "lstm"
    layers = {(layer["layer"], layer["direction"]): layer for layer in shown["layers"]}
    assert torch.equal(torch.tensor(layers[0, "forward"]["quantities"]["x"]), x)
    # the same module on the same numbers: the same bits, whatever kernel runs
    assert torch.equal(torch.tensor(shown["output"]["engine"]), y)
    assert torch.equal(torch.tensor(shown["h_n"]["engine"]), h_n)
    assert torch.equal(torch.tensor(shown["c_n"]["engine"]), c_n)
    assert all(layer["engine"] for layer in layers.values()), "the layers below the top are shown, too"
    assert shown["max_abs_difference"] < 1e-5  # |h| < 1 and some hundred roundings of 6e-8 each


@torch.no_grad()
def test_the_calls_of_a_cell_are_shown_as_the_steps_of_one_run(rnnspect, model, built):
    tagger, tokens, path = built
    y, _ = tagger.rnn(tagger.embed(tokens))
    h, steps = torch.zeros(2, 3), []
    for t in range(9):
        h = tagger.cell(y[:, t], h)
        steps.append(h)
    result = rnnspect("trace", f"{model}:Tagger", "--input", path, "--module", "ce*", "--format", "json")
    assert "this is cell (GRUCell), its 9 calls as 9 steps; choose another with --module: 'rnn'" in result.err
    assert torch.equal(torch.tensor(json.loads(result.out)["output"]["engine"]), torch.stack(steps, 1))


@torch.no_grad()
def test_run_gives_what_the_module_returned(rnnspect, model, built):
    tagger, tokens, path = built
    out = model.parent / "out.npz"
    assert rnnspect("run", f"{model}:Tagger", "-i", path, "-o", out, "-q", "--with-parameters").status == 0
    arrays, (y, (h_n, _)) = np.load(out), tagger.rnn(tagger.embed(tokens))
    assert np.array_equal(arrays["output"], y)
    assert np.array_equal(arrays["h_n"], h_n)
    assert np.array_equal(arrays["weight_hh_l1_reverse"], tagger.rnn.weight_hh_l1_reverse)


@torch.no_grad()
def test_a_derivation_has_the_modules_own_number_beside_it(rnnspect, model, built):
    tagger, tokens, path = built
    y, _ = tagger.rnn(tagger.embed(tokens))
    where = ("--layer", "1", "--step", "4", "--unit", "2", "--batch-index", "1")
    shown = document(rnnspect, "derive", f"{model}:Tagger", "-i", path, *where)
    assert shown["point"]["engine"] == y[1, 4, 2].item()
    assert 0 < shown["point"]["bound"] < 1e-4
    assert shown["point"]["ratio"] <= 1


def test_a_report_judges_the_call_as_the_check_does(rnnspect, model, built):
    page = model.parent / "report.html"
    _, _, path = built
    right = rnnspect("report", f"{model}:Tagger", "-i", path, "-o", page)
    assert right.status == 0
    assert "agree" in right.err
    assert f"{model}:Tagger --input {path}" in page.read_text(), "commands that derive more name the model"
    wrong = rnnspect("report", f"{model}:Spoilt", "-i", path, "-o", page)
    assert "differ" in wrong.err
    assert rnnspect("check", f"{model}:Spoilt", "-i", path, "--module", "rnn").status == 1
    checked = rnnspect("check", f"{model}:Spoilt", "-i", path, "--module", "cell")
    assert checked.status == 0
    assert checked.out.startswith("agree  "), checked.out


def test_lengths_are_those_of_the_packed_batch_in_the_model(rnnspect, model):
    shown = document(rnnspect, "trace", f"{model}:Packed", "--input", "randn:5", "--batch", "2")
    assert shown["spec"]["input_size"] == 7, "as many features as the first layer reads"
    assert shown["output"]["engine"][0][2] is None


def test_tokens_are_drawn_below_the_rows_of_the_embedding(rnnspect, model):
    for command in ("trace", "check"):
        result = rnnspect(command, f"{model}:Tagger")
        assert result.status == 0
        said = "randint:20:50 with the shape (2, 20) was drawn for the model's first layer, embed (Embedding(50, 4))"
        assert said in result.err
    assert "it ran on a batch of shape (2, 9)" in rnnspect("run", f"{model}:Tagger", "-i", "randint:9:50").err
    one = rnnspect("run", f"{model}:Tagger", "-i", "randint:20:50", "--batch", "2", "--format", "json", "-q")
    assert one.out == rnnspect("run", f"{model}:Tagger", "--format", "json", "-q").out
    assert one.out != rnnspect("run", f"{model}:Tagger", "--seed", "9", "--format", "json", "-q").out


def test_numbers_are_drawn_for_a_layer_that_reads_them(rnnspect, model):
    result = rnnspect("trace", f"{model}:numbers", "--format", "json")
    assert "randn:20 with the shape (20, 2, 7) was drawn for the model's first layer, 0 (Linear(" in result.err
    assert len(json.loads(result.out)["output"]["engine"]) == 2
    for command in ("check", "trace"):
        result = rnnspect(command, f"{model}:Convolved", "--format", "json")
        assert json.loads(result.out), "what the model prints is no part of it"
        assert "a model that prints" in result.err
    convolved = document(rnnspect, "run", f"{model}:Convolved")
    assert (len(convolved["output"]), len(convolved["output"][0])) == (2, 20)


def test_shapes_show_the_tree_of_modules_and_open_the_recurrent_ones(rnnspect, model, built):
    tagger, _, _ = built
    shown = document(rnnspect, "shapes", f"{model}:Tagger")
    assert [part["name"] for part in shown["modules"]] == [name for name, _ in tagger.named_modules()]
    counts = [sum(p.numel() for p in module.parameters()) for module in tagger.modules()]
    assert [part["count"] for part in shown["modules"]] == counts
    for one in shown["recurrent"]:
        own = {name: list(p.shape) for name, p in tagger.get_submodule(one["name"]).named_parameters()}
        assert {parameter["name"]: parameter["shape"] for parameter in one["parameters"]} == own
    assert [one["name"] for one in shown["recurrent"]] == ["rnn", "cell", "unused"]
    lines = rnnspect("shapes", f"{model}:Tagger", "--module", "c*").out.splitlines()
    assert [line.split() for line in lines if line.startswith("   cell")] == [
        ["cell", "153", "all", "GRUCell(12,", "3)"]
    ]
    assert [line for line in lines if ": " in line and "(" in line] == ["cell: GRUCell(12, 3)"]
    assert max(map(len, lines)) <= 80
    assert "## rnn" in rnnspect("shapes", f"{model}:Tagger", "-f", "markdown").out
    none = rnnspect("shapes", f"{model}:no_rnn")
    assert "Linear(in_features=3, out_features=2," in none.out
    assert "has no RNN, LSTM, GRU or cell in it" in none.err
    assert "expected 'rnn' (LSTM(" in rnnspect("shapes", f"{model}:Tagger", "--module", "x").err


def test_a_model_alone_says_what_is_in_it(rnnspect, model):
    shown = rnnspect(f"{model}:Tagger")
    assert shown.status == 0
    assert shown.out == rnnspect("about", f"{model}:Tagger").out
    lines = " ".join(shown.out.splitlines())  # the first one is wrapped where the folder's name is long
    for said in ("a live model, Tagger", "GRUCell(12, 3)", f"rnnspect trace   {model}:Tagger"):
        assert said in lines
    assert f"expected {model}:Tagger" in rnnspect(model).err, "a file alone names what it has"


def test_what_is_not_trained_is_said(rnnspect, tmp_path):
    text = "from torch import nn\ndef build():\n    m = nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 2))\n"
    (tmp_path / "model.py").write_text(text + "    m[0].requires_grad_(False)\n    return m\n")
    shown = document(rnnspect, "shapes", f"{tmp_path / 'model.py'}:build")
    assert [(part["count"], part["trainable"]) for part in shown["modules"]] == [(80, 64), (16, 0), (64, 64)]


WRONG = {
    "numbers": (["Tagger", "-i", "randn:20"], "embed (Embedding(50, 4)) got float32 numbers", "randint:20:50"),
    "too large": (["Tagger", "-i", "randint:20:900"], "got integers from", "integers from 0 to 49"),
    "below zero": (["Tagger", "-i", "[[1, -1]]"], "got integers from -1 to 1", "integers from 0 to 49"),
    "two inputs": (["Two"], "Two.forward takes 2 inputs: source, target", "in Python pass a tuple of all inputs as x"),
    "no input that fits": (["Picky"], "running the model failed", "--input randn:20 --input-size 40"),
    "no bound": (["Tagger", "-i", "randint:20"], "needs an upper limit", "randint:20:5000"),
    "no module of that name": (["Tagger", "--module", "rn"], "there is no module 'rn'", "did you mean 'rnn'"),
    "never called": (["Tagger", "--module", "unused"], "'unused' of this model was never called", "model.py:Tagger"),
    "no recurrent module": (["no_rnn"], "the model called no RNN, LSTM, GRU or cell", "model.py:no_rnn"),
    "a network beside it": (
        ["Tagger", "--hidden-size", "3"],
        "--hidden-size: cannot be used with a live model",
        "has its own",
    ),
    "more than memory holds": (
        ["numbers", "-i", f"randn:{10**13}"],
        "drawing randn:10000000000000 would need",
        "is free",
    ),
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("command", ["trace", "run", "derive", "report", "check"])
@pytest.mark.parametrize(("argv", "found", "allowed"), WRONG.values(), ids=WRONG)
def test_what_a_model_does_not_take_says_what_it_does(rnnspect, model, command, argv, found, allowed):
    more = {"derive": ["--step", "0", "--unit", "0"], "report": ["-o", model.parent / "r.html"]}.get(command, [])
    result = rnnspect(command, f"{model}:{argv[0]}", *argv[1:], *more)
    assert result.status == 2
    assert found in result.err
    assert allowed in result.err
    assert "Traceback" not in result.err


def test_whole_numbers_in_a_list_are_tokens_where_the_model_begins_with_an_embedding(rnnspect, model):
    shown = document(rnnspect, "run", f"{model}:Tagger", "--input", "[[4, 8, 15], [16, 23, 42]]")
    assert len(shown["output"][0]) == 3


def test_after_a_call_that_differs_the_report_of_it_is_the_next_command(rnnspect, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ("check", f"{model.name}:Spoilt", "--module", "rnn", "--input", "randint:3:50", "-q")
    told = rnnspect(*argv).out
    (then,) = re.findall(r"  Next     (.*?)\n  [A-Z]", told, re.DOTALL)
    again = rnnspect(*shlex.split(then)[1:])
    assert again.status == 0, again.err
    assert (tmp_path / "report.html").is_file()


@pytest.mark.filterwarnings("ignore")  # torch says that its own quantisation is deprecated
def test_a_quantised_module_is_named_where_no_other_was_called(rnnspect, tmp_path):
    path = tmp_path / "quantised.py"
    path.write_text(
        "import torch\ndef build():\n    model = torch.nn.Sequential(torch.nn.LSTM(3, 4))\n"
        "    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM}, dtype=torch.qint8)\n"
    )
    result = rnnspect("check", f"{path}:build", "-i", "randn:5", "--input-size", "3", "--batch", "1")
    assert result.status == 2
    assert "0 (quantized LSTM) is none of torch.nn: check what it gave as a recording" in result.err


def test_a_command_that_takes_no_live_model_says_which_do(rnnspect, model):
    result = rnnspect("probe", f"{model}:Tagger", "-o", model.parent / "probe.npz")
    assert result.status == 2
    assert "a live model; expected a spec or a file of weights" in result.err
    assert f"{model}:Tagger" in rnnspect("trace", model).err, "a file alone names what it has"
