"""How wide the limit of a gated delta run is beside what correct forms err by, in float32, of 512 steps.

The figure is the median of the limits of all values of h divided by the median of their errors, each value against the
equations in float64. The limit is the one of the first look, by which a value is cleared; the widest errors are in
limits too. A few runs here; all with `pytest -m campaign -s tests/judging/test_median_limits.py`, which prints them.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from rnnspect.cells.functions import Functions
from rnnspect.judging.chunks import LayerRun, chunks
from rnnspect.judging.declared import named
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import prepare
from tests.cells.delta_forms import DECAYS, Form, Given, drawn, in_chunks, step_by_step
from tests.cells.test_examples_packages import theirs
from tests.marks import sampled

STEPS, AT_MOST = 512, 30
FORMS: dict[str, tuple[Form, tuple[str, ...]]] = {
    "step by step": (step_by_step, ("float32", "any-order")),
    "one chunk, float32 logs": (in_chunks(STEPS, torch.float32), ("log-scan",)),
    **{
        f"chunks of {chunk}, float{bits} logs": (in_chunks(chunk, dtype), declared)
        for chunk in (16, 64, 128)
        for bits, dtype, declared in (
            (64, torch.float64, ("float32", "any-order")),
            (32, torch.float32, (f"log-scan:{chunk}",)),
        )
    },
}
"""Each with what it may be judged by: what is declared, or else the limit of single steps and that of any order."""
ARITHMETICS = sorted({how for _, declared in FORMS.values() for how in declared})


@torch.inference_mode()
def limits_and_values(given: Given, arithmetic: str) -> list[tuple[Tensor, Tensor]]:
    """The limit of each value and the value: of h, (steps, units), and of the last cell state."""
    x, of = given.x, given.cell
    spec = Spec(cell=of, input_size=x.shape[-1], hidden_size=given.v[0].numel(), batch_first=True)
    run = prepare(spec, x)
    p = LayerParameters.of(run.parameters, 0, "forward", spec)
    layer = LayerEquations(of, p, named(arithmetic).over(p.terms), Functions(constants=of.constants))
    h0, c0 = (state[0] for state in run.sequence.state)
    state, found = layer.begin(c0), []
    none = torch.zeros(len(run.sequence.x[:]), 1, layer.units)  # neither depends on the h of an engine
    for chunk in chunks(LayerRun(run.sequence.x, none, h0, c0), 1):
        compared = layer.compare(chunk, state, layer.wide)
        state = layer.after(compared)
        found.append((compared.bound[0, 0], compared.q["h"].v[0, 0]))
    assert state is not None
    last = state.number(torch.float64)
    h, h_limit = (torch.stack(of) for of in reversed(list(zip(*found, strict=True))))
    return [(h_limit, h), (last.each[0] + last.v[0].abs() * layer.u.stored, last.v[0])]


def figures(given: Given, arithmetic: str) -> dict[str, tuple[float, float, float]]:
    """By form: the median limit of h in median errors, and the largest errors of h and of the last cell state in
    limits."""
    limits, found = limits_and_values(given, arithmetic), {}
    for name, (form, declared) in FORMS.items():
        if arithmetic in declared:
            made = zip(form(given), limits, strict=True)
            errors, c_n = ((one.double() - right).abs() / limit for one, (limit, right) in made)
            (limit, _), _ = limits
            median = limit.median() / (errors * limit).median()
            found[name] = float(median), float(errors.max()), float(c_n.max())
    return found


def may_exceed(name: str, arithmetic: str) -> bool:
    """Chunks may be beyond the limit of single steps: then they are held to that of any order. So may one chunk of all
    steps beyond the first look, where hardly anything is forgotten: each of its terms is added to a sum of hundreds."""
    return name == "one chunk, float32 logs" or (arithmetic == "float32" and name != "step by step")


@pytest.mark.parametrize("arithmetic", sampled(ARITHMETICS, 3))
def test_the_median_limit_is_at_most_thirty_times_the_error(arithmetic: str) -> None:
    for name, (median, *largest) in figures(drawn(2, 16, STEPS, "drawn", 0), arithmetic).items():
        assert median <= AT_MOST, name
        assert max(largest) < 1 or may_exceed(name, arithmetic), name


def test_logarithms_over_fewer_steps_than_an_engine_adds_up_are_not_enough() -> None:
    """Of decays by about a half a step, added up over 512 of them."""
    given = drawn(2, 16, STEPS, "drawn", 0)
    for made, (limit, right) in zip(
        in_chunks(STEPS, torch.float32)(given), limits_and_values(given, "log-scan:16"), strict=True
    ):
        assert float(((made.double() - right).abs() / limit).max()) > 1


def test_the_figure_of_flash_linear_attention_s_own_code() -> None:
    naive = theirs("fla", "ops/gated_delta_rule/naive.py", needs="einops")
    given = drawn(2, 16, STEPS, "fla", 0)
    q, k, v, b, g = (one[None] for one in (given.q, given.k, given.v, given.b, given.g))
    outputs = {
        "float32": naive.naive_recurrent_gated_delta_rule(q, k, v, beta=b, g=g)[0],
        "log-scan:64": naive.naive_chunk_gated_delta_rule(q, k, v, g=g, beta=b, chunk_size=64)[0],
    }
    for arithmetic, output in outputs.items():
        (limit, right), _ = limits_and_values(given, arithmetic)
        errors = (output[0].flatten(1).double() - right).abs()
        assert bool((errors < limit).all())
        assert float(limit.median() / errors.median()) <= AT_MOST


@pytest.mark.campaign
def test_all_median_limits_are_at_most_thirty_times_the_error() -> None:
    wide = []
    for keys, decays, arithmetic in itertools.product((16, 32, 64), DECAYS, ARITHMETICS):
        for name, (median, *largest) in figures(drawn(2, keys, STEPS, decays, keys), arithmetic).items():
            said = f"{median:5.1f}  h {largest[0]:.2f}  c_n {largest[1]:.2f}"
            print(f"d = {keys}, decays {decays:5}, {name:26} {arithmetic:12} {said}", flush=True)
            if median > AT_MOST or (max(largest) >= 1 and not may_exceed(name, arithmetic)):
                wide.append((keys, decays, name, arithmetic))
    assert not wide
