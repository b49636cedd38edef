"""Parameters of a cell's own: in files, in every command, and in what is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.cells.sizes import counted
from rnnspect.cli import main
from rnnspect.engines.own.loading import load_cell
from rnnspect.network.places import unit_in_words
from rnnspect.tracing.prepare import prepare
from tests.cells.loops import LOOPS

FILE = str(Path(__file__).parents[2] / "examples" / "cells" / "indrnn.py")


def leaky(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """h' = d ⊙ h + (W_ih x + b_ih), d = exp(u)"""
    (s,) = a.split(wx)
    return {"n": s, "h": a.exp(a.parameter("u")) * h + s}


def of(*parameters: Any, **more: Any) -> Cell:
    return Cell(
        "leaky", "", ("n",), ("h",), ("n", "h"), ("exp",), leaky, parameters=parameters, is_recurrent=False, **more
    )


U = ("u", ("hidden_size",))


@pytest.mark.parametrize(("size", "expected"), [(3, 3), ("hidden_size", 12), ("heads", 4), ("hidden_size/heads", 3)])
def test_sizes_are_said_in_words(size: Any, expected: int) -> None:
    assert counted(size, {"hidden_size": 12, "heads": 4.0}) == expected


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("head", "head is not a size"),
        ("dt", "dt is 0.5, which is not a size"),
        ("hidden_size/heads", "hidden_size is 12, which is not a multiple of heads (5)"),
    ],
)
def test_what_is_no_size_is_told(size: str, said: str) -> None:
    with pytest.raises(ValueError, match=" not ") as error:
        counted(size, {"hidden_size": 12, "heads": 5, "dt": 0.5})
    assert str(error.value) == said


def test_every_layer_and_direction_has_its_own(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = of(U, ("v", ("hidden_size", "input_size", 2)))
    spec = rnnspect.Spec(cell=cell, input_size=3, hidden_size=4, num_layers=2, bidirectional=True)
    found = {one.name: (one.shape, one.reads) for one in rnnspect.shapes(spec).parameters}
    assert found["u_l0"] == ((4,), "hidden")
    assert found["v_l0_reverse"] == ((4, 3, 2), "hidden × input × 2")
    assert found["v_l1"] == ((4, 8, 2), "hidden × input × 2")
    table = rnnspect.shapes(spec).to_numpy()["parameters"]
    assert table[table["name"] == "v_l1"][["rows", "columns"]].tolist() == [(4, 16)]
    assert main(["shapes", "--cell", f"{FILE}:indrnn", "--hidden-size", "4", "-f", "json"]) == 0
    assert {"name": "u_l0", "shape": [4]}.items() <= json.loads(capsys.readouterr().out)["parameters"][-1].items()


def test_a_gate_with_the_size_of_x_has_one_size_in_all_layers() -> None:
    def lines(a: Arithmetic[V], wx: V, _h: V) -> dict[str, V]:
        e, n = a.split(wx)
        return {"e": e, "n": n, "h": a.tanh(n + a.by_value(a.parameter("V"), e))}

    def step(x_t: Any, _h: Any, weight_ih: Any, bias_ih: Any, V: Any) -> Any:
        e, n = (x_t @ weight_ih.T + bias_ih).split([len(weight_ih) - 4, 4], -1)
        return torch.tanh(n + e @ V.T)

    cell = Cell(
        "sized", "", ("e", "n"), ("h",), ("e", "n", "h"), ("tanh",), lines, sizes=(("e", ("input_size",)),),
        parameters=(("V", ("hidden_size", "input_size")),), is_recurrent=False,
    )  # fmt: skip
    for sizes in ({"num_layers": 1}, {"num_layers": 2, "input_size": 4}):
        spec = rnnspect.Spec(cell=cell, hidden_size=4, **sizes)  # type: ignore[arg-type]
        assert rnnspect.check(spec, "randn:8", engine=step).verdict == "agree"
    two = rnnspect.Spec(cell=cell, hidden_size=4, num_layers=2, input_size=5)
    with pytest.raises(rnnspect.InputError, match="layer 1 of cell sized receives 4 features, and e has units for"):
        rnnspect.check(two, "randn:8", engine=step)


def test_they_are_read_from_a_file(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = ["--cell", f"{FILE}:indrnn", "--input-size", "2", "--hidden-size", "3", "--input", "randn:9"]
    weights = {name: torch.randn(shape) for name, shape in (("weight_ih_l0", (3, 2)), ("bias_ih_l0", (3,)))}
    torch.save(weights | {"u_l0": torch.tensor([0.5, -0.5, 0.25])}, "theirs.pt")
    assert main(["run", *network, "--weights", "theirs.pt", "-o", "y.npz", "-q", "--with-parameters"]) == 0
    with np.load("y.npz") as kept:
        assert kept["u_l0"].tolist() == [0.5, -0.5, 0.25]
    torch.save(weights, "short.pt")
    capsys.readouterr()
    assert main(["run", *network, "--weights", "short.pt"]) == 2
    assert "missing: 'u_l0'" in capsys.readouterr().err


def test_its_arithmetic_is_shown_by_its_name(capsys: Any) -> None:
    network = ["--cell", f"{FILE}:indrnn", "--hidden-size", "3", "--input", "randn:4"]
    assert main(["derive", *network, "--step", "2", "--unit", "1"]) == 0
    assert "+ u · h[step 1, 1])" in capsys.readouterr().out
    assert main(["derive", *network, "--gradient", "u_l0[2]"]) == 0
    assert "= Σ over steps: dL/ds[step, 2] · h[step before, 2]" in capsys.readouterr().out


def test_it_is_named_where_it_is_off_and_recovered() -> None:
    cell = load_cell(f"{FILE}:indrnn")
    spec = rnnspect.Spec(cell=cell, input_size=2, hidden_size=3)
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    ours = prepare(spec, "zeros:1").parameters

    def engine(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, u: Any) -> Any:
        off = u.clone()
        off[1] += 1e-5
        return LOOPS["indrnn"](False)(x_t, h, weight_ih, bias_ih, off)

    found = rnnspect.check(spec, x, engine=engine, recover=True, explain=0)
    assert isinstance(found, rnnspect.Verdict)
    assert [one.name for one in found.suspects] == ["u_l0[1]"]
    assert found.recovered is not None
    told = found.recovered.parameters["u_l0"]
    assert float(told[1] - ours["u_l0"][1]) == pytest.approx(1e-5, rel=0.1)


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_of_one_is_proved_with_its_gradient(dtype: str) -> None:
    spec = rnnspect.Spec(cell=of(U), input_size=2, hidden_size=3, dtype=dtype)
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))

    def right(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, u: Any) -> Any:
        return u.exp() * h + x_t @ weight_ih.T + bias_ih

    def wrong(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, u: Any) -> Any:
        return u.detach().exp() * h + x_t @ weight_ih.T + bias_ih

    assert rnnspect.check(spec, x, engine=right).verdict == "agree"
    assert rnnspect.check(spec, x, engine=right, backward=True).verdict == "agree"
    assert rnnspect.check(spec, x, engine=wrong, backward=True).verdict == "differ"


