"""Reduced arithmetic, made by hand in numpy, is named; mistakes of that size are not taken for it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.views import documents
from tests.causes.functions import cut_to_bfloat16, to_float16
from tests.causes.hooked import Hooks, Network
from tests.judging.loops import cut_to_ten_bits, to_ten_bits
from tests.marks import sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnspect.judging.verdict import Verdict

Array = Any
KNOTS = np.linspace(-8, 8, 1025)
NAMES = {
    "tf32-products", "bfloat16-products", "float16-products", "float16-sums", "int8-weights", "float16-weights",
    "bfloat16-weights", "activation-approximated", "state-rounded",
}  # fmt: skip

kinds = pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
stacks = pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 2)])


def to_bfloat16(v: Array) -> Array:
    """To nearest, ties to even, by its bits."""
    bits = np.ascontiguousarray(v, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)).view(
        np.float32
    )


def of_rounded(rounding: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda v, w: rounding(v) @ rounding(w).T


def kernels(rounding: Callable[[Array], Array], *which: str) -> Callable[[str, Array], Array]:
    return lambda name, v: rounding(v) if name in (which or ("weight_ih", "weight_hh")) else v


def eight_bits(steps: float, by_row: bool) -> Callable[[Array], Array]:
    def rounding(w: Array) -> Array:
        scale = (np.abs(w).max(1, keepdims=True) if by_row else np.abs(w).max()) / np.float32(steps)
        return (np.clip(np.rint(w / scale), -128, 127).astype(np.int8) * scale).astype(np.float32)

    return rounding


def with_a_zero_point(w: Array) -> Array:
    low, high = min(w.min(), 0), max(w.max(), 0)
    scale = np.float32((high - low) / 255)
    zero = np.rint(-low / scale)
    stored = np.clip(np.rint(w / scale) + zero, 0, 255).astype(np.uint8)
    return ((stored.astype(np.float32) - zero) * scale).astype(np.float32)


def with_an_offset(steps: int, by_row: bool) -> Callable[[Array], Array]:
    def rounding(w: Array) -> Array:
        low, high = (of(w, axis=1 if by_row else None, keepdims=True) for of in (np.min, np.max))
        scale = (high - low) / np.float32(steps)
        return (np.rint((w - low) / scale) * scale + low).astype(np.float32)

    return rounding


def cut_to_float16(v: Array) -> Array:
    half = v.astype(np.float16)
    return np.where(np.abs(half.astype(np.float32)) > np.abs(v), np.nextafter(half, np.float16(0)), half).astype(
        np.float32
    )


def named(verdict: Verdict) -> list[str]:
    return [cause.name for cause in verdict.causes]


@pytest.mark.each_value_once
@kinds
@stacks
@pytest.mark.parametrize(
    ("rounding", "name"),
    [
        (to_ten_bits, "tf32-products"),
        (cut_to_ten_bits, "tf32-products"),
        (to_bfloat16, "bfloat16-products"),
        (to_float16, "float16-products"),
    ],
    ids=["nearest", "cut", "bfloat16", "float16"],
)
def test_products_of_rounded_operands_are_named(
    kind: str, layers: int, directions: int, rounding: Any, name: str
) -> None:
    network = Network(kind, layers, directions)
    verdict = network.check(network.recorded(Hooks(of_rounded(rounding), of_rounded(rounding))))
    assert verdict.verdict == "differ"
    assert name in named(verdict), named(verdict)
    assert verdict.causes[0].left == ()
    assert len(verdict.causes[0].scope) == layers * directions
    assert "--arithmetic" in str(verdict.reason)
    assert verdict.causes[0].worst_ratio_after <= 1 < verdict.causes[0].worst_ratio_before


INTEGERS = {
    "per tensor": eight_bits(127, False),
    "per row": eight_bits(127, True),
    "per tensor, of 127.5": eight_bits(127.5, False),
    "per row, of 127.5": eight_bits(127.5, True),
    "per tensor, with a zero point": with_a_zero_point,
    "per row, with an offset": with_an_offset(255, True),
    "per tensor, with an offset": with_an_offset(255, False),
    "4 bits per row, with an offset": with_an_offset(15, True),
    "4 bits per tensor, with an offset": with_an_offset(15, False),
}


@pytest.mark.each_value_once
@kinds
@pytest.mark.parametrize("scale", INTEGERS)
@pytest.mark.parametrize("which", sampled(["both weight matrices", "weight_ih", "weight_hh"], 3))
def test_weights_in_eight_bits_are_named(kind: str, scale: str, which: str) -> None:
    network = Network(kind, 2, 2)
    change = kernels(INTEGERS[scale], *(() if which == "both weight matrices" else (which,)))
    verdict = network.check(network.recorded(Hooks(), change))
    assert named(verdict)[0] == "int8-weights", named(verdict)
    assert verdict.causes[0].parameters == {"which": which, "scale": scale}
    assert (verdict.causes[0].left, len(verdict.causes)) == ((), 1)


@pytest.mark.each_value_once
@kinds
@stacks
@pytest.mark.parametrize(("half", "rounding"), sampled([("float16", to_float16), ("bfloat16", to_bfloat16)], 2))
def test_a_file_that_was_kept_in_half_is_named(
    kind: str, layers: int, directions: int, half: str, rounding: Any
) -> None:
    network = Network(kind, layers, directions)
    verdict = network.check(network.recorded(Hooks(), lambda _name, v: rounding(v)))
    assert named(verdict) == [f"{half}-weights"]
    assert verdict.causes[0].parameters == {"which": "every parameter"}
    assert documents.check_document(verdict)["causes"][0]["name"] == f"{half}-weights"
    verdict = network.check(network.recorded(Hooks(), kernels(rounding, "weight_hh")))
    assert (named(verdict), verdict.causes[0].parameters) == ([f"{half}-weights"], {"which": "weight_hh"})


@pytest.mark.each_value_once
@kinds
@pytest.mark.parametrize(("half", "cut"), [("float16", cut_to_float16), ("bfloat16", cut_to_bfloat16)])
@pytest.mark.parametrize("which", ["every parameter", "both weight matrices"])
def test_weights_that_were_cut_to_half_are_named(kind: str, half: str, cut: Any, which: str) -> None:
    network = Network(kind, 1, 1)
    change = kernels(cut) if which == "both weight matrices" else lambda _name, v: cut(v)
    (cause,) = network.check(network.recorded(Hooks(), change)).causes
    assert (cause.name, cause.parameters) == (f"{half}-weights", {"which": which, "how": "cut off"})


@pytest.mark.parametrize(
    ("whole", "how"),
    [
        (np.rint, "to multiples of 2^-8, as fixed point has them"),
        (np.trunc, "towards zero to multiples of 2^-8, as a cast to an integer does"),
        (np.floor, "down to multiples of 2^-8, as a shift to the right does"),
    ],
)
def test_fixed_point_is_named_by_how_its_numbers_are_made(whole: Any, how: str) -> None:
    network = Network("gru", 1, 1)
    (cause,) = network.check(network.recorded(Hooks(), lambda _name, v: whole(v * 256) / np.float32(256))).causes
    assert (cause.name, cause.parameters) == ("rounded-weights", {"how": how})


@kinds
@stacks
def test_a_right_run_agrees(kind: str, layers: int, directions: int) -> None:
    network = Network(kind, layers, directions)
    verdict = network.check(network.recorded(Hooks()))
    assert (verdict.verdict, verdict.causes) == ("agree", ())


@pytest.mark.each_value_once
@kinds
@stacks
@pytest.mark.parametrize("fault", sampled(["one weight", "every weight", "bias", "row"], 4))
def test_a_small_mistake_is_not_taken_for_it(
    kind: str, layers: int, directions: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lies within what TF32 products are allowed."""
    monkeypatch.setattr("rnnspect.causes.search.scopes.PAIRED", ())  # none of these is one of two; pairs take seconds
    network = Network(kind, layers, directions)
    rng = np.random.default_rng(1)

    def change(name: str, v: Array) -> Array:
        v = v.copy()
        if fault == "every weight" and name.startswith("weight"):
            return (v * (1 + 1e-3 * rng.standard_normal(v.shape))).astype(np.float32)
        if fault == "one weight" and name == "weight_hh":
            v[1, 2] += np.float32(1e-3)
        elif fault == "bias" and name == "bias_ih":
            v *= np.float32(1.001)
        elif fault == "row" and name == "weight_ih":
            v[0] *= np.float32(1.001)
        return v

    verdict = network.check(network.recorded(Hooks(), change))
    assert verdict.verdict == "differ"
    assert not NAMES & set(named(verdict)), named(verdict)
    assert verdict.reason is None


