"""The cells of torchrecurrent, against loops in torch that share no line with them, and against that package where it
is installed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.tracing.prepare import prepare
from tests.cells.recurrent.peer import Peer
from tests.cells.recurrent.table import NOT_WRITTEN, TABLE
from tests.marks import sampled

PACKAGE = "torchrecurrent"
MOST_LINES = 15
SQUARE = ("IntersectionRNN", "TGRU", "TLSTM")
"""These have as many units as x has numbers."""


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip(PACKAGE, reason=f"skipped: {PACKAGE} is not installed")


def test_the_table_has_every_layer_of_the_package(theirs: Any) -> None:
    """A layer that comes with a new version is missing here until somebody writes it down."""
    base = torch.nn.Module
    layers = {name for name in theirs.__all__ if not name.endswith("Cell") and issubclass(getattr(theirs, name), base)}
    assert layers == {*TABLE, *NOT_WRITTEN}


def test_the_documentation_says_where_their_code_is_not_the_paper_s() -> None:
    text = (Path(__file__).parents[2] / "docs" / "own-cells.md").read_text(encoding="utf-8")
    rows = [f"| {name} | {peer.differs} |" for name, peer in TABLE.items() if peer.differs]
    assert "\n".join(rows) in text
    assert f"all {len(TABLE)} layers" in text
    assert not NOT_WRITTEN


@pytest.mark.parametrize("name", TABLE)
def test_each_has_its_equations_and_few_lines(name: str) -> None:
    cell = TABLE[name].spec_of(input_size=2, hidden_size=2).cell_type
    assert len(cell.equations) >= len(cell.states)
    lines = inspect.getsource(cell.step).replace(cell.step.__doc__ or "\0", "").splitlines()
    assert len([line for line in lines if line.strip() and '"""' not in line]) - 1 <= MOST_LINES


def drawn(peer: Peer, seed: int, **more: Any) -> tuple[rnnspect.Spec, Tensor]:
    """A network of the cell with weights of a size that is drawn, and an input."""
    generator = torch.Generator().manual_seed(seed)
    inputs, hidden = torch.randint(1, 9, (2,), generator=generator).tolist()
    spec = peer.spec_of(input_size=inputs, hidden_size=hidden, seed=seed, **more)
    scale = peer.scale * float(torch.empty(()).uniform_(-2, 1, generator=generator).exp())
    weights = {name: (w.double() * scale).tolist() for name, w in prepare(spec, "zeros:1").parameters.items()}
    return spec.with_changes(weights=weights), torch.randn(60, inputs, generator=generator)


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", sampled(TABLE, 21))
def test_it_agrees_with_the_loop_and_not_with_a_changed_one(name: str) -> None:
    """With one unit, or weights of nearly zero, some changes change nothing."""
    peer, told = TABLE[name], []
    for seed in range(4):
        spec, x = drawn(peer, seed)
        assert rnnspect.check(spec, x, engine=peer.loop(False)).verdict == "agree"
        told.append(rnnspect.check(spec, x, engine=peer.loop(True)).verdict)
    assert told.count("differ") >= 3


@pytest.mark.parametrize("name", sampled(TABLE, 41))
def test_every_quantity_and_gradient_is_that_of_the_loop(name: str, tmp_path: Path) -> None:
    """In float64 some hundred roundings of 1e-16; a run that differs is looked at with all that is looked for."""
    peer = TABLE[name]
    spec = peer.spec_of(input_size=3, hidden_size=4, dtype="float64")
    x = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert rnnspect.gradients(spec, x, engine=peer.loop(False)).max_abs_difference < 1e-12
    is_shown = not peer.spec and not spec.cell_type.has_own_sizes  # torch.nn runs no variant
    for quantity in spec.cell_type.quantities if is_shown else ():
        seen = rnnspect.trace(spec, x).layers[0].quantities[quantity][0, 7, 2]
        derived = rnnspect.derive(spec, x, step=7, unit=2, quantity=quantity)
        assert derived.value == pytest.approx(float(seen), rel=1e-12, abs=1e-15)
    spec, x = spec.with_changes(dtype="float32"), x.float()
    assert rnnspect.check(spec, x, engine=peer.loop(False), backward=True).verdict in ("agree", "cannot tell")
    assert rnnspect.check(spec, x, engine=peer.loop(True)).verdict == "differ"
    if is_shown:
        page = rnnspect.report(spec, x, engine=peer.loop(False), path=tmp_path / "page.html")
        assert page.verdict.verdict == "agree"


@pytest.mark.campaign
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", TABLE)
def test_no_right_run_is_called_wrong(name: str, dtype: str) -> None:
    """Of 20 drawn networks of each cell."""
    for seed in range(100, 120):
        spec, x = drawn(TABLE[name], seed, dtype=dtype)
        assert rnnspect.check(spec, x, engine=TABLE[name].loop(False)).verdict != "differ"


def carried_over(peer: Peer, cell: Any, dtype: str) -> rnnspect.Spec:
    """The network that has the weights of their cell."""
    named = dict(cell.named_parameters()) | dict(cell.named_buffers())
    weights = {f"{name}_l0": w.tolist() for name, w in peer.weights({k: w.detach() for k, w in named.items()}).items()}
    return peer.spec_of(input_size=cell.input_size, hidden_size=cell.hidden_size, dtype=dtype, weights=weights)


@pytest.mark.each_value_once
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("dtype", sampled(["float32", "float64"], 2))
@pytest.mark.parametrize("name", sampled(TABLE, 5))
def test_their_layer_is_what_the_equations_say(theirs: Any, name: str, dtype: str) -> None:
    """Their weights carried over to our names, and their output recorded; one number of it may not be another's."""
    peer, own = TABLE[name], getattr(torch, dtype)
    torch.manual_seed(0)
    layer = getattr(theirs, name)(*((6, 6) if name in SQUARE else (3, 5)), dtype=own, **peer.options)
    for parameter in layer.parameters():
        if parameter.dim():  # what is a number keeps its default
            torch.nn.init.normal_(parameter, std=0.7 * peer.scale)
    x = torch.randn(2, 60, layer.input_size, dtype=own)
    with torch.no_grad():
        output = layer(x.transpose(0, 1))[0].transpose(0, 1)
    spec = carried_over(peer, layer.cells[0], dtype)
    assert rnnspect.check(spec, x, recorded={"output": output}).verdict == "agree"
    wrong = output.clone()
    wrong[1, 30, 2] = output[1, 29, 2]
    assert rnnspect.check(spec, x, recorded={"output": wrong}).verdict == "differ"
