"""Fast forms of cells with matrices, beside the limit of single steps and beside their own: which is exceeded, which
not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

import rnnspect
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.cells.functions import Functions
from rnnspect.judging.chunks import LayerRun, chunks
from rnnspect.judging.declared import named
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import prepare
from tests.causes.own_cells import SOFTMAX
from tests.cells.matrix_forms import decays_of, gated_delta, in_heads, together
from tests.cells.test_examples import cell

U = 2.0**-24
ORDERS = ("any-order", "log-scan")


def equations(spec: Spec, of: Cell, arithmetic: str) -> LayerEquations:
    p = LayerParameters.of(prepare(spec, "zeros:1").parameters, 0, "forward", spec)
    return LayerEquations(of, p, named(arithmetic).over(p.terms), Functions(constants=of.constants))


@torch.inference_mode()
def largest(spec: Spec, of: Cell, form: Callable[..., Any], steps: int, arithmetic: str) -> tuple[float, float]:
    """The largest error of a form from zeros, in limits of that arithmetic, at the first look: of h, and of the last
    cell state."""
    run, layer = prepare(spec, f"randn:{steps}"), equations(spec, of, arithmetic)
    h0, c0 = (state[0] for state in run.sequence.state)
    output, (_, c_n) = form(run.sequence.x[:].transpose(0, 1), (h0[None], c0[None]), **run.parameters)
    state, worst = layer.begin(c0), 0.0
    for chunk in chunks(LayerRun(run.sequence.x, output.transpose(0, 1), h0, c0), 1):
        compared = layer.compare(chunk, state, layer.wide)
        worst, state = max(worst, compared.top), layer.after(compared)
    assert state is not None
    last = state.number(torch.float64)
    return worst, float(((c_n[0].double() - last.v).abs() / (last.e + last.v.abs() * layer.u.stored)).max())


def forgetting(seed: int) -> Spec:
    """An mLSTM that forgets fast: the logarithms of its decays add up to -2 a step."""
    spec = Spec(cell=cell("mlstm"), input_size=5, hidden_size=8, seed=seed, batch_first=True)
    weights = prepare(spec, "zeros:1").parameters
    weights["bias_ih_l0"][-10:-8] -= 2
    return spec.with_changes(weights={name: values.tolist() for name, values in weights.items()})


def of_summed_logarithms(x: Tensor, _state: Any, weight_ih_l0: Tensor, bias_ih_l0: Tensor) -> Any:
    """All steps of an mLSTM at once, from zeros, in float64 but for the sums of logarithms, of which each is off by a
    float32 rounding, in turn up and down."""
    wx = x.double() @ weight_ih_l0.double().T + bias_ih_l0.double()
    q, k, v, i, f, o = wx.split([8, 8, 8, 2, 2, 8], -1)
    q, k, v = in_heads(q), in_heads(k) / 2, in_heads(v)
    i, sums = i.transpose(1, 2), logsigmoid(f).transpose(1, 2).cumsum(-1)
    sums = sums * (1 + U * (-1) ** torch.arange(sums.shape[-1]))
    within = decays_of(sums.diff(prepend=torch.zeros_like(sums[..., :1])), own=False).log() + i[..., None, :]
    top = torch.maximum(within.amax(-1), sums)
    weights = (within - top[..., None]).exp()
    read = q @ k.transpose(-1, -2) * weights
    h = read @ v / torch.maximum(read.sum(-1).abs(), (-top).exp())[..., None]
    output, last = (o.sigmoid() * together(h)).float(), k * weights[..., -1, :, None]
    states = ((last.transpose(-1, -2) @ v).flatten(1), last.sum(-2).flatten(1), top[..., -1])
    return output, (output[:, -1][None], torch.cat(states, -1).float()[None])


@pytest.mark.slow
def test_logarithms_that_an_mlstm_adds_up_over_all_steps() -> None:
    assert max(largest(forgetting(0), cell("mlstm"), of_summed_logarithms, 600, "log-scan")) < 1
    assert min(largest(forgetting(0), cell("mlstm"), of_summed_logarithms, 600, "any-order")) > 1


@pytest.mark.slow
def test_a_sum_of_logarithms_whose_error_grows() -> None:
    """Of a softmax in which the weight of step 250 is by far the largest: nearly two roundings of the sum a step."""
    layers = {how: equations(Spec(cell=SOFTMAX, input_size=1, hidden_size=1), SOFTMAX, how) for how in ORDERS}
    decay, begun = torch.tensor(-3.0, dtype=torch.float64), 250
    sums = decay * torch.arange(1, 501)
    off = 1.9 * U * sums[begun:].abs().sum()
    limits = {}
    for how, layer in layers.items():
        a, none = layer.wide, torch.zeros(1, 1, 1, dtype=torch.float64)
        c = Number(torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64), layer.u)
        for t in range(len(sums)):
            gates = (torch.tensor(0.0 if t == begun else -5000.0), decay.neg().expm1().log(), torch.tensor(1.0))
            wx = tuple(Number(none + gate, none, layer.u) for gate in gates)
            after = layer.stepped(a, wx, Number(none, none, layer.u), c)["c"]
            c = Number(after.v[-1], after.e[-1], layer.u, sums=after.sums)
        assert float(c.v[0, 2]) == pytest.approx(float(sums[-1] - sums[begun]))
        limits[how] = c.e[0, 2]
    assert limits["any-order"] < off < limits["log-scan"]


def gated(seed: int, dt_bias: float, b_bias: float = 0.0) -> Spec:
    """A gated delta rule of which the decays grow with `dt_bias` and β with `b_bias`; β‖k‖² is at times above 2."""
    spec = Spec(cell=cell("gated_delta"), input_size=5, hidden_size=8, seed=seed, batch_first=True)
    weights = prepare(spec, "zeros:1").parameters
    weights["dt_bias_l0"] += dt_bias
    weights["weight_ih_l0"] *= 1.5
    weights["bias_ih_l0"][-4:-2] += b_bias
    return spec.with_changes(weights={name: values.tolist() for name, values in weights.items()})


@pytest.mark.slow
def test_chunks_of_a_delta_rule_that_forgets_nothing() -> None:
    """Their terms cancel, where a single step has their sum: so the limit is wider, and a second look clears what some
    CPUs' order of summation leaves above the first."""
    spec, form = gated(1, -8, 3).with_changes(input="randn:300"), gated_delta(128)
    (of_h, of_c), (stepped, _) = (
        largest(spec, cell("gated_delta"), form, 300, how) for how in ("any-order", "float32")
    )
    assert 3 * of_h < stepped
    assert of_c < 1
    assert rnnspect.check(spec, engine=form, arithmetic="any-order").agrees