def test_products_that_onednn_computes_in_bfloat16_are_named() -> None:
    """On a processor that has them; on others oneDNN computes in float32 in spite of its switch, and the run agrees."""
    switches: Any = getattr(torch.backends.mkldnn, "rnn", None)
    if not hasattr(switches, "fp32_precision"):
        pytest.skip("skipped: this torch has no switch for each operator")
    torch.manual_seed(0)
    module = torch.nn.LSTM(16, 32)
    x = torch.randn(20, 2, 16)
    before = switches.fp32_precision
    try:
        switches.fp32_precision = "bf16"
        with torch.inference_mode():
            h = module(x)[0].transpose(0, 1).clone()
    finally:
        switches.fp32_precision = before
    network = Network("lstm")
    weights: Any = {name: v.tolist() for name, v in module.state_dict().items()}
    spec = network.spec.with_changes(input_size=16, hidden_size=32, weights=weights)
    network.spec, network.x, network.states = spec, x.numpy(), np.zeros((2, 1, 2, 32), np.float32)
    verdict = network.check({"l0.forward.h": h.numpy()})
    if verdict.verdict == "agree":
        float32 = h.double() - _in_float64(module, x)
        assert float32.abs().max() < 1e-6  # some ten roundings of a number below 1: nothing was reduced
    else:
        assert named(verdict) == ["bfloat16-products"]


