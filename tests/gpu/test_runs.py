"""What is run on a GPU and how it comes to a check: a captured graph, a command's --device, a live model; and what a
check costs there beside the forward."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect as library

MODEL = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.{kind}(5, 16, batch_first=True)
        self.out = nn.Linear(16, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[0])

def build():
    torch.manual_seed(0)
    return Model()
"""


def replayed(module: nn.Module, x: Tensor) -> Any:
    """What a module gives for x: on CUDA out of a captured graph, which is replayed on x after it was captured on
    zeros; elsewhere of a plain call into memory that was there before."""
    held = torch.zeros_like(x)
    if x.device.type != "cuda":
        held.copy_(x)
        return module(held)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # a graph is captured after a warm-up on another stream
        for _ in range(3):
            module(held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        given = module(held)
    held.copy_(x)
    graph.replay()
    torch.cuda.synchronize()
    return given


@pytest.mark.slow
@pytest.mark.usefixtures("float32_products")
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_replayed_graph_is_what_the_equations_give(place: str, kind: str):
    torch.manual_seed(0)
    module = getattr(nn, kind)(8, 32, num_layers=2).to(place).eval()
    x = torch.randn(30, 4, 8, device=place)
    with torch.no_grad():
        recorded = replayed(module, x)
        verdict = library.check(module, x, recorded=recorded)
        assert verdict.agrees, str(verdict)
        stale = replayed(module, x + 1)
    assert library.check(module, x, recorded=stale).verdict == "differ"


def test_what_a_check_costs_beside_the_forward(place: str):
    """Printed, not asserted: seconds, and on CUDA the most memory of the device."""
    module = nn.LSTM(64, 128, num_layers=2).to(place)
    x = torch.randn(500, 16, 64, device=place)

    def cost(work: Any) -> tuple[float, int]:
        if place == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        before, start = torch.cuda.memory_allocated() if place == "cuda" else 0, time.perf_counter()
        work()
        if place == "cuda":
            torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() - before if place == "cuda" else 0
        return time.perf_counter() - start, peak

    verdicts = []
    with torch.no_grad():
        module(x)  # once before: kernels are chosen and loaded at the first call
        forward, forward_peak = cost(lambda: module(x))
    checked, checked_peak = cost(lambda: verdicts.append(library.check(module, x)))
    print(
        f"{place}: forward {forward:.3f} s, {forward_peak >> 20} MiB; check {checked:.3f} s, {checked_peak >> 20} MiB"
    )
    assert verdicts[0].verdict == "agree"


@pytest.mark.each_value_once
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    "command",
    [
        ("run",),
        ("trace", "--steps", "0:2"),
        ("check",),
        ("check", "--engine", "torch-cell"),
        ("derive", "--step", "1", "--unit", "1"),
        ("report", "-o", "{}/report.html"),
        ("probe", "-o", "{}/probe.npz"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_command_runs_on_the_device(rnnspect, tmp_path: Path, place: str, command: tuple[str, ...], cell: str):
    argv = [part.format(tmp_path) for part in command]
    # A probe has a sequence of its own.
    sizes = ["--cell", cell] if command[0] == "probe" else ["--cell", cell, "--input", "randn:6", "--batch", "2"]
    result = rnnspect(*argv, *sizes, "--device", place)
    assert result.status == 0, result.err
    for part in argv:
        if part.startswith(str(tmp_path)):
            assert Path(part).stat().st_size > 0


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("command", ["check", "trace", "run"])
def test_a_live_model_is_moved_to_the_device(rnnspect, tmp_path: Path, place: str, command: str, kind: str):
    model = tmp_path / "model.py"
    model.write_text(MODEL.format(kind=kind))
    argv = [command, f"{model}:build", "--input", "randn:7", "--batch", "3", "--device", place]
    result = rnnspect(*argv, "-f", "json")
    assert result.status == 0, result.err
    assert f'"device": "{place}' in result.out


@pytest.mark.usefixtures("float32_products")
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_a_watched_model_agrees_where_it_runs(place: str, kind: str):
    module = getattr(nn, kind)(6, 20).to(place)
    x = torch.randn(9, 3, 6, device=place)
    with torch.no_grad(), library.watch(module) as seen:
        if kind.endswith("Cell"):
            state = None
            for step in x:
                state = module(step, state)
        else:
            module(x)
    assert seen.agrees, str(seen)
    assert {one.verdict.engine.device[: len(place)] for one in seen.check() if one.verdict is not None} == {place}


def test_a_long_run_on_a_gpu_is_one_call(place: str):
    """Nobody has measured that cuDNN gives the same bits in pieces; on the CPU it is said that there were some."""
    verdict = library.check(library.Spec(cell="lstm", input="randn:20000", device=place))
    assert verdict.verdict != "differ"
    assert any("ran in 2 calls" in note for note in verdict.notes) == (place == "cpu")
