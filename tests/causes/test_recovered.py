"""What an engine's parameters are to ours, once recovered: each kind, planted, and right parameters as they are."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect.causes.recovered.multiples import in_digits
from rnnspect.causes.recovered.order import both
from rnnspect.causes.recovered.part import ParameterPart
from rnnspect.causes.recovered.rounded import bits
from rnnspect.causes.recovered.rows import _off
from rnnspect.cli import main
from rnnspect.judging.evidence.recovered import PackedRows
from rnnspect.judging.recovery import Recovery
from tests.judging.test_evidence import GATES, KINDS, pair
from tests.marks import sampled

FEATURES, UNITS = 12, 16


class Planted(NamedTuple):
    kind: str
    change: Callable[[str, Tensor], Tensor]
    """Of a parameter's name and values."""
    said: str


def quantised(w: Tensor, bits: int, by_row: bool) -> Tensor:
    scale = (w.abs().amax(1, keepdim=True) if by_row else w.abs().max()) / (2 ** (bits - 1) - 1)
    return (w / scale).round() * scale


def of_matrices(change: Callable[[Tensor], Tensor], name: str = "weight") -> Callable[[str, Tensor], Tensor]:
    return lambda called, w: change(w) if called.startswith(name) else w


def low_rank(w: Tensor) -> Tensor:
    return w + 0.003 * torch.randn(len(w), 3) @ torch.randn(3, w.shape[1])


def transposed(w: Tensor) -> Tensor:
    return torch.cat([block.t() for block in w.split(UNITS)])


def with_row(new: Callable[[Tensor], Tensor]) -> Callable[[str, Tensor], Tensor]:
    return of_matrices(lambda w: torch.cat([w[:5], new(w[5:6]), w[6:]]), "weight_hh")


PLANTED = {
    "factor": Planted("multiple", lambda _, w: w * 0.99, "0.99 times as large"),
    "8 bits by tensor": Planted("bits", of_matrices(lambda w: quantised(w, 8, False)), "8 bits by tensor"),
    "8 bits by row": Planted("bits", of_matrices(lambda w: quantised(w, 8, True)), "8 bits by row"),
    "4 bits by row": Planted("bits", of_matrices(lambda w: quantised(w, 4, True)), "4 bits by row"),
    "float16": Planted("half", lambda _, w: w.half().float(), "rounded to float16"),
    "bfloat16": Planted("half", lambda _, w: w.bfloat16().float(), "rounded to bfloat16"),
    "adapter": Planted("low_rank", of_matrices(low_rank), "a matrix of rank 3"),
    "noise": Planted("noise", lambda _, w: w * (1 + 0.01 * torch.randn_like(w)), "% of each number"),
    "shift": Planted("shift", of_matrices(lambda w: w - 0.05, "bias_ih"), "has 0.05 less than yours everywhere"),
    "reversed": Planted(
        "columns", of_matrices(lambda w: w.flip(1), "weight_ih"), "in another order in the engine: reversed"
    ),
    "zero row": Planted("others", with_row(torch.zeros_like), "zeros in row 5"),
    "permuted row": Planted("others", with_row(lambda w: w[:, torch.randperm(w.shape[1])]), "the numbers of row 5"),
    "pruned": Planted("zeros", of_matrices(lambda w: w * (w.abs() > 0.2 * w.std())), "as if weights were pruned"),
    "weights dropped": Planted(
        "zeros", of_matrices(lambda w: torch.dropout(w, 0.3, True), "weight_hh"), "dropout with p = 0.3 acted"
    ),
    "transposed": Planted("transposed", of_matrices(transposed, "weight_hh"), "is transposed"),
}


