"""The gradients by the cells' own lines, against PyTorch's autograd in float64, and the rarer cells against a complex
step through numpy loops that know nothing of either."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rnnspect.arithmetic.going_back import LayerGradients, go_back
from rnnspect.network.gradients import Upstream
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared, prepare

CLOSE = 1e-12
"""Relative to the largest entry. Each of some 10 steps rounds some tens of times, by 1e-16 each."""


def manual(prepared: Prepared, upstream: Upstream) -> dict[str, Tensor]:
    """Every gradient by its name, as PyTorch has them: x, h0, c0, weight_ih_l0 …"""
    spec, found, states = prepared.spec, {}, {}
    for one in go_back(spec, prepared.parameters, prepared.sequence, upstream):
        found |= {name: sum(each.sum() for each in parts) for name, parts in one.products.items()}
        states[spec.row(one.layer, one.direction)] = one.state
        if one.layer == 0:
            found["x"] = found["x"] + one.x if "x" in found else one.x
    rows = [states[row] for row in range(len(states))]
    return found | {
        name: torch.stack(list(each)) for name, each in zip(("h0", "c0"), zip(*rows, strict=True), strict=False)
    }


def autograd(prepared: Prepared, upstream: Upstream) -> dict[str, Tensor]:
    """The same by PyTorch."""
    spec, sequence = prepared.spec, prepared.sequence
    options: dict[str, Any] = {"nonlinearity": spec.nonlinearity} if spec.nonlinearity else {}
    options |= {"proj_size": spec.proj_size} if spec.proj_size else {}
    kind = getattr(nn, spec.cell_type.torch_name)
    module = kind(
        spec.input_size, spec.hidden_size, spec.num_layers, bias=spec.bias, bidirectional=spec.bidirectional, **options
    ).double()
    module.load_state_dict(dict(prepared.parameters))
    x, *state = (one.clone().requires_grad_() for one in (sequence.x, *sequence.state))
    packed: Any = x
    if sequence.lengths is not None:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(sequence.lengths), enforce_sorted=False)
    output, final = module(packed, tuple(state) if len(state) > 1 else state[0])
    if sequence.lengths is not None:
        output, _ = nn.utils.rnn.pad_packed_sequence(output, total_length=sequence.steps)
    finals = final if isinstance(final, tuple) else (final,)
    outs = [(output, upstream.output), *zip(finals, (upstream.h_n, upstream.c_n), strict=False)]
    loss = sum((made * g).sum() for made, g in outs if g is not None)
    assert isinstance(loss, Tensor)
    loss.backward()
    found = {name: one.grad for name, one in module.named_parameters()}
    found |= {"x": x.grad} | {name: one.grad for name, one in zip(("h0", "c0"), state, strict=False)}
    return {name: one for name, one in found.items() if one is not None}


def drawn(prepared: Prepared, finals: bool = True) -> Upstream:
    spec, sequence = prepared.spec, prepared.sequence
    output = torch.randn(sequence.steps, sequence.batch, spec.output_size * spec.num_directions, dtype=torch.float64)
    valid = sequence.valid()
    if valid is not None:
        output = torch.where(valid[..., None], output, 0)
    states = [torch.randn_like(one) for one in sequence.state] if finals else []
    return Upstream(output, *states)


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        most = float(expected.abs().max())
        assert float((ours[name] - expected).abs().max()) <= CLOSE * max(most, 1e-30), name


@st.composite
def networks(draw: st.DrawFn) -> tuple[Spec, int]:
    cell = draw(st.sampled_from(["rnn", "gru", "lstm"]))
    hidden, steps, batch = draw(st.integers(1, 6)), draw(st.integers(1, 10)), draw(st.integers(1, 3))
    options: dict[str, Any] = {"nonlinearity": draw(st.sampled_from(["tanh", "relu"]))} if cell == "rnn" else {}
    if cell == "lstm" and hidden > 1 and draw(st.booleans()):
        options["proj_size"] = draw(st.integers(1, hidden - 1))
    if draw(st.booleans()):
        options["lengths"] = draw(st.lists(st.integers(1, steps), min_size=batch, max_size=batch))
    spec = Spec(
        cell=cell, input_size=draw(st.integers(1, 4)), hidden_size=hidden, num_layers=draw(st.integers(1, 3)),
        bias=draw(st.booleans()), bidirectional=draw(st.booleans()), dtype="float64", batch_first=False,
        seed=draw(st.integers(0, 99)), **options,
    )  # fmt: skip
    return spec, steps


@given(networks(), st.integers(1, 3), st.booleans())
def test_every_gradient_is_that_of_autograd(network: tuple[Spec, int], batch: int, finals: bool) -> None:
    spec, steps = network
    batch = len(spec.lengths) if spec.lengths else batch
    x = torch.randn(steps, batch, spec.input_size, dtype=torch.float64)
    states = ["randn"] * len(spec.cell_type.states)
    prepared = prepare(spec, x, *states)
    upstream = drawn(prepared, finals)
    assert_close(manual(prepared, upstream), autograd(prepared, upstream))


VARIANTS: list[dict[str, Any]] = [
    {"cell": "gru", "reset": "before"},
    {"cell": "lstm", "peepholes": True},
    {"cell": "lstm", "input_forget": True},
    {"cell": "lstm", "input_forget": True, "peepholes": True},
    {"cell": "lstm", "activations": ["hard_sigmoid(0.3, 0.4)", "softsign", "scaled_tanh(1.5, 0.7)"]},
    {"cell": "gru", "activations": ["sigmoid", "softplus"]},
    {"cell": "rnn", "activations": ["elu(0.5)"]},
    {"cell": "rnn", "activations": ["leaky_relu(0.1)"], "reverse": True},
    {"cell": "lstm", "clip": 0.4},
    {"cell": "gru", "clip": 0.3, "bidirectional": True, "num_layers": 2},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_variants_by_differences_of_the_equations_alone(variant: dict[str, Any]) -> None:
    """Central differences in float64 with step 1e-6: right to 1e-9 or so where no kink lies in between, which no drawn
    number here does."""
    spec = Spec(input_size=3, hidden_size=4, dtype="float64", batch_first=False, seed=3, **variant)
    x = torch.randn(6, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    prepared = prepare(spec, x, *["randn"] * len(spec.cell_type.states))
    torch.manual_seed(1)
    upstream = drawn(prepared, finals=False)
    ours = manual(prepared, upstream)
    named = dict(prepared.parameters) | {"x": prepared.sequence.x, "h0": prepared.sequence.h0}
    assert ours.keys() - {"c0"} == named.keys()
    for name, values in named.items():
        for place in torch.randint(values.numel(), (4,)).tolist():
            flat = values.view(-1)
            kept, losses = float(flat[place]), []
            for shift in (1e-6, -1e-6):
                flat[place] = kept + shift
                losses.append(loss_of(prepared, upstream))
            flat[place] = kept
            slope = (losses[0] - losses[1]) / 2e-6
            assert float(ours[name].reshape(-1)[place]) == pytest.approx(slope, rel=1e-6, abs=1e-8), (name, place)


def loss_of(prepared: Prepared, upstream: Upstream) -> float:
    from rnnspect.arithmetic.unroll import output_of, unroll

    spec = prepared.spec
    layers = list(unroll(spec, prepared.parameters, prepared.sequence))
    tops = [one.quantities["h"] for one in layers if one.layer == spec.num_layers - 1]
    return float((output_of(tops, prepared.sequence) * upstream.output).sum())


def sigma(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def complex_loss(kind: str, p: dict[str, Any], x: Any, state: list[Any], dy: Any) -> Any:
    """Σ dy · h of a loop in numpy that knows nothing of the package, over complex numbers."""
    h, c, loss = state[0], state[-1], 0
    for x_t, dy_t in zip(x, dy, strict=True):
        u, v = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"], h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
        if kind == "rnn":
            h = np.tanh(u + v)
        elif kind.startswith("gru"):
            (ur, uz, un), (vr, vz, vn) = np.split(u, 3, -1), np.split(v, 3, -1)
            r, z = sigma(ur + vr), sigma(uz + vz)
            if kind == "gru before":
                w, b = np.split(p["weight_hh_l0"], 3)[2], np.split(p["bias_hh_l0"], 3)[2]
                n = np.tanh(un + (r * h) @ w.T + b)
            else:
                n = np.tanh(un + r * vn)
            h = (1 - z) * n + z * h
        else:
            blocks, peep = np.split(u + v, 3 if "coupled" in kind else 4, -1), 0 * c
            if "peep" in kind:
                peep = np.split(p["weight_ch_l0"], 2 if "coupled" in kind else 3)
                i = sigma(blocks[0] + peep[0] * c)
                f = 1 - i if "coupled" in kind else sigma(blocks[1] + peep[1] * c)
            else:
                i = sigma(blocks[0])
                f = 1 - i if "coupled" in kind else sigma(blocks[1])
            c = f * c + i * np.tanh(blocks[-2])
            o = sigma(blocks[-1] + (peep[-1] * c if "peep" in kind else 0))
            h = o * np.tanh(c)
        loss = loss + (dy_t * h).sum()
    return loss


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("rnn", {"cell": "rnn"}),
        ("gru", {"cell": "gru"}),
        ("gru before", {"cell": "gru", "reset": "before"}),
        ("lstm", {"cell": "lstm"}),
        ("lstm peep", {"cell": "lstm", "peepholes": True}),
        ("lstm coupled", {"cell": "lstm", "input_forget": True}),
        ("lstm coupled peep", {"cell": "lstm", "input_forget": True, "peepholes": True}),
    ],
)
def test_a_complex_step_through_loops_of_their_own_gives_the_same(kind: str, keys: dict[str, Any]) -> None:
    """dL/dv = Im L(v + i·ε) / ε has no difference in it, so that ε may be 1e-30 and nothing cancels (Squire & Trapp
    1998): what is left are roundings, of which each gradient is allowed 1e-12."""
    spec = Spec(input_size=3, hidden_size=4, dtype="float64", batch_first=False, seed=3, **keys)
    x = torch.randn(6, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    made = prepare(spec, x, *["randn"] * len(spec.cell_type.states))
    torch.manual_seed(1)
    upstream = drawn(made, finals=False)
    ours = manual(made, upstream)
    named = dict(made.parameters) | {"x": made.sequence.x} | dict(zip(("h0", "c0"), made.sequence.state, strict=False))
    values = {name: one.numpy().astype(complex) for name, one in named.items()}
    for name, one in values.items():
        for at in np.ndindex(one.shape):
            one[at] += 1e-30j
            states = [values[state][0] for state in ("h0", "c0") if state in values]
            loss = complex_loss(kind, values, values["x"], states, upstream.output.numpy())
            one[at] = one[at].real
            assert float(ours[name][at]) == pytest.approx(loss.imag / 1e-30, rel=1e-12, abs=1e-14), (name, at)


def test_what_each_step_adds_sums_to_the_gradient() -> None:
    """And its norm is that of the outer products, made one by one."""
    prepared = prepare(Spec(cell="gru", input_size=3, hidden_size=4, dtype="float64"), "randn:7", "randn")
    [one] = go_back(prepared.spec, prepared.parameters, prepared.sequence, drawn(prepared))
    assert isinstance(one, LayerGradients)
    for name, parts in one.products.items():
        [part] = parts
        each = [
            part.left[t].sum(0) if part.right is None else part.left[t].T @ part.right[t] for t in range(len(part.left))
        ]
        assert torch.allclose(sum(each, torch.zeros(())), part.sum(), rtol=1e-12, atol=1e-14), name
        norms = torch.stack([torch.linalg.vector_norm(one) for one in each])
        assert torch.allclose(part.of_each_step(), norms, rtol=1e-9, atol=1e-12), name


def test_what_came_to_h_is_from_the_output_and_from_the_next_step() -> None:
    prepared = prepare(Spec(cell="lstm", hidden_size=3, dtype="float64"), "randn:5")
    [one] = go_back(prepared.spec, prepared.parameters, prepared.sequence, drawn(prepared))
    q = one.quantities
    assert torch.equal(q["h"], q["h_next"] + q["h_output"])
    assert not torch.equal(q["h_next"][:-1], torch.zeros_like(q["h_next"][:-1]))
