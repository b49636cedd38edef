"""Weights of another checkpoint in the engine: which layer, gate, rows or units are said, and what is no checkpoint."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnspect
from benchmarks.recovery import assumption_of
from rnnspect.cli import main
from rnnspect.errors import InputError
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.evidence.elsewhere import OtherWeights, other_layers
from rnnspect.judging.evidence.linearised import Steps
from rnnspect.judging.evidence.starts import starts_of_units
from rnnspect.judging.layer import cast
from rnnspect.judging.recovery import Recovery
from rnnspect.tracing.prepare import prepare
from tests.cells.test_examples import cell as example
from tests.judging.test_evidence import GATES, KINDS, pair

FEATURES, UNITS = 6, 8
OTHER = "other_weights"


class Mixed(NamedTuple):
    takes: Callable[[str, int], list[int]]
    """The rows of a parameter that are the other's: of its name, and how many it has."""
    said: str
    """Of weight_hh_l0."""


MIXED = {
    "layer": Mixed(lambda _, rows: [*range(rows)], "all its weights are those of layer 0 of"),
    "matrix": Mixed(lambda name, rows: [*range(rows)] * (name == "weight_hh_l0"), "weight_hh_l0 is that of"),
    "rows": Mixed(lambda name, _: [*range(3, 6)] * (name == "weight_hh_l0"), "weight_hh_l0 has rows 3 to 5 of"),
    "gate": Mixed(lambda _, rows: [*range(rows - UNITS, rows)], "weight_hh_l0 has gate {last} of"),
    "units": Mixed(
        lambda _, rows: [row for row in range(rows) if row % UNITS in (2, 3, 4)],
        "weight_hh_l0 has the rows of units 2 to 4 of",
    ),
}


def mixed(kind: str, what: str) -> tuple[nn.RNNBase, nn.RNNBase, nn.RNNBase, Tensor]:
    """Ours, the other checkpoint, the engine with rows of both, and an input with three rows for each unknown."""
    ours, theirs = pair(kind, 0, FEATURES, UNITS)
    other, _ = pair(kind, 1, FEATURES, UNITS)
    there = dict(other.named_parameters())
    with torch.no_grad():
        for name, of in theirs.named_parameters():
            rows = MIXED[what].takes(name, len(of))
            of[rows] = there[name][rows]
    return ours, other, theirs, torch.randn(3 * GATES[kind] * (FEATURES + UNITS + 1), 1, FEATURES)


@torch.no_grad()
def recovered(ours: nn.RNNBase | rnnspect.Spec, recorded: Any, x: Tensor, other: Any) -> Recovery:
    found = rnnspect.check(ours, x, recorded=recorded, explain=0, other_weights=other)
    assert isinstance(found, rnnspect.Verdict)
    assert found.recovered is not None
    return found.recovered


EVERY = [(kind, what) for kind in KINDS for what in MIXED if (kind, what) not in (("RNN", "gate"), ("RNN", "units"))]


@pytest.mark.parametrize(("kind", "what"), EVERY)
def test_what_is_of_the_other_checkpoint_is_said_and_set_to_that(kind: str, what: str) -> None:
    ours, other, theirs, x = mixed(kind, what)
    found = recovered(ours, theirs(x)[0], x, other)
    (layer,) = found.layers
    assert layer.exact
    said = MIXED[what].said.format(last={"GRU": "n", "LSTM": "o", "RNN": "h"}[kind])
    assert [f"{said} {OTHER} in the engine" in one.said for one in layer.likenesses].count(True) == 1, layer.likenesses
    assert {(one.kind, one.checkpoint) for one in layer.likenesses} == {("others", OTHER)}
    for name, there in theirs.named_parameters():
        # Where nothing tells b_ih from b_hh, both are as they were stored: in ours, or in the other checkpoint.
        assert torch.equal(found.parameters[name], there)


def test_each_unit_begins_with_the_blocks_of_rows_that_leave_least() -> None:
    """So that its normal equations are made once, not twenty times."""
    ours, other, theirs, x = mixed("GRU", "gate")
    assumed = assumption_of(ours, x, theirs(x)[0].detach())
    others = other_layers(assumed, [OtherWeights("old", other.state_dict())])
    steps, p = Steps.of(chunk_at(assumed.run, 0, len(x)), None), cast(assumed.p, torch.float64)
    start = starts_of_units(assumed.equations, p, others, steps, torch.ones(UNITS, dtype=torch.bool))
    for name, of in theirs.named_parameters():
        assert torch.equal(start.named(0, "forward")[name], of.detach().double())