@pytest.mark.parametrize(
    ("quantity", "unit", "said"),
    [
        ("h", 3, "unit 3"),
        ("c_n", 0, "unit 0, S[0, 0, 0]"),
        ("c_n", 31, "unit 31, S[1, 3, 3]"),
        ("c", 33, "unit 33, n[0, 1]"),
        ("c", 41, "unit 41, m[1]"),
        ("grad.q_pre", 6, "unit 6, q[1, 2]"),
        ("i", 1, "unit 1"),
        ("h", 0, "unit 0"),
    ],
)
def test_a_unit_of_a_block_or_matrix_is_told_with_its_place(quantity: str, unit: int, said: str) -> None:
    cell = load_cell(FILE.replace("indrnn", "mlstm") + ":mlstm")
    assert unit_in_words(rnnspect.Spec(cell=cell, hidden_size=8), quantity, unit) == said


@pytest.mark.parametrize(
    ("cell", "quantity", "unit", "said"),
    [
        ("lru", "c", 0, "unit 0, re[0]"),
        ("lru", "c_n", 5, "unit 5, re[5]"),
        ("lru", "c0", 6, "unit 6, im[0]"),
        ("slstm", "grad.c", 3, "unit 3, c[3]"),
        ("slstm", "h", 3, "unit 3"),
        ("sru", "c", 3, "unit 3"),
        ("retnet", "c", 0, "unit 0, S[0, 0, 0]"),
    ],
)
def test_every_block_of_several_is_named_the_first_one_too(cell: str, quantity: str, unit: int, said: str) -> None:
    spec = rnnspect.Spec(cell=load_cell(FILE.replace("indrnn", cell) + f":{cell}"), hidden_size=8)
    assert unit_in_words(spec, quantity, unit) == said


@pytest.mark.usefixtures("no_causes")
def test_a_wrong_final_state_is_told_with_its_place(capsys: Any, tmp_path: Path) -> None:
    network = ["--cell", FILE.replace("indrnn", "retnet") + ":retnet", "--hidden-size", "4", "--input", "randn:9"]
    assert main(["run", *network, "-o", str(tmp_path / "y.npz"), "-q"]) == 0
    with np.load(tmp_path / "y.npz") as kept:
        wrong = {name: kept[name] for name in ("output", "h_n", "c_n")}
    wrong["c_n"][..., 9] += 1
    np.savez(tmp_path / "wrong.npz", **wrong)
    capsys.readouterr()
    assert main(["check", *network, "--recorded", str(tmp_path / "wrong.npz")]) == 1
    assert "c_n of layer 0 forward, unit 9, S[1, 1, 1]" in " ".join(capsys.readouterr().out.split())
