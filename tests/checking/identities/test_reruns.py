"""Identities of what is run again: own engines and live modules that break one are told so, and right ones hold all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect as library
from rnnspect import Spec, engines
from rnnspect.checking.identities.reruns import identities_of
from rnnspect.errors import EngineError
from rnnspect.judging.declared import declared_by
from rnnspect.tracing.prepare import prepare
from tests.checking.identities.networks import LENGTHS, checked, drawn, failed, held, run_of

if TYPE_CHECKING:
    from pathlib import Path

    from rnnspect.engines.interface import Engine


OWN = """
import torch
import torch.nn.functional as F
from torch import nn

class Right(nn.Module):
    def __init__(self, input_size, hidden_size, num_layers=1, bidirectional=False):
        super().__init__()
        options = dict(num_layers=num_layers, bidirectional=bidirectional, batch_first=True)
        self.rnn = nn.GRU(input_size, hidden_size, **options)

    def forward(self, x, state=None):
        return self.rnn(x, state)

class DropsOut(Right):
    def forward(self, x, state=None):
        return self.rnn(F.dropout(x), state)

class Keeps(Right):
    kept = None

    def forward(self, x, state=None):
        begun = state if self.kept is None else self.kept[:, :len(x)]
        output, self.kept = self.rnn(x, begun)
        return output, self.kept

class KeepsItsShape(Keeps):
    def forward(self, x, state=None):
        output, self.kept = self.rnn(x, state if self.kept is None else self.kept)
        return output, self.kept

class Norms(Right):
    def forward(self, x, state=None):
        return self.rnn(F.batch_norm(x.transpose(1, 2), None, None, training=True).transpose(1, 2), state)

class Views(Right):
    def forward(self, x, state=None):
        output, h_n = self.rnn(x, state)
        return output.transpose(0, 1).contiguous().view(output.shape), h_n

class Exchanges(Right):
    def forward(self, x, state=None):
        self.rnn.batch_first = False
        return self.rnn(x)[0], torch.zeros(1, len(x), self.rnn.hidden_size)

class BeginsAtOne(Right):
    def forward(self, x, state=None):
        return self.rnn(x, torch.ones(1, len(x), self.rnn.hidden_size) if state is None else state)

class Drops(Right):
    def forward(self, x, state=None):
        return self.rnn(x)

class Doubles(Right):
    def forward(self, x, state=None):
        return self.rnn(2 * x, state)

class NeedsOne(Right):
    def forward(self, x, state=None):
        return self.rnn(x, state + 0)

def step(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh):
    return nn.functional.linear(x_t, weight_ih, bias_ih).add(state @ weight_hh.T + bias_hh).tanh()