@pytest.mark.slow
@torch.no_grad()
def test_layers_and_directions_each_have_their_own() -> None:
    torch.manual_seed(0)
    ours, other = (nn.LSTM(4, 5, num_layers=2, bidirectional=True) for _ in range(2))
    x = torch.randn(600, 1, 4)
    given: Tensor | None = None
    recorded: dict[str, Tensor] = {}
    own, there = ours.state_dict(), other.state_dict()
    taken = {"l0_reverse": "l0_reverse", "l1": "l1_reverse"}  # of our layers the other's
    for layer in range(2):
        one = nn.LSTM(4 if layer == 0 else 10, 5, bidirectional=True)
        ends = {f"l0{side}": f"l{layer}{side}" for side in ("", "_reverse")}
        of = {
            f"{name}_{end}": there[f"{name}_{taken[from_]}"] if from_ in taken else own[f"{name}_{from_}"]
            for end, from_ in ends.items()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        one.load_state_dict(of)
        given = one(x if given is None else given)[0]
        recorded |= {
            f"l{layer}.{way}.h": half.transpose(0, 1)
            for way, half in zip(("forward", "reverse"), given.chunk(2, -1), strict=True)
        }
    found = recovered(ours, recorded, x, there)
    said = {(of.layer, of.direction): [one.said for one in of.likenesses] for of in found.layers}
    assert said == {
        (0, "forward"): [],
        (0, "reverse"): [f"all its weights are those of layer 0 reverse of {OTHER} in the engine"],
        (1, "forward"): [f"all its weights are those of layer 1 reverse of {OTHER} in the engine"],
        (1, "reverse"): [],
    }


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@torch.no_grad()
def test_a_matrix_between_the_units_and_h_has_all_weights_of_the_other_found_at_once() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.LSTM(4, 6, proj_size=3) for _ in range(2))
    x = torch.randn(900, 1, 4)
    (layer,) = recovered(ours, theirs(x)[0], x, theirs).layers
    assert layer.exact
    assert [one.said for one in layer.likenesses] == [f"all its weights are those of layer 0 of {OTHER} in the engine"]


HEADS = {
    "gate v": [*range(12, 16)],
    "head 1 of gate k": [*range(9, 12)],
    "head 1 of gates q, k, v": [*range(3, 6), *range(9, 12), *range(14, 16)],
}


@pytest.mark.parametrize("said", HEADS)
def test_heads_of_a_cell_with_matrices_are_said_though_other_weights_give_the_same_h(said: str) -> None:
    spec = rnnspect.Spec(cell=example("retnet"), input_size=3, hidden_size=4, dtype="float64")
    ours, other = ({**prepare(spec.with_changes(seed=seed), "zeros:1").parameters} for seed in (0, 1))
    mixed = {name: of.clone() for name, of in ours.items()}
    for name in ("weight_ih_l0", "bias_ih_l0"):
        mixed[name][HEADS[said]] = other[name][HEADS[said]]
    here, there = (spec.with_changes(weights={name: w.tolist() for name, w in of.items()}) for of in (ours, mixed))
    x = torch.randn(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    output = rnnspect.trace(there, x).output
    assert output is not None
    (layer,) = recovered(here, {"output": output.manual[0]}, x, other).layers
    assert layer.exact
    assert [one.said for one in layer.likenesses] == [
        f"{name} has {said} of {OTHER} in the engine; the rest equals yours" for name in ("weight_ih_l0", "bias_ih_l0")
    ]


@torch.no_grad()
def test_where_nothing_is_of_it_that_is_said() -> None:
    ours, theirs = pair("RNN", 0, FEATURES, UNITS)
    other, _ = pair("RNN", 1, FEATURES, UNITS)
    theirs.get_parameter("weight_hh_l0").mul_(0.99)
    x = torch.randn(200, 1, FEATURES)
    found = rnnspect.check(ours, x, recorded=theirs(x)[0], explain=0, other_weights=[other, theirs.state_dict()])
    said = " ".join(str(found).split())
    assert "weight_hh_l0 is that of other_weights[1] in the engine" in said
    assert "no weight of other_weights[0] was found in the engine" in said
    assert "no weight of other_weights[1] was found in the engine" not in said


def files(folder: Path, kind: str = "LSTM") -> list[str]:
    """A check of a run that has rows of old.pt; and files with other weights beside it."""
    ours, other, theirs, x = mixed(kind, "rows")
    torch.save(ours.state_dict(), folder / "model.pt")
    torch.save({f"encoder.{name}": w for name, w in other.state_dict().items()}, folder / "old.pt")
    two = {f"{which}.{name}": w for which in ("a", "b") for name, w in other.state_dict().items()}
    torch.save({name: w + 1 if name[0] == "a" else w for name, w in two.items()}, folder / "two.pt")
    torch.save(nn.GRU(FEATURES, UNITS).state_dict(), folder / "gru.pt")
    (folder / "old.yaml").write_text(
        f"cell: {kind.lower()}\ninput_size: {FEATURES}\nhidden_size: {UNITS}\nweights: old.pt:encoder\n"
    )
    np.save(folder / "x.npy", x[:, 0].numpy())
    np.save(folder / "y.npy", theirs(x)[0][:, 0].detach().numpy())
    asked = ["check", str(folder / "model.pt"), "--input", str(folder / "x.npy"), "--recorded", str(folder / "y.npy")]
    return [*asked, "--explain", "0", "-q"]


@pytest.mark.parametrize(("file", "called"), [("old.pt", "old.pt"), ("old.yaml", "old.yaml"), ("two.pt:b", "two.pt:b")])
def test_a_file_is_named_on_the_screen_and_in_json(
    file: str, called: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*files(tmp_path), "--other-weights", str(tmp_path / file)]
    assert main(asked) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"weight_hh_l0 has rows 3 to 5 of {called} in the engine; the rest equals yours" in said
    assert main([*asked, "-f", "json"]) == 1
    found = json.loads(capsys.readouterr().out)["recovered"]
    assert found["compared"] == [called]
    assert [one["checkpoint"] for one in found["layers"][0]["likenesses"]] == [called]


def test_of_a_file_with_several_networks_each_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files(tmp_path), "--other-weights", str(tmp_path / "two.pt")]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "has rows 3 to 5 of two.pt:b in the engine" in said
    assert "no weight of two.pt:a was found in the engine" in said