def planted(kind: str, what: str, seed: int = 0) -> tuple[nn.RNNBase, nn.RNNBase, Tensor]:
    """Ours, theirs, and an input with three rows for each number that a unit answers to."""
    ours, theirs = pair(kind, seed, FEATURES, UNITS)
    x = torch.randn(3 * GATES[kind] * (FEATURES + UNITS + 1) // 2, 2, FEATURES)
    with torch.no_grad():
        for name, of in theirs.named_parameters():
            of.copy_(PLANTED[what].change(name, of))
    return ours, theirs, x


@torch.no_grad()
def recovered(ours: nn.RNNBase, theirs: nn.RNNBase, x: Tensor) -> Recovery:
    found = rnnspect.check(ours, x, recorded={"output": theirs(x)[0]}, explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.recovered is not None
    return found.recovered


QUICK = ("8 bits by row", "adapter", "reversed")
SLOW = pytest.mark.slow
EVERY = [
    pytest.param(kind, what, marks=[SLOW] if kind == "LSTM" or (kind == "GRU") != (what in QUICK) else [])
    for kind in KINDS
    for what in PLANTED
]


@pytest.mark.parametrize(("kind", "what"), sampled(EVERY, 2))
def test_the_right_word_and_the_right_numbers(kind: str, what: str) -> None:
    assert_right(kind, what, seed=0)


def assert_right(kind: str, what: str, seed: int) -> None:
    ours, theirs, x = planted(kind, what, seed)
    found = recovered(ours, theirs, x)
    (layer,) = found.layers
    assert layer.explains
    assert layer.untold == 0
    assert PLANTED[what].kind in {one.kind for one in layer.likenesses}
    assert any(PLANTED[what].said in one.said for one in layer.likenesses), layer.likenesses
    for name in ("weight_ih_l0", "weight_hh_l0"):
        there, here = (dict(of.named_parameters())[name].detach() for of in (theirs, ours))
        if float((there - here).norm()):
            off = (found.parameters[name] - there).norm() / (there - here).norm()
            assert float(off) < 0.01  # the issue


@pytest.mark.campaign
def test_the_right_word_and_the_right_numbers_of_many_draws() -> None:
    """Each kind in each cell, three more times; four minutes."""
    wrong = []
    for seed, kind, what in itertools.product(range(1, 4), KINDS, PLANTED):
        torch.manual_seed(1000 * seed)
        try:
            assert_right(kind, what, seed)
        except AssertionError as error:
            wrong.append(f"{seed} {kind} {what}: {error}")
    assert not wrong, wrong


@pytest.mark.parametrize("kind", KINDS)
def test_right_parameters_are_as_here(kind: str) -> None:
    ours, _ = pair(kind, 0, FEATURES, UNITS)
    found = recovered(ours, ours, torch.randn(700, 1, FEATURES))
    assert found.layers[0].explains
    assert found.layers[0].likenesses == ()
    for name, here in ours.named_parameters():
        assert torch.equal(found.parameters[name], here)  # what differs by no more than rounding is ours


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_exactly_is_what_is_recovered(kind: str) -> None:
    """Found freely, weights of this GRU are 1 % of the change off, and more the more weights there are."""
    ours, theirs, x = planted(kind, "float16")
    found = recovered(ours, theirs, x)
    assert found.layers[0].exact
    for name, there in theirs.named_parameters():
        assert torch.equal(found.parameters[name], there)
        assert torch.equal(found.differences[name].isnan(), found.errors[name].isinf())


def test_the_verdict_says_that_weights_were_set() -> None:
    ours, theirs, x = planted("RNN", "bfloat16")
    with torch.no_grad():
        said = " ".join(str(rnnspect.check(ours, x, recorded=theirs(x)[0], explain=0, recover=True)).split())
    assert "weights that the lines above give exactly are set to that, which explains the run equally well" in said
    assert "is kept" not in said  # of the two biases, each is rounded


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_single_number_all_others_are_ours(kind: str) -> None:
    ours, theirs = pair(kind, 0, FEATURES, UNITS)
    with torch.no_grad():
        theirs.weight_hh_l0[7, 3] += 0.01
    found = recovered(ours, theirs, torch.randn(900, 1, FEATURES))
    for name, here in ours.named_parameters():
        off = found.parameters[name] != here
        assert off.nonzero().tolist() == ([[7, 3]] if name == "weight_hh_l0" else [])
    assert float(found.differences["weight_hh_l0"][7, 3]) == pytest.approx(0.01, rel=0.01)  # the issue


def test_what_the_numbers_cannot_tell_is_left_at_ours() -> None:
    ours, theirs, x = planted("GRU", "noise")
    x[..., 3] = 0
    found = recovered(ours, theirs, x)
    (layer,) = found.layers
    assert layer.untold == 3 * UNITS
    assert layer.why_untold == "feature 3 of x is the same at every step, which hides what is multiplied with it"
    assert torch.equal(found.parameters["weight_ih_l0"][:, 3], ours.weight_ih_l0[:, 3])
    assert layer.together
    assert torch.equal(found.parameters["bias_hh_l0"][: 2 * UNITS], ours.bias_hh_l0[: 2 * UNITS])


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@torch.no_grad()
@pytest.mark.slow
def test_constant_input_says_how_many_steps_it_takes(kind: str) -> None:
    """What is recovered is no weight by itself, and none is called equal to ours; all together give the run."""
    ours, theirs, _ = planted(kind, "noise")
    x = torch.randn(1, 1, FEATURES).repeat(400, 1, 1)
    y = theirs(x)[0]
    found = rnnspect.check(ours, x, recorded=y, explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.recovered is not None
    (layer,) = found.recovered.layers
    assert (layer.exact, layer.kept, layer.likenesses) == (False, False, ())
    needed = math.ceil(1.5 * GATES[kind] * (FEATURES + UNITS + 1))
    assert layer.why_untold is not None
    assert layer.why_untold.endswith(
        f"of these steps differ from all before them; it takes {needed}, of a random x for example"
    )
    assert "equal to yours" not in str(found)
    ours.load_state_dict(dict(found.recovered.parameters))
    assert rnnspect.check(ours, x, recorded=y, explain=0).agrees


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_without_weights_has_rows_of_zeros(kind: str) -> None:
    """Its h is zero at every step, which shows nothing of its other gates: that all of it is zero is the answer."""
    ours, theirs = pair(kind, 0, FEATURES, UNITS)
    with torch.no_grad():
        for of in theirs.parameters():
            of[2::UNITS] = 0
    (layer,) = recovered(ours, theirs, torch.randn(700, 1, FEATURES)).layers
    assert layer.explains
    assert {one.kind for one in layer.likenesses} == {"others"}
    said = "zeros in row 2" if kind == "RNN" else "zeros in the rows of unit 2"
    assert [said in one.said for one in layer.likenesses[:2]] == [True, True], layer.likenesses
    assert all("zeros in" in one.said for one in layer.likenesses)


def shut() -> nn.GRU:
    """Its update gate keeps all but a thousandth of h, so that little of the candidate shows."""
    torch.manual_seed(0)
    gru = nn.GRU(6, 8)
    with torch.no_grad():
        gru.bias_ih_l0[8:16] += 8
    return gru


@torch.no_grad()
def test_weights_behind_a_shut_gate_are_left_at_ours() -> None:
    """They may as well be anything of their size: some were put far from ours, and called equal to them."""
    gru = shut()
    found = recovered(gru, gru, torch.randn(600, 1, 6))
    (layer,) = found.layers
    assert layer.untold > 30
    assert layer.kept
    for name, w in gru.named_parameters():
        off, error = (found.parameters[name] - w).abs(), found.errors[name]
        assert bool((off[error.isinf()] == 0).all())
        assert float(error[error.isfinite()].max()) < float(w.square().mean().sqrt())


@torch.no_grad()
def test_what_evidence_names_is_not_called_equal() -> None:
    ours, theirs = shut(), shut()
    theirs.weight_hh_l0[16 + 3] *= 1.5
    x = torch.randn(600, 1, 6)
    found = rnnspect.check(ours, x, recorded=theirs(x)[0], explain=0, recover=True)
    said = " ".join(str(found).split())
    assert "unit 3, weight_hh_l0 is 1.5 times as large" in said
    assert "apart from those above, no weight was found to differ from yours" in said
    assert "equal to yours" not in said


@pytest.mark.slow
@torch.no_grad()
def test_of_a_run_that_differs_too_little_to_tell_why_no_weight_is_called_equal() -> None:
    ours, theirs = shut(), shut()
    theirs.get_parameter("weight_hh_l0").mul_(1.02)
    x = torch.randn(400, 1, 6)
    said = " ".join(str(rnnspect.check(ours, x, recorded=theirs(x)[0], explain=0, recover=True)).split())
    assert said.startswith("✗ DIFFER")
    assert "no weight was found to differ from yours: none does, or the differences are too small to show which" in said
    assert "equal to yours" not in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_multiplied_is_named_with_its_factor(kind: str) -> None:
    ours, theirs = pair(kind, 0, FEATURES, UNITS)
    with torch.no_grad():
        theirs.weight_hh_l0[5] *= 1.01
    found = recovered(ours, theirs, torch.randn(900, 1, FEATURES))
    (one,) = found.layers[0].likenesses
    assert one.said == "weight_hh_l0 has 1.01 times your values in row 5 in the engine; the rest equals yours"
    off = found.parameters["weight_hh_l0"] != ours.weight_hh_l0
    assert {row for row, _ in off.nonzero().tolist()} == {5}


@pytest.mark.slow
@torch.no_grad()
def test_a_bias_that_is_larger_in_one_gate_is_told_by_how_much() -> None:
    ours, theirs = pair("LSTM", 0, FEATURES, UNITS)
    theirs.bias_ih_l0[UNITS : 2 * UNITS] += 2
    (one,) = recovered(ours, theirs, torch.randn(900, 1, FEATURES)).layers[0].likenesses
    said = "bias_ih_l0 + bias_hh_l0 has 2 more than yours in gate f in the engine; the rest equals yours"
    assert one.said == said


@torch.no_grad()
def test_a_hint_is_all_that_is_changed_in_a_run_that_agrees() -> None:
    ours, theirs = pair("GRU")
    theirs.bias_ih_l0[3] += 1e-6
    x = torch.randn(500, 1, 8)
    found = rnnspect.check(ours, x, recorded=theirs(x)[0], explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.agrees
    assert [one.entry for one in found.suspects] == [("bias_ih_l0", (3,))]
    assert found.recovered is not None
    for name, here in ours.named_parameters():
        off = found.recovered.parameters[name] - here
        assert off.nonzero().tolist() == ([[3]] if name == "bias_ih_l0" else [])
    error = float(found.recovered.errors["bias_ih_l0"][3])
    assert abs(float(found.recovered.differences["bias_ih_l0"][3]) - 1e-6) < 3 * error  # `part.FITS`


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_number_is_named_with_its_place(kind: str) -> None:
    ours, theirs = pair(kind, 0, FEATURES, UNITS)
    with torch.no_grad():
        theirs.weight_hh_l0[7, 3] *= 1.05
    (layer,) = recovered(ours, theirs, torch.randn(900, 1, FEATURES)).layers
    (one,) = layer.likenesses
    assert one.said == "weight_hh_l0 has another value in [7,3] in the engine; the rest equals yours"


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_of_weights_that_a_coarse_recording_hides_nothing_is_said(kind: str) -> None:
    """In float16 noise of 1 % shows in some rows only; the others were called equal, or all of it a low rank."""
    ours, theirs = pair(kind, 0, 6, 8)
    for w in theirs.parameters():
        w *= 1 + 0.01 * torch.randn_like(w)
    x = torch.randn(3 * GATES[kind] * 15, 2, 6)
    found = rnnspect.check(ours, x, recorded=theirs(x)[0].half(), explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.recovered is not None
    for one in found.recovered.layers[0].likenesses:
        assert one.kind in ("noise", "others", "entries")
        assert one.kind == "noise" or "elsewhere a change of that size may not show in this run" in one.said


def test_the_two_biases_of_a_gate_are_two_where_each_of_them_shows() -> None:
    """b_hn of a GRU is multiplied with r, so that it is told apart from b_in."""
    ours, theirs, x = planted("GRU", "float16")
    (layer,) = recovered(ours, theirs, x).layers
    assert [one.said for one in layer.likenesses][2:] == [
        "bias_ih_l0 + bias_hh_l0 of gates r, z is rounded to float16 in the engine",
        "bias_ih_l0 of gate n is rounded to float16 in the engine",
        "bias_hh_l0 of gate n is rounded to float16 in the engine",
    ]


def test_units_that_were_sorted_anew_are_seen_in_rows_and_columns() -> None:
    torch.manual_seed(0)
    ours, order = torch.randn(6, 6, dtype=torch.float64), torch.randperm(6)
    theirs = ours[order][:, order]
    part = ParameterPart(
        "weight_hh_l0", (ours,), theirs, torch.full_like(ours, 1e-6), PackedRows(), {}, 36, ("weight_hh_l0",)
    )
    found = both(part)
    assert found is not None
    shown = ", ".join(map(str, order.tolist()))
    assert found.said == f"has its rows and its columns in another order in the engine: columns {shown}"
    assert found.terms is not None
    assert torch.equal(found.terms[0], theirs)
    assert both(replace(part, theirs=ours)) is None


@pytest.mark.parametrize("to", [3.0, 4.0])
def test_a_weight_half_way_between_two_steps_may_have_been_rounded_to_either(to: float) -> None:
    ours = torch.arange(-127.0, 128.0, dtype=torch.float64).view(15, 17) / 1024
    theirs = ours.clone()
    ours[0, 2], theirs[0, 2] = 3.5 / 1024, to / 1024
    part = ParameterPart(
        "weight_hh_l0", (ours,), theirs, torch.full_like(ours, 1e-9), PackedRows(), {}, 255, ("weight_hh_l0",)
    )
    found = bits(part)
    assert found is not None
    assert found.terms is not None
    assert torch.equal(found.terms[0], theirs)
    ours[0, 2] = 3.4 / 1024
    assert (bits(replace(part, terms=(ours,))) is None) == (to == 4)


def test_too_few_steps_say_how_many_it_takes() -> None:
    ours, theirs, x = planted("LSTM", "noise")
    found = recovered(ours, theirs, x[:20])
    assert found.layers == ()
    assert "so 174 steps are needed; the run has 40" in found.left_out[0]


def test_a_layer_that_nobody_recorded_is_said() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(4, 5, num_layers=2)
    x = torch.randn(200, 1, 4)
    found = recovered(gru, gru, x)
    assert found.left_out == (
        "layer 0 forward keeps your weights: its h was not recorded; record l0.forward.h as well",
        "layer 1 forward keeps your weights: its input was not recorded; record l0.forward.h as well",
    )


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_layers_that_were_swapped_are_told_at_once(kind: str) -> None:
    torch.manual_seed(0)
    both: nn.RNNBase = getattr(nn, kind)(8, 8, num_layers=2)
    own = {name: w.clone() for name, w in both.state_dict().items()}
    x, recorded = torch.randn(400, 1, 8), {}
    given = x
    for layer, other in ((0, 1), (1, 0)):
        one: nn.RNNBase = getattr(nn, kind)(8, 8)
        one.load_state_dict({name: own[f"{name[:-1]}{other}"] for name in one.state_dict()})
        given = one(given)[0]
        recorded[f"l{layer}.forward.h"] = given.transpose(0, 1)
    found = rnnspect.check(both, x, recorded=recorded, explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.recovered is not None
    for layer, of in enumerate(found.recovered.layers):
        (said,) = of.likenesses
        assert of.exact
        assert (said.kind, said.said.endswith(f"are those of layer {1 - layer} in the engine")) == ("others", True)
        for name in own:
            if name.endswith(f"_l{layer}"):
                assert torch.equal(found.recovered.parameters[name], own[f"{name[:-1]}{1 - layer}"])


def test_equations_that_differ_are_no_parameters() -> None:
    ours, _ = pair("RNN", 0, FEATURES, UNITS)
    relu = nn.RNN(FEATURES, UNITS, nonlinearity="relu")
    relu.load_state_dict(ours.state_dict())
    (layer,) = recovered(ours, relu, torch.randn(300, 1, FEATURES)).layers
    assert not layer.explains
    assert layer.likenesses == ()


def test_an_unexplained_run_is_recovered_unasked() -> None:
    ours, theirs, x = planted("GRU", "noise")
    with torch.no_grad():
        found = rnnspect.check(ours, x, recorded={"output": theirs(x)[0]}, explain=0.5)
    assert isinstance(found, rnnspect.Verdict)
    assert found.recovered is not None
    assert "noise of about" in str(found)


def test_weights_that_were_quantised_with_one_step_and_read_with_another_are_a_multiple_and_noise() -> None:
    """int8 numbers of a step of max|w|/127, read as if it was max|w|/128."""
    ours, theirs = pair("GRU", 3, 5, 8)
    with torch.no_grad():
        for w in (theirs.weight_ih_l0, theirs.weight_hh_l0):
            w.copy_((w / (w.abs().max() / 127)).round() * (w.abs().max() / 128))
        y = theirs(x := torch.randn(150, 4, 5))[0]
    found = rnnspect.check(ours, x, recorded={"output": y}, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    said = re.findall(r"weight_.h_l0 is (\S+) times as large in the engine, and differs by\s+noise", str(found))
    assert len(said) == 2
    assert all(abs(float(factor) - 127 / 128) < 0.003 for factor in said)


@pytest.mark.parametrize(("factor", "said"), [(0.5, "0.5"), (1.2345678, "1.235"), (1.0, "1"), (1.00002, "1.00002")])
def test_a_factor_is_told_from_1(factor: float, said: str) -> None:
    assert in_digits(factor) == said


def test_the_command_writes_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs, x = planted("LSTM", "8 bits by row")
    files = {name: str(tmp_path / name) for name in ("m.pt", "x.npy", "y.npy", "weights.npz")}
    torch.save(ours.state_dict(), files["m.pt"])
    with torch.no_grad():
        y = theirs(x)[0]
    np.save(files["x.npy"], x.transpose(0, 1).numpy())
    np.save(files["y.npy"], y.transpose(0, 1).numpy())
    asked = ["check", files["m.pt"], "--batch-first", "--input", files["x.npy"], "--recorded", files["y.npy"]]
    assert main([*asked, "--recover", files["weights.npz"]]) == 1
    said = capsys.readouterr()
    assert "weight_ih_l0 is rounded to 8 bits by row in the engine" in " ".join(said.out.split())
    assert f"wrote {files['weights.npz']}" in said.err
    asked[1] = files["weights.npz"]
    assert main(asked) == 0  # with what was recovered the engine is right


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--recover", "weights.txt"], "use a name that ends in .npz"),
        (["--recover", "weights.npz", "--backward"], "cannot be combined with --backward"),
        (["--recover", "weights.npz", "--engine", "all"], "recovers one run, not several"),
    ],
)
def test_what_does_not_go_with_it(asked: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--cell", "gru", *asked]) == 2
    assert said in capsys.readouterr().err


def test_normal_equations_are_made_about_once_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are nearly all that a recovery costs. A change of 1 % bends the equations a little: a step by those at ours
    still shrinks what is left."""
    from rnnspect.judging.evidence import recovering_units as recovering

    made = []
    kept = recovering.Normal
    monkeypatch.setattr(recovering, "Normal", lambda *of: made.append(of[0].shape) or kept(*of))
    found = recovered(*planted("GRU", "noise"))
    assert found.layers[0].explains
    assert UNITS <= len(made) <= 1.5 * UNITS


def test_a_run_that_is_too_short_says_how_long_a_longer_one_has_to_be() -> None:
    """Each unit has six weights, and it takes half as many values again: nine rows, of which two items have two a
    step."""
    torch.manual_seed(0)
    ours, theirs = (nn.RNN(2, 3, batch_first=True) for _ in range(2))
    x = torch.randn(2, 5, 2)
    for steps in (4, 5):
        found = rnnspect.check(ours, x[:, :steps], recorded=theirs(x[:, :steps])[0].detach())
        said = "a run of 9 steps, all batch items together, would show the engine's weights; this is too short"
        assert (said in found.notes) == (steps < 5)
        assert (found.recovered is None) == (steps < 5)


def test_a_row_of_zeros_is_seen_where_ours_has_a_zero_in_it() -> None:
    ours = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours[2, 3] = 0
    theirs, error = ours.clone(), torch.full_like(ours, 1e-6)
    theirs[2], error[2] = 0, 0
    part = ParameterPart("weight_hh_l0", (ours,), theirs, error, PackedRows(), {}, 36, ("weight_hh_l0",))
    assert _off(part, turned=False).tolist() == [2]
    assert _off(replace(part, theirs=ours), turned=False).tolist() == []
