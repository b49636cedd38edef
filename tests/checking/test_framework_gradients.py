"""Recorded gradients by the names of a framework's arrays are read as that framework packs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect

STEPS, BATCH, INPUTS, HIDDEN = 6, 2, 3, 4


def _run(kind: str) -> tuple[nn.RNNBase, torch.Tensor, dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """A layer, its input, the gradients of output and x, and those of its parameters without `_l0`."""
    torch.manual_seed(0)
    module: nn.RNNBase = getattr(nn, kind)(INPUTS, HIDDEN)
    x = torch.randn(STEPS, BATCH, INPUTS, requires_grad=True)
    y, _ = module(x)
    g = torch.randn(y.shape)
    (y * g).sum().backward()
    named = {name.removesuffix("_l0"): one.grad for name, one in module.named_parameters()}
    own = {name: g.numpy() for name, g in named.items() if g is not None}
    return module, x.detach(), {"grad.output": g, "grad.x": x.grad}, own


def _checked(kind: str, named: dict[str, Any]) -> rnnspect.Verdict:
    module, x, seen, _ = _run(kind)
    recorded = seen | {f"grad.{name}": one for name, one in named.items()}
    return rnnspect.check(module, x, recorded=recorded, backward=True)


def _as_keras(kind: str) -> dict[str, Any]:
    own = _run(kind)[3]
    if kind == "LSTM":
        return {"kernel": own["weight_ih"].T, "recurrent_kernel": own["weight_hh"].T, "bias": own["bias_ih"]}

    def turned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        r, z, n = np.split(values, 3)
        return np.concatenate([z, r, n])

    bias = np.stack([turned(own["bias_ih"]), turned(own["bias_hh"])])
    return {"kernel": turned(own["weight_ih"]).T, "recurrent_kernel": turned(own["weight_hh"]).T, "bias": bias}


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_those_of_keras(kind: str) -> None:
    verdict = _checked(kind, _as_keras(kind))
    assert verdict.agrees
    assert "the gradients of kernel, recurrent_kernel, bias are read in the layout keras" in verdict.notes


def test_a_wrong_one_differs() -> None:
    wrong = _as_keras("GRU")
    wrong["recurrent_kernel"] = 1.01 * wrong["recurrent_kernel"]
    verdict = _checked("GRU", wrong)
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert verdict.first.quantity.startswith("grad.weight_hh_l0")


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_those_of_a_torch_cell(kind: str) -> None:
    verdict = _checked(kind, _run(kind)[3])
    assert verdict.agrees
    assert any(note.endswith("are read in the layout pytorch") for note in verdict.notes)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("left_out", ["kernel", "recurrent_kernel", "bias", "all but bias"])
def test_some_of_them_are_checked_alone(kind: str, left_out: str) -> None:
    """As many as there are; a wrong one is found, and NaN is wrong, too."""
    named = _as_keras(kind)
    kept = ["bias"] if left_out == "all but bias" else [name for name in named if name != left_out]
    named = {name: named[name] for name in kept}
    module, _, seen, _ = _run(kind)
    verdict = _checked(kind, named)
    assert verdict.agrees
    told = sum(p.numel() for name, p in module.named_parameters() if _packed_in(name) in named)
    assert verdict.values == told + seen["grad.x"].numel()
    for wrong in (1.01, np.nan):
        name = next(iter(named))
        assert _checked(kind, named | {name: wrong * named[name]}).verdict == "differ"


def _packed_in(name: str) -> str:
    return {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent_kernel"}.get(name, "bias")


def test_names_of_no_framework_are_refused() -> None:
    named = {"recurrent_kernels": _as_keras("LSTM")["recurrent_kernel"]}
    with pytest.raises(rnnspect.SequenceError, match=r"unknown array 'grad.recurrent_kernels'"):
        _checked("LSTM", named)


def test_those_that_equinox_computes() -> None:
    equinox, jax = (pytest.importorskip(name, reason="skipped: not installed") for name in ("equinox", "jax"))
    module, x, seen, _ = _run("GRU")
    cell = equinox.nn.GRUCell(INPUTS, HIDDEN, key=jax.random.key(0))
    w_ih, w_hh, b_ih, b_hh = (one.detach().numpy() for one in module.parameters())
    bias = b_ih + np.concatenate([b_hh[: 2 * HIDDEN], 0 * b_hh[2 * HIDDEN :]])
    fields = ("weight_ih", "weight_hh", "bias", "bias_n")

    def held(one: Any) -> tuple[Any, ...]:
        return tuple(getattr(one, name) for name in fields)

    cell = equinox.tree_at(held, cell, tuple(map(jax.numpy.asarray, (w_ih, w_hh, bias, b_hh[2 * HIDDEN :]))))

    def loss(cell: Any, x: Any) -> Any:
        def item(x: Any, g: Any) -> Any:
            def step(h: Any, row: Any) -> Any:
                h = cell(row[0], h)
                return h, h @ row[1]

            return jax.lax.scan(step, jax.numpy.zeros(HIDDEN), (x, g))[1].sum()

        return sum(item(x[:, n], seen["grad.output"].numpy()[:, n]) for n in range(BATCH))

    found = equinox.filter_grad(loss)(cell, x.numpy())
    named = {f"grad.{name}": np.asarray(getattr(found, name)) for name in fields}
    verdict = rnnspect.check(module, x, recorded=seen | named, backward=True)
    assert verdict.agrees, verdict
    assert any(note.endswith("are read in the layout equinox") for note in verdict.notes)