def test_the_page_says_it_too(tmp_path: Path) -> None:
    asked = files(tmp_path, "RNN")
    page = tmp_path / "page.html"
    report = ["report", *asked[1:-3], "--other-weights", str(tmp_path / "old.pt"), "-o", str(page), "-q"]
    assert main(report) == 0
    assert "has rows 3 to 5 of old.pt in the engine" in page.read_text()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "gru.pt",
            "no weight of this network's shapes: weight_hh (24, 8), weight_ih (24, 6); expected weight_hh (32, ",
        ),
        ("gone.pt", "no such file"),
        ("x.npy", "this file is one array (.npy), without a network"),
        ("two.pt:c", "there is no module 'c'"),
    ],
)
def test_what_is_no_checkpoint_of_such_a_network(
    file: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files(tmp_path), "--other-weights", str(tmp_path / file)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith(f"error: --other-weights {tmp_path / file.partition(':')[0]}")


@pytest.mark.parametrize("beside", [["--backward"], ["--sweep"], ["--engine", "all"]])
def test_what_does_not_go_with_it(beside: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--cell", "gru", "--other-weights", "old.pt", *beside]) == 2
    assert "error: --other-weights:" in capsys.readouterr().err


def test_in_python_what_is_no_checkpoint_says_what_is() -> None:
    ours, _ = pair("RNN", 0, FEATURES, UNITS)
    x = torch.randn(50, 1, FEATURES)
    for given, said in ((7, "got an object of type int"), ({}, "no recurrent weights")):
        with pytest.raises(InputError, match=said):
            rnnspect.check(ours, x, other_weights=given)
    with pytest.raises(InputError, match="a check of gradients recovers no weights"):
        rnnspect.check(ours, x, other_weights=copy.deepcopy(ours), backward=True)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "factor"), [("LSTM", 1.25), ("GRU", 2.0), ("RNN", 4.0)])
def test_a_kernel_that_is_too_large_is_not_dropout_that_drops_nothing(kind: str, factor: float) -> None:
    """1/(1 − p) is a factor as any other where no element is zero."""
    torch.manual_seed(3)
    module, x = getattr(torch.nn, kind)(5, 6, batch_first=True), torch.randn(2, 40, 5)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.weight_hh_l0 *= factor
    verdict = rnnspect.check(module, x, recorded=other(x)[0])
    assert verdict.verdict == "differ"
    assert not [one for one in verdict.causes if one.name == "dropout-active"]
    suspected = [one.name for one in verdict.suspects]
    assert suspected == ["weight_hh_l0"] or (not suspected and verdict.recovered is not None)