"""
PLANTED = {
    "DropsOut": ("two evaluations", "differ", "dropout that eval() does not turn off"),
    "Keeps": ("two evaluations", "agree", "a state kept between calls"),
    "KeepsItsShape": ("two evaluations", "agree", "a state kept between calls"),
    "Norms": ("neighbours", "differ", "a norm over the batch"),
    "Views": ("neighbours", "differ", "a view instead of a transpose"),
    "Exchanges": ("neighbours", "differ", "batch and time swapped"),
    "BeginsAtOne": ("None and zeros", "agree", "an initial state other than zeros"),
    "NeedsOne": ("None and zeros", "agree", "an initial state other than zeros"),
    "Drops": ("chunks", "agree", "the run does not start from the given state"),
}
NETWORK = ("--cell", "gru", "--input-size", "4", "--hidden-size", "5", "--batch", "3")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_one_rounding_in_the_other_items_is_no_leak() -> None:
    """A function of a whole vector may round its numbers in another way where one of them is large."""

    def engine(leak: float) -> Any:
        def run(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
            right = torch.tanh(2 * x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)
            return right * (1 + leak * (x_t[0, 0] > 0))

        return run

    x = torch.ones(2, 12, 3)
    for leak, holds in ((2.0**-23, True), (1e-4, False)):
        found = library.check(Spec(cell="rnn", input_size=3, hidden_size=4), x, engine=engine(leak), explain=0)
        (said,) = [one for one in found.identities if one.name == "neighbours"]
        assert (found.verdict, said.holds) == ("differ", holds)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [6, 100], ids=["all of it", "a part"])
@pytest.mark.parametrize("name", PLANTED)
def test_an_own_engine_that_breaks_one_is_named(rnnspect, own: Path, name: str, steps: int):
    identity, answer, usual = PLANTED[name]
    result = rnnspect("check", *NETWORK, "-i", f"randn:{steps}", "--engine", f"{own}:{name}", "--format", "json")
    document = json.loads(result.out)
    assert document["verdict"] == answer
    assert result.status == (answer == "differ")
    failed = {one["name"]: one for one in document["identities"] if not one["holds"]}
    assert usual in failed[identity]["usual"]
    assert set(failed) <= {identity, "output and h_n"}


@pytest.mark.parametrize("lengths", [(), ("--lengths", "6,2,4")], ids=["whole", "padded"])
def test_a_right_own_engine_holds_them_all(rnnspect, own: Path, lengths: tuple[str, ...]):
    argv = ("check", *NETWORK, "-i", "randn:6", *lengths, "--engine", f"{own}:Right")
    found = json.loads(rnnspect(*argv, "--format", "json").out)["identities"]
    names = ["output and h_n", "two evaluations", "neighbours", "chunks", "None and zeros"]
    assert [(one["name"], one["holds"], one["usual"]) for one in found] == [(name, True, None) for name in names]
    assert f"Passed consistency checks: {', '.join(names)}" in " ".join(rnnspect(*argv).out.split())


@pytest.mark.usefixtures("no_causes")
def test_a_run_that_differs_breaks_none_of_them(rnnspect, own: Path):
    """What it computes is wrong, and equal to itself all the same."""
    argv = ("check", *NETWORK, "-i", "randn:100", "--engine", f"{own}:Doubles", "--format", "json")
    document = json.loads(rnnspect(*argv).out)
    assert document["verdict"] == "differ"
    found = {one["name"]: one["holds"] for one in document["identities"]}
    assert all(found.values())
    assert {"output and h_n", "two evaluations", "neighbours", "None and zeros"} <= set(found)


def test_a_step_is_always_given_its_state(rnnspect, own: Path):
    argv = ("check", "--cell", "rnn", "-i", "randn:6", "--num-layers", "2", "--engine", f"{own}:step", "-f", "json")
    found = json.loads(rnnspect(*argv).out)["identities"]
    assert [(one["name"], one["holds"]) for one in found] == [
        ("output and h_n", True), ("two evaluations", True), ("chunks", True),
    ]  # fmt: skip


def test_one_that_fails_is_seen_in_every_view(rnnspect, own: Path):
    argv = ("check", *NETWORK, "-i", "randn:100", "--engine", f"{own}:Drops")
    table = " ".join(rnnspect(*argv).out.split())
    assert "Failed consistency check: chunks: output differs by up to" in table
    assert "steps 0–31, then 32–63 with the state carried over" in table
    assert "usual cause: the run does not start from the given state" in table
    both = " ".join(rnnspect(*argv, "--engine", "torch").out.split())
    assert both.count("consistency check failed: chunks: output differs") == 1
    assert "consistency check: chunks" in rnnspect(*argv, "--format", "junit").out


class Again:
    """A shipped engine, as if it were somebody's own."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.run = engine.name, engine.run

    def without_state(self) -> None:
        return None


def _installed(name: str) -> Engine:
    try:
        return engines.find(name)
    except EngineError as error:
        pytest.skip(f"skipped: {error}")


@pytest.mark.each_value_once
@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, ["two evaluations", "neighbours", "chunks"]),
        ({"num_layers": 2, "bidirectional": True, "lengths": list(LENGTHS)}, ["two evaluations", "neighbours"]),
    ],
    ids=["one layer", "deep and padded"],
)
@pytest.mark.filterwarnings("ignore")  # whatever a framework warns of is not ours
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("name", [name for name in engines.names() if name != "torch-compile"])
def test_every_engine_of_ours_holds_them_all(name: str, cell: str, options: dict[str, Any], asked: list[str]):
    """But for torch-compile, which compiles for each shape anew and is torch's own code."""
    engine = _installed(name)
    spec = Spec(cell=cell, input_size=4, hidden_size=5, input="randn:7", batch=3).with_changes(**options)
    prepared = prepare(spec)
    try:
        ran = engine.run(spec, prepared.parameters, prepared.sequence)
    except EngineError as error:
        assert (name, cell) == ("equinox", "rnn"), error  # noqa: PT017 - which it does not have
        return
    found = identities_of(replace(prepared, engine=Again(engine)), declared_by(ran.engine), ran)
    assert [one.name for one in found if one.holds] == asked
    assert all(one.holds for one in found), found


@pytest.mark.each_value_once
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_live_module_holds_them_all(kind: str, layers: int, bidirectional: bool, padded: bool):
    module = drawn(kind, num_layers=layers, bidirectional=bidirectional, dropout=0.5 * (layers > 1))
    verdict = checked(module, run_of(module)[0], None, padded)
    assert verdict.agrees
    assert not failed(verdict)
    chunks = [] if bidirectional else ["chunks"]
    assert held(verdict) == ["output and h_n", "two evaluations", "neighbours", *chunks, "None and zeros"]
    assert module.training


class KeepsAModule(nn.GRU):
    kept: Tensor | None = None

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, self.kept = super().forward(x, hx if self.kept is None else self.kept)
        return output, self.kept


def test_a_live_module_that_keeps_its_state():
    module = KeepsAModule(4, 5, batch_first=True)
    verdict = checked(module, run_of(drawn("GRU"))[0], None)
    assert verdict.agrees
    assert set(failed(verdict)) == {"two evaluations"}


def test_a_state_of_its_own_is_not_none():
    module = drawn("GRU")
    x, _, states = run_of(module)
    assert "None and zeros" not in held(library.check(module, x, h0=states["h_n"]))
