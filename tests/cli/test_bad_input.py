"""What the user typed wrongly: one message on stderr, status 2, nothing on stdout, nothing written."""

from __future__ import annotations

import pytest

CASES = {
    "unknown flag": (["trace", "--hiden-size", "3"], ["--hiden-size", "--hidden-size"]),
    "unknown command": (["tracee"], ["tracee", "trace"]),
    "flag of a wrong type": (["trace", "--hidden-size", "two"], ["--hidden-size"]),
    "size of zero": (["trace", "--hidden-size", "0"], ["--hidden-size", "0", "1 to"]),
    "negative size": (["trace", "--num-layers", "-1"], ["--num-layers", "-1", "1 to"]),
    "absurd size": (["shapes", "--hidden-size", str(10**30)], ["--hidden-size"]),
    "cell misspelt": (["trace", "--cell", "lstmm"], ["'lstmm'", "rnn, gru, lstm", "did you mean 'lstm'?"]),
    "dtype misspelt": (["trace", "--dtype", "float23"], ["--dtype", "float32"]),
    "projection on a gru": (["trace", "--cell", "gru", "--proj-size", "1"], ["--proj-size", "gru", "lstm"]),
    "projection too wide": (["trace", "--cell", "lstm", "--proj-size", "2"], ["proj_size 2", "hidden_size 2"]),
    "input width": (["trace", "--input", "[[1, 2]]"], ["2 features", "input_size is 5", "(T, 5)"]),
    "ragged rows": (["trace", "--input-size", "2", "--input", "[[1, 2], [3]]"], ["--input[1]", "row"]),
    "no number": (["trace", "--input", '[["a"]]'], ["--input[0][0]", "'a' is not a number"]),
    "generator misspelt": (["trace", "--input", "rampp:3"], ["'rampp:3'", "did you mean 'ramp:3'?"]),
    "generator without steps": (["trace", "--input", "ramp"], ["ramp:3"]),
    "length above T": (["trace", "--batch", "2", "--lengths", "3,4"], ["length 4", "1 to 3"]),
    "length of zero": (["trace", "--batch", "2", "--lengths", "3,0"], ["--lengths", "0"]),
    "lengths for another batch": (["trace", "--batch", "2", "--lengths", "3"], ["1 length for a batch of 2 sequences"]),
    "lengths that are none": (["trace", "--lengths", "a,b"], ["'a,b'", "5,3,2"]),
    "h0 of a wrong shape": (["trace", "--h0", "[[1, 2, 3]]"], ["--h0", "(1, 3)", "(layers, units) = (1, 2)"]),
    "h0 for two directions": (
        ["trace", "--bidirectional", "--batch", "2", "--h0", "[[[1, 2]]]"],
        ["(1, 1, 2)", "(layers × directions, batch, units) = (2, 2, 2)"],
    ),
    "c0 on an rnn": (["trace", "--c0", "zeros"], ["--c0", "no cell state"]),
    "missing file": (["trace", "--input", "nothing.npy"], ["nothing.npy", "no such file"]),
    "neither file nor generator": (["trace", "--input", "hello"], ["--input", "no file or generator", "randn:20"]),
    "missing spec": (["trace", "nothing.yaml"], ["nothing.yaml", "no such file"]),
    "unknown suffix": (["trace", "--input", "pyproject.toml"], ["'.toml'", ".npy"]),
    "device misspelt": (["trace", "--device", "cpuu"], ["'cpuu'", "did you mean 'cpu'?"]),
    "parameters too large": (["trace", "--hidden-size", "1000000"], ["would need", "TiB"]),
    "input too large": (["trace", "--input", "ramp:1000000000000"], ["would need", "TiB"]),
    "step out of range": (["trace", "--steps", "3"], ["no step 3", "0 to 2, or -1 for the last"]),
    "steps out of range": (["trace", "--steps", "7:"], ["no steps 7:", "0 to 2"]),
    "steps that are none": (["trace", "--steps", "x:"], ["'x:'", "0:10,95:"]),
    "quantity misspelt": (["trace", "--quantities", "input_projektion"], ["did you mean 'input_projection'?"]),
    "direction that is not there": (["trace", "--direction", "reverse"], ["'reverse'", "forward"]),
    "batch item that is not there": (["trace", "--batch-index", "1"], ["--batch-index", "1"]),
    "format misspelt": (["trace", "--format", "jsom"], ["'jsom'", "did you mean 'json'?"]),
    "arrays of shapes": (["shapes", "-o", "x.npz"], ["--output", "npz"]),
    "folder that is not there": (["trace", "-o", "no/such/folder/x.npz"], ["no/such/folder"]),
}