def _in_float64(module: torch.nn.LSTM, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return copy.deepcopy(module).double()(x.double())[0].transpose(0, 1)


def in_order(v: Array, w: Array) -> Array:
    total = np.zeros((len(v), len(w)), np.float16)
    for k in range(w.shape[1]):
        total = total + v[:, k, None].astype(np.float16) * w[:, k].astype(np.float16)
    return total.astype(np.float32)


def in_pairs(v: Array, w: Array) -> Array:
    parts = v.astype(np.float16)[:, None] * w.astype(np.float16)
    while parts.shape[-1] > 1:
        if parts.shape[-1] % 2:
            parts = np.concatenate([parts, np.zeros_like(parts[..., :1])], -1)
        parts = parts[..., ::2] + parts[..., 1::2]
    return parts[..., 0].astype(np.float32)


def in_slices(v: Array, w: Array) -> Array:
    """Slices of four are summed in float32, their sums in float16, as split-K kernels do."""
    total = np.zeros((len(v), len(w)), np.float16)
    for k in range(0, w.shape[1], 4):
        part = to_float16(v[:, k : k + 4]) @ to_float16(w[:, k : k + 4]).T
        total = total + part.astype(np.float16)
    return total.astype(np.float32)


def long(kind: str, layers: int = 1, directions: int = 1) -> Network:
    """With enough values for each unit's weights, of which an LSTM's have 112 here."""
    return Network(kind, layers, directions, steps=60, batch=5)


@pytest.mark.each_value_once
@kinds
@stacks
@pytest.mark.parametrize("summed", sampled([in_order, in_pairs, in_slices], 3))
def test_sums_in_float16_are_named(kind: str, layers: int, directions: int, summed: Any) -> None:
    network = long(kind, layers, directions)
    verdict = network.check(network.recorded(Hooks(summed, summed)))
    assert named(verdict) == ["float16-sums"]
    assert (verdict.causes[0].left, len(verdict.causes[0].scope)) == ((), layers * directions)
    assert verdict.causes[0].worst_ratio_after <= 1 < verdict.causes[0].worst_ratio_before
    assert verdict.reason is None


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize(("half", "rounding"), [("float16", to_float16), ("bfloat16", to_bfloat16)])
def test_a_function_that_gives_a_half_type_is_named(kind: str, half: str, rounding: Any) -> None:
    """Its errors have the size of sums in float16 from the first step on."""
    network = long(kind)
    verdict = network.check(network.recorded(Hooks(tanh=lambda s: rounding(np.tanh(s)))))
    assert named(verdict) == ["activation-approximated"]
    assert verdict.causes[0].parameters == {"function": "tanh", "how": f"rounded to {half}"}


def in_bfloat16(v: Array, w: Array) -> Array:
    total = np.zeros((len(v), len(w)), np.float32)
    for k in range(w.shape[1]):
        total = to_bfloat16(total + to_bfloat16(to_bfloat16(v[:, k, None]) * to_bfloat16(w[:, k])))
    return total


def in_eight_bits(v: Array, w: Array) -> Array:
    scale = np.abs(v).max() / np.float32(127)
    return (np.rint(v / scale) * scale).astype(np.float32) @ w.T


@pytest.mark.each_value_once
@kinds
@pytest.mark.parametrize(
    "fault",
    ["1e-4", "1e-3", "3e-3", "biases", "one weight", "tf32 and a weight", "initial state", "bfloat16", "int8", "table"],
)
def test_what_is_no_sum_in_float16_is_not_taken_for_one(kind: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnspect.causes.search.scopes.PAIRED", ())  # none of these is one of two; pairs take seconds
    network, rng = long(kind), np.random.default_rng(2)

    def change(name: str, v: Array) -> Array:
        v = v.copy()
        if fault[0].isdigit():
            v *= 1 + float(fault) * rng.standard_normal(v.shape).astype(np.float32)
        elif fault == "biases" and name.startswith("bias"):
            v += np.float32(3e-4)
        elif fault in ("one weight", "tf32 and a weight") and name == "weight_hh":
            v[::2, 2] += np.float32(2e-3)
        return v

    made = {"tf32 and a weight": of_rounded(to_ten_bits), "bfloat16": in_bfloat16, "int8": in_eight_bits}.get(fault)
    hooks = Hooks() if made is None else Hooks(made, made)
    if fault == "table":
        hooks = Hooks(tanh=lambda s: np.interp(s, KNOTS, np.tanh(KNOTS)).astype(np.float32))
    states = network.states.copy()
    if fault == "initial state":
        network.states = states * np.float32(1.001)
    recorded = network.recorded(hooks, change)
    network.states = states
    verdict = network.check(recorded)
    assert verdict.verdict == "differ"
    assert not NAMES & set(named(verdict)), named(verdict)


@pytest.mark.parametrize("tiny", [False, True])
def test_a_run_agrees_with_the_arithmetic_that_it_is_told_to_have(tiny: bool) -> None:
    """Also where what enters a product is so small that float16 has few bits for it."""
    network = Network("rnn")
    weights: Any = {name + end: v for end, p in network.p.items() for name, v in p.items()}
    if tiny:
        network.x *= np.float32(1e-6)
        network.states *= 0
        weights |= {name: v * 0 for name, v in weights.items() if name.startswith("bias")}
        network.p["_l0"] = {name.removesuffix("_l0"): v for name, v in weights.items()}
    network.spec = network.spec.with_changes(
        nonlinearity="relu", weights={name: v.tolist() for name, v in weights.items()}
    )
    rounded = of_rounded(to_float16)
    recorded = network.recorded(Hooks(rounded, rounded, tanh=lambda s: np.maximum(s, 0)))
    assert network.check(recorded).verdict == "differ"
    held = rnnspect.check(network.spec, network.x, network.states[0], recorded=recorded, arithmetic="float16-products")
    assert held.verdict != "differ", held.first
    assert held.arithmetic == "float32, float16 products"
