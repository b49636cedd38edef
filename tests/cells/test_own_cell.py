"""A cell in a file of the user's: every command has it, and what is wrong in it is told with its line."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.cells import CELLS, Arithmetic, Cell, V
from rnnspect.cells.trial import bounds_steps_together
from rnnspect.cli import main

NETWORK = ["--hidden-size", "3", "--input", "randn:12"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Path:
    """The file that `init --cell` writes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--cell", "mine.py"]) == 0
    said = capsys.readouterr().err
    assert "rnnspect check --cell mine.py:mgu --engine mine.py:step" in said
    return tmp_path / "mine.py"


def test_the_file_to_start_from_works(mine: Path, capsys: Any) -> None:
    assert main(["check", "--cell", "mine.py:mgu", "--engine", "mine.py:step"]) == 0
    assert "mine.py:step matches this MGU" in capsys.readouterr().out


def test_nothing_is_written_over(mine: Path, capsys: Any) -> None:
    mine.write_text("kept = 1\n")
    assert main(["init", "--cell", "mine.py"]) == 2
    assert capsys.readouterr().err == (
        "error: mine.py: this file is there already; name a new file: nothing is written over\n"
    )
    assert mine.read_text() == "kept = 1\n"
    for argv in (["mine.txt"], ["no/such/mine.py"], ["new.py", "-o", "a.yaml"], ["new.py", "-f", "yaml"]):
        assert main(["init", "--cell", *argv]) == 2
    assert not Path("new.py").exists()


@pytest.mark.usefixtures("no_causes")
def test_every_command_has_it(mine: Path, capsys: Any) -> None:
    spec = ["--cell", "mine.py:mgu", *NETWORK]

    def out(*argv: str, status: int = 0) -> str:
        assert main([argv[0], *spec, *argv[1:]]) == status
        return str(capsys.readouterr().out)

    assert "h' = (1 − f) ⊙ h + f ⊙ n" in out("shapes")
    assert "computed by the equations, in float32; no framework ran" in out("run")
    assert "equations only, nothing to compare with" in out("trace", "--steps", "3")
    assert "dL/ds_n" in out("trace", "--backward", "--steps", "3")
    assert "f = σ" in out("derive", "--step", "2", "--unit", "1").replace("f  =", "f =")
    assert "mine.py:step" in out("derive", "--step", "2", "--unit", "1", "--engine", "mine.py:step")
    assert "weight_hh_l0[3, 1]" in out("derive", "--gradient", "weight_hh_l0[3,1]")
    for argv in (["run"], ["trace"], ["shapes"], ["check", "--engine", "mine.py:step"]):
        assert json.loads(out(*argv, "-f", "json"))["spec"]["cell"] == "mgu"
    assert main(["report", *spec, "--engine", "mine.py:step", "-o", "page.html"]) == 0
    assert "--cell mine.py:mgu" in Path("page.html").read_text()

    text = mine.read_text()
    Path("wrong.py").write_text(text.replace("(f * h) @ w_n.T", "h @ w_n.T"))
    assert "from step 1 on" in out("check", "--engine", "wrong.py:step", status=1)
    torch_step = (
        text.replace("import numpy as np", "import torch").replace("np.", "torch.").replace(", 2, -1)", ", 3, -1)")
    )
    torch_step = re.sub(r"torch.split\((weight_hh|bias_hh), 2\)", r"torch.split(\1, 3)", torch_step)
    Path("in_torch.py").write_text(torch_step)
    assert "gradients match this MGU" in out("check", "--backward", "--engine", "in_torch.py:step")
    Path("detached.py").write_text(torch_step.replace("(f * h) @", "(f.detach() * h) @"))
    assert "do not match this MGU" in out("check", "--backward", "--engine", "detached.py:step", status=1)


