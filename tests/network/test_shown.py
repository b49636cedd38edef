"""How results stand in a Python session: printed as the command's table, in one line, and as true or false."""

from __future__ import annotations

import io
import itertools
import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rich
import torch
from rich.console import Console
from torch import nn

import rnnspect
from rnnspect import Spec
from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.cli import main
from rnnspect.network import shown
from rnnspect.reporting.building import report_prepared
from rnnspect.tracing.prepare import prepare
from tests.marks import sampled
from tests.views import results as exact
from tests.views.test_notebook import RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "a\nb\x1b[31m\u202e" + "c" * 1000


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_one_line_in_a_session(name: str) -> None:
    result = RESULTS[name]()
    assert re.fullmatch(r"<[A-Z]\w+ .+>", repr(result))
    assert len(repr(result)) <= shown.MOST
    assert repr(result).isprintable()


def test_what_the_line_says() -> None:
    lstm = Spec(cell="lstm", input_size=3, hidden_size=4, batch=2)
    trace = rnnspect.trace(lstm, "randn:5")
    said = {
        repr(exact.agree()): "<Verdict agree: torch, float32, 10 steps>",
        repr(exact.differ()): "<Verdict differ: h of layer 0 forward, unit 3; gate-order>",
        repr(exact.cannot_tell()): "<Verdict cannot tell: nobody would have seen a shift of 0.01 in z>",
        repr(rnnspect.shapes(lstm)): "<Shapes LSTM(3, 4, batch_first=True): 144 parameters, 576 bytes in float32>",
        repr(trace.layers[0]): "<LayerTrace layer 0 forward: x, input_projection, hidden_projection, i, f, g, o, c, h>",
        repr(trace.h_n): "<Pair of shape (1, 2, 4): the equations and the engine>",
        repr(WatchedCalls((), 0)): "<WatchedCalls 0 calls of 0 modules>",
    }
    assert [*said] == [*said.values()]
    start = r"<Trace LSTM\(3, 4, batch_first=True\), a batch of 2, 5 steps: torch, maximum difference \d\.\de-\d\d>"
    assert re.fullmatch(start, repr(trace))
    derived = rnnspect.derive(lstm, "randn:5", step=2, unit=1, batch_index=1)
    assert repr(derived).startswith("<Derivation h of layer 0 forward, step 2, batch item 1, unit 1: ")
    gradient = rnnspect.derive(lstm, "randn:5", gradient="f[3]", step=2, batch_index=1, loss="last")
    assert repr(gradient).startswith("<GradientDerivation dL/df[step 2, 3] of layer 0 forward, batch item 1: ")
    gradient = rnnspect.derive(lstm, "randn:5", gradient="weight_hh_l0[3,1]")
    assert repr(gradient).startswith("<GradientDerivation dL/dweight_hh_l0[3, 1]: ")


@pytest.mark.parametrize("name", ["a\nb", HOSTILE])
def test_a_name_from_a_file_stays_in_its_line(name: str) -> None:
    for result in (
        replace(exact.agree(), engine=replace(exact.ENGINE, name=name)),
        exact.trace(replace(exact.ENGINE, name=name)),
    ):
        assert repr(result).isprintable()
        assert len(repr(result)) <= shown.MOST


def test_no_line_holds_the_numbers() -> None:
    weights = dict(nn.GRU(5, 3).state_dict())
    spec = Spec(cell="gru", hidden_size=3, weights=weights, input=[[0.5] * 5] * 40, lengths=None)
    assert (
        repr(spec)
        == str(spec)
        == "Spec(cell='gru', hidden_size=3, weights=<4 of them>, input=<40 of them>, lengths=None)"
    )
    assert repr(Spec()) == "Spec()"
    assert eval(repr(Spec(cell="lstm", lengths=[3, 2], batch=2)), {"Spec": Spec}) == Spec(
        cell="lstm", lengths=[3, 2], batch=2
    )


