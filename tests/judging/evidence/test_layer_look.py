"""The parameter that is off in a cell whose units have none of their own: it is named, and nothing else ever is.

Drawn: each such cell in examples/cells/, by a loop in float32 that shares no line with it. In half of the runs it is
right, but adds up W x in another order; in the others a number is 1 % larger, or larger by 0.001. A few here; 400 with
`pytest -m campaign -s tests/judging/evidence/test_layer_look.py`, or as many as DRAWN says, from the seed FIRST on.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.engines.own.loading import load_cell
from rnnspect.tracing.prepare import prepare
from tests.causes.backward.test_gates_of_several_sizes import retnet
from tests.judging.evidence.test_jacobian_matrix import given, network

CELLS = ("retnet", "gated_delta", "slstm", "mlstm", "s6", "mamba", "lru", "layer_norm_lstm")
DRAWN, FIRST = int(os.environ.get("DRAWN", "400")), int(os.environ.get("FIRST", "0"))


class Planted(NamedTuple):
    spec: Spec
    x: Tensor
    h: Tensor
    name: str
    """Of the number that is off; empty where the run is right."""
    by: float


def planted(seed: int) -> Planted:
    generator = torch.Generator().manual_seed(seed)

    def upto(count: int) -> int:
        return int(torch.randint(count, (1,), generator=generator))

    spec = network(CELLS[seed % len(CELLS)], 2 + upto(5), 4 + 2 * upto(3), seed)
    theirs = {name: w.clone() for name, w in prepare(spec, "zeros:1").parameters.items()}
    x = torch.randn(40 + upto(100), 1 + upto(3), spec.input_size, generator=generator)
    if upto(2):
        order = torch.randperm(spec.input_size, generator=generator)
        other = theirs | {"weight_ih_l0": theirs["weight_ih_l0"][:, order]}
        return Planted(spec, x, given(spec, other, x[..., order]), "", 0)
    name = sorted(theirs)[upto(len(theirs))]
    at = tuple(upto(size) for size in theirs[name].shape)
    by = float(0.01 * theirs[name][at]) if upto(2) else 1e-3
    theirs[name][at] += by
    alike = name == "bias_hh_l0" and spec.cell_type.name != "layer_norm_lstm"
    said = f"{name}[{','.join(map(str, at))}]"
    return Planted(spec, x, given(spec, theirs, x), said.replace("bias_hh", "bias_ih") if alike else said, by)


def judged(of: Planted) -> Verdict:
    found = rnnspect.check(of.spec, of.x, recorded={"output": of.h}, explain=0)
    assert isinstance(found, Verdict)
    return found


def wrong(of: Planted, found: Verdict) -> str | None:
    """What is wrong with a verdict; None where nothing is. A change that is too small for it is none."""
    named = [one.name for one in found.suspects]
    if not of.name:
        return f"of a right run: {found.verdict}, {named}" if named or found.verdict == "differ" else None
    if not named:
        return None
    (one, *more) = found.suspects
    if more or of.name not in one.name or one.ours is None or one.theirs is None:
        return f"{of.name} is off, named: {named}"
    off = abs(one.theirs - one.ours - of.by)
    return None if off <= max(one.floor, 0.05 * abs(of.by)) else f"{of.name} is off by {of.by}: {one.said}"


@pytest.mark.slow
def test_what_is_off_is_named_and_nothing_else() -> None:
    found = [(of, judged(of)) for of in map(planted, range(len(CELLS)))]
    assert [said for of, verdict in found if (said := wrong(of, verdict))] == []
    differ = [verdict for of, verdict in found if of.name and verdict.verdict == "differ"]
    assert len(differ) >= 3
    assert sum(bool(verdict.suspects) for verdict in differ) >= 0.9 * len(differ)


@pytest.mark.campaign
def test_what_is_off_is_named_and_nothing_else_in_any_drawn_run() -> None:
    """Prints how many were right, were too small to differ, and were named, of each cell."""
    runs: Counter[tuple[str, str]] = Counter()
    errors = []
    for seed in range(FIRST, FIRST + DRAWN):
        of = planted(seed)
        found = judged(of)
        what = "right" if not of.name else "named" if found.suspects else f"planted, {found.verdict}, not named"
        runs[of.spec.cell_type.name, what] += 1
        if said := wrong(of, found):
            errors.append(f"{seed} {of.spec.cell_type.name} {said}")
            print(errors[-1], flush=True)
    for (cell, what), count in sorted(runs.items()):
        print(f"{count:6}  {cell}, {what}")
    assert not errors


def test_a_gate_of_which_a_wrong_cell_state_is_not_made_is_no_suspect() -> None:
    """Sᵀ q is as much too small with smaller keys as with smaller queries, but S shows which."""
    spec = Spec(cell=load_cell("examples/cells/retnet.py:retnet"), input_size=5, hidden_size=4, input="randn:30")
    queries, keys = (
        rnnspect.check(spec, engine=retnet(wrong), explain=0)
        for wrong in (lambda q, k, v: (0.577 * q, k, v), lambda q, k, v: (q, 0.577 * k, v))
    )
    assert [one.gate for one in queries.suspects] == ["q"]
    assert keys.first is not None
    assert keys.first.quantity == "c"
    assert "q" not in {one.gate for one in keys.suspects}


def normed_gru(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    x_r, x_z, x_n = a.split(wx)
    h_r, h_z, h_n = a.split(a.hidden(h))
    r, z = a.sigmoid(a.norm(x_r + h_r, "eps")), a.sigmoid(x_z + h_z)
    n = a.tanh(x_n + r * (a.parameter("gain") * a.norm(h_n, "eps")))
    return {"r": r, "z": z, "n": n, "h": a.lerp(n, h, z)}


NORMED_GRU = Cell(
    name="normed_gru", torch_name="", gates=("r", "z", "n"), states=("h",), quantities=("r", "z", "n", "h"),
    functions=("sigmoid", "tanh"), step=normed_gru, constants=(("eps", 1e-5),),
    parameters=(("gain", ("hidden_size",)),), mixes=True,
)  # fmt: skip


def with_epsilon_outside(
    x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, gain: Tensor
) -> Tensor:
    """It makes what a norm gives smaller by nearly one factor, 1 − ε/σ."""

    def norm(v: Tensor) -> Tensor:
        return (v - v.mean(-1, keepdim=True)) / (v.std(-1, keepdim=True, correction=0) + 1e-5)

    (x_r, x_z, x_n), (h_r, h_z, h_n) = (
        (x_t @ weight_ih.T + bias_ih).chunk(3, -1),
        (h @ weight_hh.T + bias_hh).chunk(3, -1),
    )
    r, z = torch.sigmoid(norm(x_r + h_r)), torch.sigmoid(x_z + h_z)
    return torch.lerp(torch.tanh(x_n + r * gain * norm(h_n)), h, z)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_leaves_values_beyond_their_bounds_is_no_suspect(seed: int) -> None:
    """A gain 1.0001 times as large comes near to the other ε, and does not explain it."""
    spec = Spec(cell=NORMED_GRU, input_size=5, hidden_size=16, input="randn:50", seed=seed, h0="randn")
    found = rnnspect.check(spec, engine=with_epsilon_outside, explain=0.1)
    assert found.verdict == "differ"
    assert not found.suspects
