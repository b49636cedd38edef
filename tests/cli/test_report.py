"""`rnnspect report`: a file from a live run, a recording or a saved run, whole or not at all, and what cannot be."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import rnnspect
from tests.marks import sampled
from tests.reporting.reading import cells_of, data_of, map_of, values_of


def page(path):
    return data_of(path.read_text())


@pytest.mark.parametrize("config", ["lstm", "gru", "bidirectional", "packed", "projected", "by-hand", "notebook"])
def test_every_kind_of_network_has_a_page(rnnspect, config, tmp_path):
    result = rnnspect("report", f"configs/{config}.yaml", "-o", tmp_path / "report.html")
    assert (result.status, result.out) == (0, "")
    assert result.err.startswith(f"wrote {tmp_path / 'report.html'}\nagree: ")
    assert page(tmp_path / "report.html")["verdict"]["verdict"] == "agree"


def test_without_a_file_it_goes_to_stdout(rnnspect):
    result = rnnspect("report", "--cell", "gru", "-q")
    assert (result.status, result.err) == (0, "")
    assert data_of(result.out)["spec"]["cell"] == "gru"


def test_a_terminal_gets_no_page(rnnspect, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    result = rnnspect("report")
    assert (result.status, result.out) == (2, "")
    assert result.err == "error: report needs an output file: -o report.html\n"


@pytest.mark.parametrize("config", sampled(["lstm", "gru", "bidirectional", "packed"], 2))
def test_a_saved_run_is_that_run(rnnspect, config, tmp_path):
    """As the engine gave it: not what it would give now."""
    assert rnnspect("trace", f"configs/{config}.yaml", "-q", "-o", tmp_path / "run.npz").status == 0
    assert rnnspect("report", f"configs/{config}.yaml", "-o", tmp_path / "live.html").status == 0
    result = rnnspect("report", tmp_path / "run.npz", "-o", tmp_path / "saved.html")
    assert result.status == 0, result.err
    live, saved = page(tmp_path / "live.html"), page(tmp_path / "saved.html")
    assert saved["recorded"]
    assert saved["verdict"]["verdict"] == "agree"
    for at, layer in enumerate(live["layers"]):
        for one in layer["maps"]:
            expected, shown = (values_of(data, at, one["quantity"], one["shown"]) for data in (live, saved))
            if one["shown"] == "ratio":  # the check of a recording asks for the same, in another order of sums
                np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-9)
            else:
                np.testing.assert_array_equal(shown, expected)


def test_one_engine_of_a_saved_run_of_several(rnnspect, tmp_path):
    engines = ["--engine", "torch", "--engine", "torch-cell"]
    rnnspect("trace", "configs/bidirectional.yaml", *engines, "-q", "-o", tmp_path / "run.npz")
    argv = ["report", tmp_path / "run.npz", "-o", tmp_path / "report.html"]
    refused = rnnspect(*argv)
    assert refused.status == 2
    assert "a run of several engines; expected --engine torch or torch-cell" in refused.err
    assert rnnspect(*argv, "--engine", "onnxruntime").status == 2
    assert rnnspect(*argv, "--engine", "torch-cell").status == 0
    shown = values_of(page(tmp_path / "report.html"), 1, "h", "engine")
    kept = np.load(tmp_path / "run.npz")
    assert shown.shape == kept["l0.reverse.engine.torch-cell.h"].shape[1:]
    np.testing.assert_array_equal(shown, kept["l0.reverse.engine.torch-cell.h"][0])


@pytest.mark.usefixtures("no_causes")
def test_a_saved_run_that_was_changed_differs(rnnspect, tmp_path):
    rnnspect("trace", "--cell", "lstm", "--input", "randn:9", "-q", "-o", tmp_path / "run.npz")
    arrays = dict(np.load(tmp_path / "run.npz"))
    arrays["l0.forward.engine.h"][0, 6, 1] += 0.5
    arrays["engine.output"][0, 6, 1] += 0.5
    np.savez(tmp_path / "run.npz", **arrays)
    result = rnnspect("report", tmp_path / "run.npz", "-o", tmp_path / "report.html")
    assert "differ: run.npz does not match this LSTM" in result.err
    first = page(tmp_path / "report.html")["verdict"]["first"]
    assert (first["step"], first["unit"]) == (6, 1)


@pytest.mark.usefixtures("no_causes")
def test_a_recording_shows_the_item_that_differs(rnnspect, tmp_path):
    flags = ["--cell", "gru", "--input", "randn:6", "--batch", "3"]
    output = output_of_torch(cell="gru", input="randn:6", batch=3)
    output[2, 4, 0] += 1
    np.save(tmp_path / "mine.npy", output)
    recorded = ["--recorded", tmp_path / "mine.npy", "-o", tmp_path / "report.html"]
    assert rnnspect("report", *flags, *recorded).status == 0
    assert page(tmp_path / "report.html")["item"] == 2
    assert rnnspect("report", *flags, *recorded, "--batch-index", "1").status == 0
    shown = page(tmp_path / "report.html")
    np.testing.assert_array_equal(values_of(shown, 0, "h", "engine"), output[1])


def output_of_torch(**spec):
    return rnnspect.trace(rnnspect.Spec(**spec)).output.engine.numpy().copy()


def test_of_a_run_too_long_for_one_file_the_steps_that_are_asked_for_are_kept(rnnspect, tmp_path, monkeypatch):
    monkeypatch.setattr("rnnspect.reporting.keeping._EVERYTHING", 0)
    flags = ["--input", "randn:500", "--cell", "lstm", "-o", tmp_path / "report.html"]
    rnnspect("report", *flags, "--steps", "7,100:103,-1")
    assert page(tmp_path / "report.html")["kept"] == [7, 100, 101, 102, 499]
    rnnspect("report", *flags)
    kept = page(tmp_path / "report.html")["kept"]
    assert len(kept) == 64
    assert {0, 499} < set(kept)


def test_another_engine_is_named(rnnspect, tmp_path):
    assert rnnspect("report", "--cell", "gru", "--engine", "torch-cell", "-o", tmp_path / "report.html").status == 0
    shown = page(tmp_path / "report.html")
    assert shown["engine"]["name"] == "torch-cell"
    assert shown["command"] == "--cell gru --engine torch-cell"


WRONG = {
    "an engine beside a recording": ["--engine", "torch", "--recorded", "x.npy"],
    "no such step": ["--steps", "99"],
    "beyond an item": ["configs/packed.yaml", "--batch-index", "2", "--steps", "4"],
    "too many steps": ["--input", "randn:100", "--steps", "0:65"],
    "no such item": ["--batch-index", "1"],
    "no such folder": ["-o", "no/such/report.html"],
    "another suffix": ["-o", "report.pdf"],
    "a live model": ["model.py:build"],
    "no such arithmetic": ["--arithmetic", "float33"],
    "no such file": ["nowhere.npz"],
}


@pytest.mark.parametrize("argv", WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_said_in_a_line(rnnspect, argv, tmp_path):
    result = rnnspect("report", *([] if "-o" in argv else ["-o", tmp_path / "report.html"]), *argv)
    assert (result.status, result.out) == (2, "")
    assert "error: " in result.err
    assert "fault of rnnspect" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_flags_beside_a_saved_run_are_refused(rnnspect, tmp_path):
    rnnspect("trace", "-q", "-o", tmp_path / "run.npz")
    for flags in (["--cell", "lstm"], ["--engine", "torch"], ["--recorded", "x.npy"]):
        result = rnnspect("report", tmp_path / "run.npz", *flags)
        assert (result.status, result.out) == (2, "")
        assert flags[0] in result.err


def test_two_runs_stand_beside_each_other(rnnspect, tmp_path, monkeypatch):
    """Two files, a file beside an engine, or two engines."""
    monkeypatch.chdir(tmp_path)
    for name in ("torch", "torch-cell"):
        rnnspect("trace", "--cell", "lstm", "--engine", name, "-q", "-o", f"{name}.npz")
    of_both = {
        "torch.npz torch-cell.npz": ["torch.npz", "torch-cell.npz"],
        "--cell lstm --engine torch --engine torch-cell": ["torch", "torch-cell"],
        "--cell lstm --engine torch-cell --engine torch": ["torch-cell", "torch"],
        "--cell lstm --engine torch-cell --recorded torch.npz": ["torch-cell", "torch.npz"],
        "--cell lstm --recorded torch.npz --recorded torch-cell.npz": ["torch.npz", "torch-cell.npz"],
    }
    for argv, names in of_both.items():
        result = rnnspect("report", *argv.split(), "-o", "report.html")
        assert result.status == 0, result.err
        shown = page(tmp_path / "report.html")
        assert [shown["name"], *(one["name"] for one in shown["beside"])] == names
        assert [line.split()[1] for line in result.err.splitlines() if line.startswith("agree: ")] == names
        both = [values_of(one, 0, "h", "engine") for one in (shown, shown | shown["beside"][0])]
        expected = [np.load(f"{name.removesuffix('.npz')}.npz")["engine.output"][0] for name in names]
        np.testing.assert_array_equal(both, expected)
    several = rnnspect("report", "torch.npz", "torch-cell.npz", "torch.npz", "-o", "report.html")
    assert several.status == 2
    assert "3 runs in one page; expected at most 2" in several.err


SPECS = {
    "no JSON": "{",
    "no mapping": "[1]",
    "no spec": '{"cell": "lstmm"}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", SPECS.values(), ids=SPECS)
def test_a_saved_run_with_a_broken_spec(rnnspect, text, tmp_path):
    np.savez(tmp_path / "run.npz", spec=np.array(text), x=np.zeros((1, 3, 5)), h0=np.zeros((1, 1, 2)))
    result = rnnspect("report", tmp_path / "run.npz")
    assert (result.status, result.out) == (2, "")
    assert str(tmp_path / "run.npz") in result.err
    assert "fault of rnnspect" not in result.err


@pytest.mark.parametrize("arrays", [{}, {"x": np.zeros((3, 5)), "h0": np.zeros((1, 1, 2))}, {"x": np.zeros((1, 3, 5))}])
def test_a_saved_run_without_its_arrays(rnnspect, arrays, tmp_path):
    np.savez(tmp_path / "run.npz", spec=np.array("{}"), **arrays)
    result = rnnspect("report", tmp_path / "run.npz")
    assert (result.status, result.out) == (2, "")
    assert "fault of rnnspect" not in result.err


def test_the_library_writes_the_same_file(tmp_path):
    module = torch.nn.LSTM(3, 4, batch_first=True)
    x = torch.randn(2, 5, 3)
    made = rnnspect.report(module, x, path=tmp_path / "report.html", batch_index=1, steps=[4, 2])
    assert made.verdict.agrees
    shown = page(tmp_path / "report.html")
    assert (shown["item"], shown["command"], shown["whole"]) == (1, None, True)
    np.testing.assert_array_equal(values_of(shown, 0, "h", "engine"), module(x)[0][1].detach().numpy())


@pytest.mark.usefixtures("no_causes")
def test_the_library_shows_a_second_run_beside_the_first(tmp_path):
    """Another engine, a function of the user's own, or what somebody's implementation gave."""
    module, x = torch.nn.LSTM(3, 4), torch.randn(5, 3)
    output = module(x)[0].detach()
    wrong = output.clone()
    wrong[3, 2] += 0.25
    of_both = [
        ({"beside": "torch-cell"}, [("torch", "agree"), ("torch-cell", "agree")]),
        ({"engine": "torch-cell", "beside": "torch"}, [("torch-cell", "agree"), ("torch", "agree")]),
        ({"beside": wrong}, [("torch", "agree"), ("the recording", "differ")]),
        ({"recorded": wrong, "beside": "torch"}, [("the recording", "differ"), ("torch", "agree")]),
        ({"recorded": output, "beside": {"output": wrong}},
         [("the first recording", "agree"), ("the second recording", "differ")]),
    ]  # fmt: skip
    for given, expected in of_both:
        made = rnnspect.report(module, x, path=tmp_path / "report.html", **given)
        assert [(run.name, run.verdict.verdict) for run in made.runs] == expected
        shown = page(tmp_path / "report.html")
        assert [shown["name"], shown["beside"][0]["name"]] == [name for name, _ in expected]
        both = [values_of(one, 0, "h", "engine") for one in (shown, shown | shown["beside"][0])]
        for (_, verdict), found in zip(expected, both, strict=True):
            np.testing.assert_allclose(found, output if verdict == "agree" else wrong, rtol=0, atol=1e-6)
    own = rnnspect.report(module, x, path=tmp_path / "report.html", beside=lambda x, state: module(x, state))
    assert own.runs[1].verdict.agrees


def test_the_answer_names_the_file_of_a_recording(rnnspect, tmp_path, monkeypatch):
    """As `check` does: on the screen and on the page."""
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", output_of_torch(cell="gru", input="randn:6"))
    flags = ["--cell", "gru", "--input", "randn:6", "--recorded", "mine.npy"]
    result = rnnspect("report", *flags, "-o", "report.html")
    assert "agree: mine.npy matches this GRU" in result.err
    assert "mine.npy matches this GRU" in rnnspect("check", *flags).out
    shown = page(tmp_path / "report.html")
    assert shown["name"] == "mine.npy"
    assert shown["verdict"]["summary"].startswith("agree: mine.npy matches this GRU (")


def test_the_library_refuses_what_it_cannot_show(tmp_path):
    with pytest.raises(rnnspect.InputError, match="batch_index: no batch item 3"):
        rnnspect.report(rnnspect.Spec(), path=tmp_path / "report.html", batch_index=3)
    with pytest.raises(rnnspect.InputError, match="steps: no step at all"):
        rnnspect.report(rnnspect.Spec(), path=tmp_path / "report.html", steps=[])
    with pytest.raises(rnnspect.InputError, match="steps: no step 3 in batch item 0; expected 0 to 2"):
        rnnspect.report(rnnspect.Spec(), path=tmp_path / "report.html", steps=[3])
    with pytest.raises(rnnspect.InputError, match=r"beside: unknown engine 'torhc'.* did you mean 'torch'"):
        rnnspect.report(rnnspect.Spec(), path=tmp_path / "report.html", beside="torhc")
    with pytest.raises(rnnspect.SequenceError, match="beside: output has 2 steps, the default input has 3"):
        rnnspect.report(rnnspect.Spec(), path=tmp_path / "report.html", beside=np.zeros((2, 2)))
    with pytest.raises(rnnspect.FileError, match="does not exist"):
        rnnspect.report(rnnspect.Spec(), path=tmp_path / "none" / "report.html")
    with pytest.raises(rnnspect.SpecError):
        rnnspect.report(torch.nn.Sequential(torch.nn.Linear(3, 4)), path=tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_how_a_recording_was_rounded_may_be_said(rnnspect, tmp_path):
    argv = ("--cell", "rnn", "-i", "ones:4", "--hidden-size", "2", "--input-size", "3")
    np.save(tmp_path / "y.npy", np.zeros((4, 2), np.float32))
    recorded = ("report", *argv, "--recorded", tmp_path / "y.npy", "-o", tmp_path / "report.html")
    refused = rnnspect(*recorded, "--recorded-as", "decimal")
    assert refused.status == 2
    assert "--recorded-as: no way of rounding is called 'decimal'" in refused.err
    assert rnnspect(*recorded, "--recorded-as", "exact").status == 0
    assert page(tmp_path / "report.html")["verdict"]["verdict"] == "differ"
    alone = rnnspect("report", *argv, "--recorded-as", "exact", "-o", tmp_path / "report.html")
    assert alone.status == 2
    assert "--recorded-as: needs --recorded FILE" in alone.err


def test_gradients_are_shown_where_they_are_asked_for(rnnspect, tmp_path):
    path = tmp_path / "report.html"
    result = rnnspect("report", "configs/gru.yaml", "--backward", "--loss", "mean", "-o", path)
    assert result.status == 0, result.err
    assert page(path)["loss"]["asked"] == "mean"
    assert (
        rnnspect("trace", "configs/gru.yaml", "--backward", "--loss", "mean", "-q", "-o", tmp_path / "g.npz").status
        == 0
    )
    kept = np.load(tmp_path / "g.npz")
    for quantity in ("x", "r", "z", "n", "h"):
        values, _ = cells_of(map_of(page(path), 0, quantity, "gradient"))
        np.testing.assert_array_equal(values, kept[f"l0.forward.grad.{quantity}"][0])


def test_a_saved_run_has_the_gradients_of_its_equations(rnnspect, tmp_path):
    assert rnnspect("trace", "configs/lstm.yaml", "-q", "-o", tmp_path / "run.npz").status == 0
    for source, made in (("configs/lstm.yaml", "live.html"), (tmp_path / "run.npz", "saved.html")):
        assert rnnspect("report", source, "--backward", "-o", tmp_path / made).status == 0
    live, saved = page(tmp_path / "live.html"), page(tmp_path / "saved.html")
    assert map_of(live, 0, "f", "gradient") == map_of(saved, 0, "f", "gradient")
    assert saved["command"] == ""  # no command derives it: the page says none


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--loss", "mean"), "error: --loss: a loss is for gradients; add --backward\n"),
        (("--backward", "--loss", "summ"), "error: --loss: there is no loss or file 'summ'; expected sum, "),
    ],
)
def test_a_loss_that_cannot_be_is_said_in_a_line(rnnspect, tmp_path, argv, said):
    result = rnnspect("report", "--cell", "rnn", *argv, "-o", tmp_path / "report.html")
    assert result.status == 2
    assert result.err.startswith(said)
    assert not (tmp_path / "report.html").exists()


def test_the_library_refuses_a_loss_without_gradients(tmp_path):
    with pytest.raises(rnnspect.InputError, match="loss: a loss is for gradients; pass backward=True"):
        rnnspect.report(rnnspect.Spec(cell="rnn"), path=tmp_path / "report.html", loss="mean")