PRINTED: dict[str, tuple[list[str], Callable[[], Any]]] = {
    "shapes": (["shapes", "--cell", "lstm"], lambda: rnnspect.shapes(Spec(cell="lstm"))),
    "trace": (["trace", "--cell", "gru", "--input", "randn:30"], lambda: rnnspect.trace(Spec(cell="gru"), "randn:30")),
    "check": (["check", "--input", "randn:30"], lambda: rnnspect.check(Spec(), "randn:30")),
    "derive": (
        ["derive", "--input", "ramp:3", "--step", "2", "--unit", "1"],
        lambda: rnnspect.derive(Spec(), "ramp:3", step=2, unit=1),
    ),
    "derive a gradient": (
        ["derive", "--input", "ramp:3", "--gradient", "weight_hh_l0[1,0]", "--loss", "last"],
        lambda: rnnspect.derive(Spec(), "ramp:3", gradient="weight_hh_l0[1,0]", loss="last"),
    ),
    "derive a gradient by the chain rule": (
        ["derive", "--input", "randn:9", "--gradient", "h0[1]"],
        lambda: rnnspect.derive(Spec(), "randn:9", gradient="h0[1]"),
    ),
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", PRINTED)
def test_print_gives_what_the_command_prints(name: str, width: int, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    command, make = PRINTED[name]
    assert main(command) == 0
    printed = capsys.readouterr().out
    print(made := make())
    lines, of_command = (text.rstrip().splitlines() for text in (capsys.readouterr().out, printed))
    assert "\x1b" not in str(made)
    assert max(map(len, lines)) <= width
    # How to go on is said as it is asked for here.
    hint = re.compile(r"(?<=: )(--\w+ \S+ ?)+$|\b(?:step|gradient)=.*$| \(-v: every gate\)$")
    last = re.compile(r"add --steps|\.layers holds")
    shown, shown_there = (
        [hint.sub("", line) for line in itertools.takewhile(lambda line: not last.match(line), text)]
        for text in (lines, of_command)
    )
    assert shown == shown_there


def test_without_a_terminal_it_is_80_characters_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: (_ for _ in ()).throw(OSError))
    widest = max(map(len, str(rnnspect.trace(Spec(hidden_size=16), "randn:3")).splitlines()))
    assert 70 < widest <= 80


@pytest.mark.parametrize("name", sampled(RESULTS, 2))
def test_rich_prints_the_same_in_colour(name: str) -> None:
    result, file = RESULTS[name](), io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    rich.console.Console.print(console, result)
    plain = re.sub(r"\x1b\[[\d;]*m", "", file.getvalue())
    assert [line.rstrip() for line in plain.rstrip().splitlines()][:3] == str(result).splitlines()[:3]


def test_a_verdict_is_true_where_it_agrees() -> None:
    assert exact.agree()
    assert not exact.differ()
    assert not exact.cannot_tell()
    assert rnnspect.check(Spec(cell="gru"), "randn:20")
    assert not rnnspect.check(Spec(), recorded=np.ones((3, 2), "f4"), explain=0)


@pytest.mark.slow
def test_watched_calls_are_true_where_all_agree() -> None:
    model = nn.ModuleList([nn.GRU(3, 4), nn.GRU(4, 4)])
    x = torch.randn(20, 2, 3, generator=torch.Generator().manual_seed(1))
    with rnnspect.watch(model) as seen:
        model[1](model[0](x)[0])
    assert seen
    assert all(seen.check())
    model[1].register_forward_hook(lambda _module, _given, found: (found[0] + 0.01, found[1]))
    with rnnspect.watch(model) as seen:
        model[1](model[0](x)[0])
    assert not seen
    assert [bool(one) for one in seen.check(explain=0)] == [True, False]
    assert not WatchedCalls((), 0)  # nobody saw that anything agrees


def test_a_failed_assertion_shows_the_verdict() -> None:
    with pytest.raises(AssertionError, match=r"assert <Verdict differ: h of layer 0 forward, unit 3; gate-order>"):
        assert exact.differ()


def test_a_report_prints_its_verdict() -> None:
    report = report_prepared(prepare(Spec(cell="gru", input="randn:20")))
    assert str(report) == str(report.verdict)


@pytest.mark.slow
def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it():
    code = """
import sys, rnnspect
sys.modules["pandas"] = sys.modules["matplotlib"] = None
trace = rnnspect.trace(rnnspect.Spec(), "ramp:3")
for call in (trace.to_pandas, trace.plot):
    try:
        call()
    except ImportError as error:
        assert isinstance(error, rnnspect.PackageError) and isinstance(error, rnnspect.RnnspectError)
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pandas, plot = ran.stdout.splitlines()
    assert "pandas" in pandas
    assert pandas.endswith("; pip install 'rnnspect[pandas]'")
    assert "matplotlib" in plot
    assert plot.endswith("; pip install 'rnnspect[plot]'")


def test_a_line_that_fits_is_whole():
    gradients = rnnspect.gradients(torch.nn.LSTM(3, 4, batch_first=True), torch.randn(2, 20, 3))
    start = (
        r"<Gradients LSTM\(3, 4, batch_first=True\), a batch of 2, 20 steps: torch, maximum difference \d\.\de-\d\d>"
    )
    assert re.fullmatch(start, repr(gradients))