def assert_refused(result, expected):
    """With nothing on stdout, and with the expected parts in the error's text."""
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    for part in expected:
        assert part in result.err


@pytest.mark.parametrize(("argv", "expected"), CASES.values(), ids=CASES.keys())
def test_message(rnnspect, argv, expected):
    assert_refused(rnnspect(*argv), expected)


def test_every_wrong_key_is_said_at_once_with_its_place(rnnspect, tmp_path):
    spec = tmp_path / "net.yaml"
    spec.write_text("cell: lstm\nhiden_size: 3\nnum_layers: 0\nbias: maybe\nlengths: [3, x]\n")
    result = rnnspect("trace", spec)
    assert result.status == 2
    assert f"{spec}:2:1: unknown key 'hiden_size'" in result.err
    assert "did you mean 'hidden_size'?" in result.err
    assert f"{spec}:3:1: num_layers is 0" in result.err
    assert f"{spec}:4:1: bias is the text 'maybe'; expected true or false" in result.err
    assert f"{spec}:5:14" in result.err


def test_a_wrong_flag_over_a_file_is_said_of_the_flag(rnnspect):
    assert "--cell: " in rnnspect("trace", "configs/lstm.yaml", "--cell", "gruu").err


def test_nothing_is_written_when_the_input_is_bad(rnnspect, tmp_path):
    out = tmp_path / "out.npz"
    assert rnnspect("run", "--input", "[[1]]", "-o", out).status == 2
    assert list(tmp_path.iterdir()) == []


def test_control_characters_and_markup_are_shown_never_obeyed(rnnspect):
    result = rnnspect("trace", "\x1b[31m[red]nothing[/red]\x07.yaml")
    assert result.status == 2
    assert "\\x1b[31m[red]nothing[/red]\\x07.yaml" in result.err
    assert "\x1b" not in result.err


def test_a_fault_of_ours_is_no_traceback(rnnspect, monkeypatch):
    def broken(_spec: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("rnnspect.network.shapes.shapes_of", broken)
    result = rnnspect("shapes")
    assert result.status == 4
    assert "ZeroDivisionError: planted" in result.err
    assert "test_bad_input.py" in result.err
    assert "report" in result.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("shapes --layers 2", "error: unknown option --layers; did you mean --num-layers?"),
        ("derive --recorded y.npy", "error: unknown option --recorded of derive; it is an option of report, check"),
        (
            "schema --cell lstm",
            "error: unknown option --cell of schema; it is an option of shapes, run, trace and 6 more",
        ),
        ("trace --hidden-size", "error: --hidden-size needs a value"),
        ("trace --hidden-size x", "error: --hidden-size: expected a whole number"),
        ("trace --dropout x", "error: --dropout: expected a number"),
        ("convert --to onnx", "error: --output is missing: File to write: model.onnx, model.weights.h5, …"),
    ],
)
def test_what_is_wrong_with_an_option_is_said_in_plain_words(argv: str, said: str, rnnspect) -> None:
    result = rnnspect(*argv.split())
    assert (result.status, result.out, result.err.splitlines()[0]) == (2, "", said)


@pytest.mark.parametrize(
    "argv",
    [
        "trace grru.yaml",
        "check gru.yml",
        "trace grru.yaml:encoder",
        "check --engine gruu.py:step",
        "check gruu.py",
        "check gru.yaml --recorded x.nyp",
        "trace --input xx.npy",
    ],
)
def test_a_file_that_is_not_there_names_the_one_that_is(argv: str, rnnspect, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gru.yaml", "gru.py", "x.npy"):
        (tmp_path / name).write_bytes(b"cell: gru\n")
    result = rnnspect(*argv.split())
    assert result.status == 2
    assert "no such file" in result.err
    assert any(f"did you mean '{name}'?" in result.err for name in ("gru.yaml", "gru.py", "x.npy"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "net.yaml").touch()
    assert rnnspect("trace", "in/nett.yaml").err == "error: in/nett.yaml: no such file; did you mean 'in/net.yaml'?\n"


def test_a_misspelt_key_names_the_one_that_is_meant_and_not_all_of_them(rnnspect, tmp_path) -> None:
    (tmp_path / "net.yaml").write_text("hiden_size: 3\n")
    assert rnnspect("trace", tmp_path / "net.yaml").err.endswith(
        "unknown key 'hiden_size'; did you mean 'hidden_size'?\n"
    )
    (tmp_path / "net.yaml").write_text("xyzzy: 3\n")
    assert "unknown key 'xyzzy'; expected cell, input_size, " in rnnspect("trace", tmp_path / "net.yaml").err