@pytest.mark.usefixtures("no_causes")
def test_a_recording_of_it_is_checked(mine: Path, capsys: Any) -> None:
    spec = ["--cell", "mine.py:mgu", *NETWORK]
    assert main(["run", *spec, "-o", "y.npz", "-q"]) == 0
    with np.load("y.npz") as kept:
        output = kept["output"]
    np.save("right.npy", output)
    np.save("wrong.npy", output * np.float32(1.001))
    capsys.readouterr()
    assert main(["check", *spec, "--recorded", "right.npy"]) == 0
    assert main(["check", *spec, "--recorded", "wrong.npy"]) == 1


def test_without_an_implementation_a_check_says_what_to_give(mine: Path, capsys: Any) -> None:
    for more in ([], ["--backward"], ["--engine", "torch"]):
        assert main(["check", "--cell", "mine.py:mgu", *NETWORK, *more]) == 2
        assert capsys.readouterr().err == (
            "error: there is nothing to compare with the equations: torch.nn has no MGU; give your implementation, "
            "--engine path/to/mine.py:step, or its numbers, --recorded y.npy\n"
        )


WRONG = {
    "syntax": ("def mgu(", "def mgu((", "loading this file failed with SyntaxError"),
    "no cell": ("CELL = Cell(", "CELL = dict(", "mine.py: this file has no Cell; write one as in the file that this"),
    "other name": (
        'name="mgu"',
        'name="mgx"',
        "this file has no cell 'mgu'; expected mgx; did you mean 'mgx'?",
    ),
    "taken": (
        'name="mgu"',
        'name="gru"',
        "--cell: a cell of your own is called 'gru'; expected another name",
    ),
    "raises": (
        "    f = a.sigmoid",
        "    1 / 0\n    f = a.sigmoid",
        "the step of cell mgu failed with ZeroDivision",
    ),
    "no h": (', "h": a.lerp', ', "g": a.lerp', "mgu returns no h; expected {"),
    "nothing": ("    return {", "    _ = {", "mgu returns a NoneType; expected {"),
    "not returned": ('return {"f": f, ', "return {", "mgu returns no f; expected {"),
    "not declared": ('return {"f": f,', 'return {"d": f, "f": f,', "mgu returns d, which its quantities do not"),
    "gate": (
        'quantities=("f", "n", "h")',
        'quantities=("n", "h")',
        "no f among its quantities; expected every gate",
    ),
    "unknown": ("a.sigmoid(wx_f", "a.softmax(wx_f", "there is no operation a.softmax; "),
    "near": ("a.sigmoid(wx_f", "a.sigmiod(wx_f", "did you mean 'sigmoid'?"),
    "packed": (
        "a.hidden(f * h)",
        "a.hidden(f * h) + wx",
        "this value holds the blocks of all gates; expected",
    ),
    "wx twice": (
        "f = a.sigmoid",
        "_ = a.gates(wx, h)\n    f = a.sigmoid",
        "wx is taken apart a second time; expected one",
    ),
    "input": ('quantities=("f", "n", "h")', 'quantities=("f", "n", "h", "x")', "Cell(…) has x among its quantities"),
    "number": ("f * h", "f * 2.0", "* of the number 2.0; expected a value, such as a gate or a state"),
    "minus": ("f * h", "(1 - f) * h", "a.rest(v) is 1 − v"),
    "numpy": ("a.tanh(wx_n", "np.tanh(wx_n", "np.tanh of a value; expected a.tanh(v)"),
    "torch": ("a.tanh(wx_n", "__import__('torch').relu(wx_n", "torch.relu of a value; expected a.relu(v)"),
    "method": (
        "a.tanh(wx_n + wh_n)",
        "(wx_n + wh_n).tanh()",
        "a value has no tanh: it is not a tensor; expected a.tanh",
    ),
    "each time": (
        "    wx_f, wx_n = a.split(wx)",
        "    wx_f, wx_n = a.split(wx)\n    mgu.calls = getattr(mgu, 'calls', 0) + 1\n"
        "    if mgu.calls % 4 == 0:\n        wx_f = wx_f + wx_f",
        "the step of cell mgu does not do the same each time it is called; expected the same lines for every step",
    ),
    "if": ("f = a.sigmoid", "_ = h if h else 0\n    f = a.sigmoid", "a line branches on a value; expected the same"),
    "compared": ("f = a.sigmoid", "_ = h > 0\n    f = a.sigmoid", "a.maximum(v, w) is the larger one"),
    "numbers": ("a.tanh(wx_n", "a.tanh(wx_n[0]", "a value is used as numbers; expected operations of whole"),
    "wx itself": ("wx_n = a.split(wx)", "wx_n = wx", "this value holds the blocks of all gates; expected a.split("),
    "takes": ("def mgu(a: Arithmetic[V], wx", "def mgu(a: Arithmetic[V], x: V, wx", "expected (a, wx, h), as its"),
    "too few": ("a.lerp(h, n, f)", "a.lerp(h, n)", "failed with TypeError: a.lerp() missing 1 required positional"),
    "blocks": ("wx_f, wx_n = a.split(wx)", "wx_f, wx_n, _ = a.split(wx)", "ValueError: not enough values to unpack"),
    "not named": (
        'functions=("sigmoid", "tanh")',
        'functions=("sigmoid",)',
        "a.tanh is not among the functions of",
    ),
    "mixes": ("    mixes=True,", "    mixes=False,", "multiplies W_hh with something else than h; expected"),
    "a word": ('states=("h",)', 'states=("h")', "states='h'; expected a tuple of names, such as states=(\"h\",)"),
    "states": ('states=("h",)', 'states=("h", "m")', "states=('h', 'm'); expected ('h',) or ('h', 'c')"),
    "framework": ('torch_name=""', 'torch_name="GRU"', "no module of torch.nn runs a cell of your own"),
    "no gates": ('gates=("f", "n")', "gates=()", "Cell(…) has no gates"),
    "number right": ("f * h", 'f * a.constant("k")', "the cell has no number 'k'; expected constants=(('k', 0.5),) in"),
    "constants": (
        "    mixes=True,",
        '    mixes=True, constants=("k", 1),',
        "expected pairs of a name and a",
    ),
    "constant": (
        "a.sigmoid(wx_f",
        'a.constant("k") * a.sigmoid(wx_f',
        "the cell has no number 'k'; expected constants=(('k', 0.5),)",
    ),
    "peepholes": ("f = a.sigmoid", "_ = a.peepholes()\n    f = a.sigmoid", "the cell has no peepholes; expected"),
    "parameter": (
        "f = a.sigmoid",
        '_ = a.parameter("u")\n    f = a.sigmoid',
        "the cell has no parameter 'u'; expected",
    ),
    "a shape": (
        "    mixes=True,",
        '    mixes=True, parameters=(("u", "hidden_size"),),',
        "parameters with ('u', 'hidden_size'); expected names with their shapes: parameters=((",
    ),
    "a size": (
        "    mixes=True,",
        '    mixes=True, parameters=(("u", ("hidden",)),),',
        "parameters with u of the shape ('hidden',): hidden is not a size; expected",
    ),
    "taken name": (
        "    mixes=True,",
        '    mixes=True, parameters=(("bias", ("hidden_size",)),),',
        "parameters with the name 'bias', which is taken; expected",
    ),
    "carry": ("f = a.sigmoid", "_ = a.carry(h, h, h)\n    f = a.sigmoid", "expected a.carry(f, c, v), where c is"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_line(mine: Path, capsys: Any, case: str) -> None:
    """The line is the one that was changed, of a whole step where that begins, and of a Cell where it is made; no
    traceback."""
    before, after, said = WRONG[case]
    text = mine.read_text()
    assert text.count(before) >= 1
    mine.write_text(text.replace(before, after, 1))
    for command in ("shapes", "trace"):
        assert main([command, "--cell", "mine.py:CELL" if case == "taken" else "mine.py:mgu"]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.startswith("error: ")
        assert told.count("\n") <= 2
        assert "mine.py:" in told or case == "taken"
    told_of = "n = a.tanh(" if case == "not named" else before
    changed = next(n for n, line in enumerate(text.splitlines(), 1) if told_of.splitlines()[0] in line)
    in_step = re.search(r"^def mgu", text, re.MULTILINE)
    assert in_step is not None
    start = text[: in_step.start()].count("\n") + 1
    if case not in ("no cell", "other name", "taken"):
        line = re.search(r"mine\.py:(\d+)", told)
        assert line is not None
        made = next(n for n, written in enumerate(text.splitlines(), 1) if " = Cell(" in written)
        assert int(line[1]) in ((made, made + 1) if "Cell(…) has" in told else (changed, changed + 1, start))


def test_a_number_of_gates_that_its_lines_do_not_take_apart(mine: Path, capsys: Any) -> None:
    """Which of both is wrong nobody knows: it says both lines."""
    text = mine.read_text().replace('gates=("f", "n")', 'gates=("f", "g", "n")')
    mine.write_text(text.replace('quantities=("f",', 'quantities=("g", "f",'))
    assert main(["shapes", "--cell", "mine.py:mgu"]) == 2
    made = next(n for n, line in enumerate(text.splitlines(), 1) if " = Cell(" in line)
    assert f"unpack (expected 2); the Cell(…) of mine.py:{made} has the gates f, g, n" in capsys.readouterr().err


def test_a_number_of_blocks_that_its_lines_do_not_take_apart(tmp_path: Path, capsys: Any) -> None:
    text = (Path(__file__).parents[2] / "examples/cells/slstm.py").read_text()
    wrong = re.sub(r"(\w+), (\w+), (\w+) = a\.blocks\(c\)", r"\1, \2 = a.blocks(c)", text)
    assert wrong != text
    (tmp_path / "own.py").write_text(wrong)
    assert main(["shapes", "--cell", f"{tmp_path}/own.py:slstm"]) == 2
    assert capsys.readouterr().err.endswith(" has the cell_state blocks c, n, m\n")


@pytest.mark.parametrize(("name", "number"), [("eps", "1e-05"), ("dt", "0.5")])
def test_a_number_that_is_missing_is_shown_with_a_usual_value(mine: Path, capsys: Any, name: str, number: str) -> None:
    mine.write_text(mine.read_text().replace("a.sigmoid(wx_f", f'a.constant("{name}") * a.sigmoid(wx_f'))
    assert main(["shapes", "--cell", "mine.py:mgu"]) == 2
    assert f"expected constants=(('{name}', {number}),) in its Cell" in capsys.readouterr().err


def test_a_file_or_a_name_that_is_not_there(mine: Path, capsys: Any) -> None:
    for typed, said in (
        ("mine.py", "'mine.py' names no cell; expected path/to/mine.py:NAME"),
        ("mine.py:", "name it after a colon: --cell mine.py:NAME; rnnspect init --cell mine.py writes a new file"),
        ("mime.py:mgu", "mime.py: no such file"),
        ("mine.py:step", "this file has no cell 'step'; expected mgu"),
        ("mgu", "--cell: unknown cell 'mgu'; expected rnn, gru, lstm, or your own: --cell mine.py:NAME"),
    ):
        assert main(["shapes", "--cell", typed]) == 2
        assert said in capsys.readouterr().err


def test_a_file_names_no_code(mine: Path, capsys: Any) -> None:
    """A cell in YAML, or in JSON that Python reads, is never run."""
    mine.write_text("raise SystemExit('it ran')\n")
    Path("net.yaml").write_text("cell: mine.py:mgu\n")
    for argv in (["trace", "net.yaml"], ["check", "net.yaml"], ["shapes", "net.yaml"]):
        assert main(argv) == 2
        told = capsys.readouterr()
        assert "net.yaml:1:1: cell 'mine.py:mgu' names a Python file, which is run only where you type it" in told.err
        assert "it ran" not in told.err + told.out
    with pytest.raises(rnnspect.SpecError, match="give the Cell itself"):
        rnnspect.Spec(cell="mine.py:mgu")


def mgu(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """h' = (1 − f) ⊙ h + f ⊙ n"""
    wx_f, wx_n = a.split(wx)
    wh_f, wh_n = a.split(a.hidden(h))
    f, n = a.sigmoid(wx_f + wh_f), a.tanh(wx_n + wh_n)
    return {"f": f, "n": n, "h": a.lerp(h, n, f)}


MGU = Cell("mgu", "", ("f", "n"), ("h",), ("f", "n", "h"), ("sigmoid", "tanh"), mgu)


def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
    s = x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh
    f, n = torch.sigmoid(s[:, :3]), torch.tanh(s[:, 3:])
    return (1 - f) * h + f * n


def test_python_is_given_the_cell_itself() -> None:
    spec = rnnspect.Spec(cell=MGU, input_size=2, hidden_size=3)
    assert (spec.cell, spec.cell_type, repr(spec)) == ("mgu", MGU, "Spec(cell='mgu', input_size=2, hidden_size=3)")
    assert spec.cell_type.equations == ("h' = (1 − f) ⊙ h + f ⊙ n",)
    assert rnnspect.shapes(spec).parameters[0].shape == (6, 2)
    x = torch.randn(20, 2)
    assert rnnspect.trace(spec, x).layers[0].quantities["f"].shape == (1, 20, 3)
    assert rnnspect.check(spec, x, engine=step).verdict == "agree"
    assert rnnspect.check(spec, x, engine=step, backward=True).verdict == "agree"
    assert rnnspect.gradients(spec, x).x.manual.shape == (1, 20, 2)
    with pytest.raises(rnnspect.EngineError, match="give your implementation"):
        rnnspect.check(spec, x)
    with pytest.raises(rnnspect.EngineError, match="give your implementation"):
        rnnspect.check(spec, x, backward=True)
    with pytest.raises(rnnspect.SpecError, match="another name than"):
        rnnspect.Spec(cell=CELLS["gru"])


def test_recurrent_weights_that_the_lines_never_use_are_told() -> None:
    def step(a: Any, wx: Any, _: Any) -> dict[str, Any]:
        (n,) = a.split(wx)
        return {"n": n, "h": a.tanh(n)}

    cell = Cell("still", "", ("n",), ("h",), ("n", "h"), ("tanh",), step)
    with pytest.raises(rnnspect.InputError, match=r"never multiplies W_hh with h.* write is_recurrent=False"):
        rnnspect.Spec(cell=cell)


def test_a_spec_knows_one_cell_from_another_of_its_name() -> None:
    spec = rnnspect.Spec(cell=MGU)
    other = rnnspect.Spec(
        cell=Cell(
            "mgu",
            "",
            ("f", "n"),
            ("h",),
            ("f", "n", "h"),
            ("sigmoid", "tanh"),
            lambda a, wx, h: {"f": h, "n": a.gates(wx, h)[0], "h": h},
        )
    )
    assert spec == rnnspect.Spec(cell=MGU)
    assert spec != other
    assert copy.deepcopy(spec) == spec
    assert spec.with_changes(hidden_size=4).cell_type == MGU
    assert json.loads(spec.model_dump_json())["cell"] == "mgu"


def lstm_like(a: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
    """c' = f ⊙ c + i ⊙ g; h' = o ⊙ c': f may be negative, and nothing tells c back from h."""
    s_i, s_f, s_g, s_o = a.gates(wx, h)
    i, f, g, o = a.sigmoid(s_i), a.tanh(s_f), a.tanh(s_g), a.sigmoid(s_o)
    c = a.carry(f, c, i * g)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": o * c}


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("factor", [1.0, 1.0001])
def test_a_cell_state_without_tanh_is_carried(factor: float) -> None:
    """Nobody observes c. The right run agrees over 600 steps, which take several chunks; a wrong one differs."""
    cell = Cell(
        "plain", "", ("i", "f", "g", "o"), ("h", "c"), ("i", "f", "g", "o", "c", "h"), ("sigmoid", "tanh"), lstm_like
    )

    def own(x_t: Any, state: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        h, c = state
        i, f, g, o = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(4, -1)
        c = torch.tanh(f) * c + torch.sigmoid(i) * torch.tanh(g) * factor
        return torch.sigmoid(o) * c, c

    spec = rnnspect.Spec(cell=cell, input_size=2, hidden_size=5)
    for dtype in ("float32", "float64"):
        found = rnnspect.check(spec.with_changes(dtype=dtype), torch.randn(600, 2), engine=own)
        assert found.verdict == ("agree" if factor == 1 else "differ")


def self_gated(a: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
    """i = σ(W_ii x + b_ii + c); c' = i ⊙ c + g; h' = tanh(c') ⊙ c"""
    s_i, g = a.split(wx)
    i = a.sigmoid(s_i + c)
    new = a.carry(i, c, g)
    return {"i": i, "g": g, "c": new, "h": a.tanh(new) * c}


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_lines_may_read_the_cell_state_of_the_step_before(factor: float) -> None:
    """It is found by trying them that such a cell is bounded one step at a time."""
    cell = Cell(
        "reads",
        "",
        ("i", "g"),
        ("h", "c"),
        ("i", "g", "c", "h"),
        ("sigmoid", "tanh"),
        self_gated,
        is_recurrent=False,
    )

    def own(x_t: Any, state: Any, weight_ih: Any, bias_ih: Any) -> Any:
        _, c = state
        s, g = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        new = torch.sigmoid(s + factor * c) * c + g
        return torch.tanh(new) * c, new

    spec = rnnspect.Spec(cell=cell, input_size=2, hidden_size=5)
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    states = torch.ones(1, 5), torch.ones(1, 5)
    expected = "agree" if factor == 1 else "differ"
    assert rnnspect.check(spec, x, *states, engine=own).verdict == expected
    assert rnnspect.check(spec, x, *states, engine=own, backward=True).verdict == expected


def swinging(a: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
    """n = tanh(W_in x + b_in + W_hn h + b_hn + c); c' = c + dt (n − h − c); h' = h + dt c'"""
    (s,), dt = a.gates(wx, h), a.constant("dt")
    n = a.tanh(s + c)
    new = c + dt * (n - h - c)
    return {"n": n, "c": new, "h": h + dt * new}


SWINGS = rnnspect.Spec(
    cell=Cell("swings", "", ("n",), ("h", "c"), ("n", "c", "h"), ("tanh",), swinging, constants=(("dt", 0.1),)),
    input_size=2,
    hidden_size=3,
)


def swing(wrong: int = -1) -> Any:
    """A step of it, whose c is off by 1e-4 in one unit at the step `wrong`, and from there on what follows of that."""
    steps = iter(range(1000))

    def step(x_t: Any, state: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        h, c = state
        c = c + 0.1 * (torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh + c) - h - c)
        c[:, 1] += 1e-4 * (next(steps) == wrong)
        return h + 0.1 * c, c

    return step


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("given", [{}, {"lengths": [200, 120]}], ids=["", "of unequal length"])
def test_each_step_starts_from_the_cell_state_that_a_step_gave(given: dict[str, Any]) -> None:
    """So that a limit that nothing holds down does not grow from step to step, and one wrong c stays at its step."""
    spec = SWINGS.with_changes(**given, batch=2)
    assert rnnspect.check(spec, "randn:200", engine=swing()).verdict == "agree"
    found = rnnspect.check(spec, "randn:200", engine=swing(wrong=150))
    assert found.first is not None
    assert (found.verdict, found.first.step, found.first.unit) == ("differ", 150, 1)


@pytest.mark.usefixtures("no_causes")
def test_a_cell_state_that_nothing_pins_down_asks_for_fewer_steps() -> None:
    """Its errors would die away, and the limit of single steps does not know that. With c of each step it is told."""
    ran = rnnspect.trace(SWINGS, "randn:200")
    h, c = (ran.layers[0].quantities[name].float() for name in "hc")
    given = {"l0.forward.h": h, "c_n": c[:, -1][None]}
    found = rnnspect.check(SWINGS, "randn:200", recorded=given)
    assert found.verdict == "cannot tell"
    assert str(found.reason).endswith(": record l0.forward.c, or check a run of fewer steps")
    assert rnnspect.check(SWINGS, "randn:200", recorded=given | {"l0.forward.c": c}).verdict == "agree"


def squashing(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    s_f, n = a.split(wx)
    c = a.tanh(a.carry(a.sigmoid(s_f), c, n))
    return {"f": s_f, "n": n, "c": c, "h": c}


def turning(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    s_f, n = a.split(wx)
    one, two = a.blocks(c)
    f = a.sigmoid(s_f)
    one, two = a.carry(f, two, n), a.carry(f, one, n)
    return {"f": s_f, "n": n, "c": a.packed(one, two), "h": one}


@pytest.mark.parametrize(("step", "sizes"), [(squashing, ("c",)), (turning, ("one", "two"))])
def test_a_carried_state_that_goes_on_otherwise_is_bounded_step_by_step(step: Any, sizes: tuple[str, ...]) -> None:
    """Another function of it, or another block, is what the next step has: not the recurrence of many steps at once."""
    blocks = tuple((name, ("hidden_size",)) for name in sizes)
    cell = Cell(
        step.__name__, "", ("f", "n"), ("h", "c"), ("f", "n", "c", "h"), ("sigmoid", "tanh"), step, cell_state=blocks,
        is_recurrent=False,
    )  # fmt: skip

    def engine(x_t: Any, state: Any, weight_ih: Any, bias_ih: Any) -> Any:
        s_f, n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        carried = [s_f.sigmoid() * one + n for one in state[1].chunk(len(sizes), -1)]
        c = carried[0].tanh() if step is squashing else torch.cat(carried[::-1], -1)
        return c[..., :4], c

    assert not bounds_steps_together(cell)
    assert rnnspect.check(rnnspect.Spec(cell=cell, input_size=3, hidden_size=4, input="randn:40"), engine=engine).agrees


PEEPING = Cell(
    name="peeping",
    torch_name="",
    gates=("f", "v"),
    states=("h", "c"),
    quantities=("f", "v", "c", "h"),
    functions=("sigmoid", "tanh"),
    peepholes=("f", "v"),
    step=lambda *_: {},
)


@pytest.mark.parametrize("used", [0, 1])
def test_a_peephole_that_its_lines_do_not_use_has_no_gradient(used: int) -> None:
    def peeping(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
        s_f, s_v = a.gates(wx, h)
        p, _ = a.peepholes()
        f, v = a.sigmoid(s_f + p * c if used else s_f), a.tanh(s_v)
        c = a.carry(f, c, a.rest(f) * v)
        return {"f": f, "v": v, "c": c, "h": a.tanh(c)}

    def port(x_t: Any, state: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, weight_ch: Any) -> Any:
        h, c = state
        f, v = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        f = torch.sigmoid(f + used * weight_ch.chunk(2, -1)[0] * c)
        c = f * c + (1 - f) * torch.tanh(v)
        return torch.tanh(c), c

    spec = rnnspect.Spec(cell=replace(PEEPING, step=peeping), input_size=3, hidden_size=4)
    assert rnnspect.check(spec, "randn:20", engine=port).verdict == "agree"
    assert rnnspect.check(spec, "randn:20", engine=port, backward=True).verdict == "agree"
    found = rnnspect.gradients(spec, "randn:5", engine=port)
    assert found.max_abs_difference < 1e-5
    of_p = found.parameters["weight_ch_l0"].gradient.manual
    assert [bool(one.any()) for one in of_p.view(2, -1)] == [bool(used), False]
