"""Parameters under names that nobody knows: abbreviated, told by their shapes, or said by the user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rnnspect.cli import main

X = 0.3 * np.random.default_rng(0).standard_normal((1, 7, 5)).astype(np.float32)


def lstm(cell: str = "LSTM", inputs: int = 5, seed: int = 0) -> torch.nn.RNNBase:
    torch.manual_seed(seed)
    module = getattr(torch.nn, cell)(inputs, 4, batch_first=True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)
    return module


def saved(path: Path, names: dict[str, str], module: torch.nn.Module, transposed: bool = False) -> str:
    """The module's parameters in .npz under these names, beside others."""
    arrays = {names[name]: one.detach().numpy() for name, one in module.named_parameters()}
    if transposed:
        arrays = {name: one.T for name, one in arrays.items()}
    np.savez(path, **arrays, table=np.ones((40, 5), np.float32), fc=np.ones((6, 4), np.float32))
    return str(path)


def agrees(path: str, module: torch.nn.Module, tmp_path: Path, capsys: Any, *options: str) -> str:
    """A check of what torch's own module gave on X, against what the file is read as; what was noted."""
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", module(torch.from_numpy(X))[0].detach().numpy())
    given = ["--input", str(tmp_path / "x.npy"), "--recorded", str(tmp_path / "y.npy"), "--format", "json"]
    capsys.readouterr()
    assert main(["check", path, *options, *given]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["verdict"] == "agree"
    return said.err


def named(ih: str, hh: str, b_ih: str, b_hh: str) -> dict[str, str]:
    return {"weight_ih_l0": ih, "weight_hh_l0": hh, "bias_ih_l0": b_ih, "bias_hh_l0": b_hh}


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize(
    "names",
    [
        named("enc_w_ih", "enc_w_hh", "enc_b_ih", "enc_b_hh"),
        named("enc.W_ih", "enc.W_hh", "enc.b_ih", "enc.b_hh"),
        named("enc/Wx", "enc/Wh", "enc/bx", "enc/bh"),
        named("enc.i2h.weight", "enc.h2h.weight", "enc.i2h.bias", "enc.h2h.bias"),
        named("input_weights", "recurrent_weights", "input_bias", "recurrent_bias"),
    ],
)
def test_abbreviations_and_other_words(tmp_path: Path, capsys: Any, names: dict[str, str], cell: str):
    module = lstm(cell)
    agrees(saved(tmp_path / "w.npz", names, module), module, tmp_path, capsys)


def test_where_sizes_are_equal_the_names_decide(tmp_path: Path, capsys: Any):
    """Both weights are 12 × 4: nothing but i2h and h2h tells them apart. Without words for that nothing is guessed."""
    module = lstm("GRU", inputs=4)
    known = named("a.i2h.weight", "a.h2h.weight", "a.i2h.bias", "a.h2h.bias")
    assert main(["shapes", saved(tmp_path / "w.npz", known, module)]) == 0
    unknown = named("a.first", "a.second", "a.third", "a.fourth")
    capsys.readouterr()
    assert main(["shapes", saved(tmp_path / "w.npz", unknown, module)]) == 2
    assert "--names weight_ih_l0=NAME" in capsys.readouterr().err


def test_products_from_the_right(tmp_path: Path, capsys: Any):
    module = lstm()
    path = saved(tmp_path / "w.npz", named("Wx", "Wh", "bx", "bh"), module, transposed=True)
    assert "read by its shapes: weight_ih = Wx, weight_hh = Wh" in agrees(path, module, tmp_path, capsys)


@pytest.mark.parametrize("inputs", [4, 5])
def test_dense_layers_are_no_recurrent_ones(tmp_path: Path, capsys: Any, inputs: int):
    """Layers of a transformer are 4H × H, too, and differ in a number alone; so do two layers of a dense network."""
    arrays = {f"layers.{n}.fc.weight": np.ones((16, size), np.float32) for n, size in enumerate((inputs, 4))}
    arrays |= {f"layers.{n}.fc.bias": np.ones(16, np.float32) for n in range(2)}
    np.savez(tmp_path / "w.npz", **arrays)
    assert main(["shapes", str(tmp_path / "w.npz")]) == 2
    assert "no recurrent parameters found" in capsys.readouterr().err
    np.savez(tmp_path / "w.npz", **{name: one for name, one in arrays.items() if name.endswith("weight")})
    assert main(["shapes", str(tmp_path / "w.npz")]) == 2


def test_names_can_be_said(tmp_path: Path, capsys: Any):
    module = lstm("GRU", inputs=4)
    names = named("a.first", "a.second", "a.third", "a.fourth")
    path = saved(tmp_path / "w.npz", names, module)
    said = ",".join(f"{known}={name}" for known, name in names.items())
    assert main(["shapes", path, "--names", said]) == 0
    assert "GRU(4, 4" in capsys.readouterr().out
    assert main(["check", path, "--names", said]) == 0
    assert main(["trace", path, "--names", said, "--module", "other"]) == 2
    assert "no module 'other'" in capsys.readouterr().err
    assert main(["shapes", path, "--names", said.replace("a.first", "a.frist")]) == 2
    assert "no tensor named 'a.frist'" in (err := capsys.readouterr().err)
    assert "did you mean 'a.first'?" in err
    assert main(["shapes", path, "--names", "weight_ih_l0"]) == 2
    assert "cannot read 'weight_ih_l0'" in capsys.readouterr().err
    assert main(["shapes", "--names", said]) == 2


def test_a_spec_says_where_each_parameter_is(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    module = lstm()
    names = named("a.first", "a.second", "a.third", "a.fourth")
    saved(tmp_path / "w.npz", names, module)
    lines = [f"  {known}: w.npz:{name}" for known, name in names.items()]
    spec = tmp_path / "spec.yaml"
    spec.write_text("\n".join(["cell: lstm", "input_size: 5", "hidden_size: 4", "weights:", *lines]))
    agrees(str(spec), module, tmp_path, capsys)
    monkeypatch.chdir(tmp_path)
    spec.write_text(spec.read_text().replace("w.npz:a.first", "w.npz:a.frist"))
    assert main(["check", "spec.yaml"]) == 2
    assert "spec.yaml:5:3: no tensor named 'a.frist'" in capsys.readouterr().err


def test_peepholes_of_a_file_are_read(tmp_path: Path, capsys: Any):
    shapes = {"weight_ih_l0": (16, 5), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "w.npz", **arrays, weight_ch_l0=rng.standard_normal(12).astype(np.float32))
    for options in ([], ["--peepholes"]):
        assert main(["shapes", str(tmp_path / "w.npz"), *options]) == 0
        assert "weight_ch_l0" in capsys.readouterr().out
    assert main(["trace", str(tmp_path / "w.npz"), "--engine", "onnxruntime"]) in (0, 2)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("names", [("hh.w", "ih.w", "hh.b", "ih.b"), ("h2h_w", "i2h_w", "h2h_b", "i2h_b")])
def test_what_names_say_is_not_read_the_other_way_round(tmp_path: Path, capsys: Any, names: tuple[str, ...]) -> None:
    """12 × 4 and 12 × 3 are a GRU of 4 units, or an LSTM of 3 with its weights exchanged."""
    arrays = dict(zip(names, (numbers(12, 4), numbers(12, 3), numbers(12), numbers(12)), strict=True))
    np.savez(tmp_path / "w.npz", **arrays)
    assert main(["run", str(tmp_path / "w.npz"), "--input", "ramp:2"]) == 0
    shown = capsys.readouterr()
    assert "GRU(3, 4" in shown.out
    assert f"weight_ih = {names[1]}, weight_hh = {names[0]}" in shown.err
    assert main(["about", str(tmp_path / "w.npz")]) == 0
    assert "LSTM" not in capsys.readouterr().out
    assert main(["run", str(tmp_path / "w.npz"), "--input", "ramp:2", "--cell", "lstm"]) == 0
    assert "LSTM(4, 3" in capsys.readouterr().out


@pytest.mark.parametrize("biases", [True, False])
def test_layers_whose_names_begin_alike_are_both_there(tmp_path: Path, capsys: Any, biases: bool) -> None:
    arrays = {"W_ih_1": numbers(12, 3), "W_hh_1": numbers(12, 4), "W_ih_2": numbers(15, 4), "W_hh_2": numbers(15, 5)}
    if biases:
        arrays |= {f"b_{which}_{at}": numbers(rows) for at, rows in ((1, 12), (2, 15)) for which in ("ih", "hh")}
    path = str(tmp_path / "w.npz")
    np.savez(path, **arrays)
    assert main(["about", path]) == 0
    shown = capsys.readouterr().out
    for name, layer in (("W_hh_1", "GRU(3, 4"), ("W_hh_2", "GRU(4, 5")):
        assert layer in shown
        assert main(["run", path, "--module", name, "--input", "ramp:2"]) == 0
        assert layer in capsys.readouterr().out