def test_logarithms_that_a_delta_rule_adds_up_in_a_chunk() -> None:
    spec, form = gated(3, 1.5), gated_delta(128)
    assert max(largest(spec, cell("gated_delta"), form, 128, "log-scan")) < 1
    assert largest(spec, cell("gated_delta"), form, 128, "any-order")[1] > 1


@pytest.mark.parametrize("name", ["gated_delta", "retnet"])
@pytest.mark.parametrize("arithmetic", ["log-scan:4", "log-scan:6", "log-scan"])
def test_an_item_of_a_padded_batch_has_the_limit_that_it_has_alone(name: str, arithmetic: str) -> None:
    """Its steps are fewer than those that logarithms are added up over, as many, or more."""
    spec, lengths = Spec(cell=cell(name), input_size=5, hidden_size=8), [9, 6, 2]
    x, layer = torch.randn(9, 3, 5, generator=torch.Generator().manual_seed(0)), equations(spec, cell(name), arithmetic)

    def ended(steps: int, items: slice, lengths: Tensor | None) -> Tensor:
        part = x[:steps, items]
        h0, c0 = (torch.zeros(part.shape[1], units) for units in (8, layer.state_units))
        state = layer.begin(c0)
        for chunk in chunks(LayerRun(part, torch.zeros(*part.shape[:2], 8), h0, c0, lengths), 1):
            state = layer.after(layer.compare(chunk, state, layer.wide))
        assert state is not None
        return state.number(torch.float64).each

    together = ended(9, slice(None), torch.tensor(lengths))
    for item, steps in enumerate(lengths):
        torch.testing.assert_close(together[item], ended(steps, slice(item, item + 1), None)[0])


def leaking(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    q = cell("mlstm").step(a, wx, h, c)
    m = a.blocks(q["c"])[2]
    return q | {"h": q["h"] + a.spread(m, q["h"])}


@pytest.mark.parametrize(
    ("of", "block"),
    [
        (cell("mlstm"), 2),
        (cell("slstm"), 2),
        (SOFTMAX, 2),
        (cell("lru"), None),
        (cell("retnet"), None),
        (replace(cell("mlstm"), step=leaking), None),
    ],
)
def test_which_block_keeps_exponentials_in_range(of: Cell, block: int | None) -> None:
    spec = Spec(cell=of, input_size=3, hidden_size=4)
    assert equations(spec, of, "any-order").stabiliser == block
