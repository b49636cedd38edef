"""torch.nn in train mode: dropout between layers, before and behind them, and of states, is named with its p."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import Spec
from rnnspect.causes.known._dropout_masks import Equations
from rnnspect.causes.known._dropout_of_gates import MaskedSteps
from rnnspect.causes.search import scopes
from rnnspect.network.parameters import LayerParameters, parameters_of
from tests.marks import sampled

KINDS = ("rnn", "gru", "lstm")


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mistakes at once take seconds to try, and dropout is never one of them."""
    monkeypatch.setattr(scopes, "PAIRED", ())


class Trained:
    """Layers of torch.nn, and a run of them in train mode with dropout where it is asked for."""

    def __init__(self, kind: str, size: int, layers: int = 2, directions: int = 1, **keys: Any) -> None:
        torch.manual_seed(3)
        self.directions, self.layers, self.keys = directions, layers, keys
        self.module: nn.RNNBase = getattr(nn, kind.upper())(size, size, layers, bidirectional=directions == 2, **keys)
        weights = {name: w.detach().tolist() for name, w in self.module.named_parameters()}
        names = {"cell": kind, "input_size": size, "hidden_size": size, "num_layers": layers}
        said = {key: str(value).removeprefix("torch.") if key == "dtype" else value for key, value in keys.items()}
        self.spec = Spec(**names, bidirectional=directions == 2, batch_first=False, weights=weights, **said)
        self.x = torch.randn(9, 3, size, dtype=keys.get("dtype"))

    @torch.no_grad()
    def run(self, before: float = 0, between: float = 0, behind: float = 0, lengths: Any = None) -> list[Tensor]:
        """The output (T, B, D·H) of each layer, what is behind the last dropped; x is not dropped in place."""
        torch.manual_seed(11)
        x, every = self.x, []
        keys = {key: value for key, value in self.keys.items() if key != "dropout"}
        for at in range(self.layers):
            x = nn.functional.dropout(x, between if at else before, training=True)
            one = type(self.module)(x.shape[2], self.module.hidden_size, bidirectional=self.directions == 2, **keys)
            for name, w in one.named_parameters():
                w.copy_(getattr(self.module, name.replace("_l0", f"_l{at}")))
            if lengths is None:
                x, _ = one(x)
            else:
                packed, _ = one(nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
                x, _ = nn.utils.rnn.pad_packed_sequence(packed)
            every.append(x)
        return [*every[:-1], nn.functional.dropout(every[-1], behind, training=True)]

    def check(self, every: list[Tensor], lengths: Any = None) -> rnnspect.Verdict:
        recorded = {}
        for at, out in enumerate(every):
            for direction, h in zip(("forward", "reverse"), out.chunk(self.directions, 2), strict=False):
                recorded[f"l{at}.{direction}.h"] = h.transpose(0, 1).contiguous()
        return rnnspect.check(self.spec, self.x, lengths=lengths, recorded=recorded)


def assert_named(verdict: rnnspect.Verdict, where: str, p: float, *scope: str) -> None:
    assert verdict.verdict == "differ"
    assert verdict.causes, verdict.pattern
    first = verdict.causes[0]
    assert (first.name, first.parameters) == ("dropout-active", {"where": where, "p": p})
    assert first.scope == scope
    assert first.left == ()
    assert first.worst_ratio_after <= 1 < first.worst_ratio_before


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "p"), [(5, 0.5), (5, 0.2), (32, 0.5), (32, 0.2)])
def test_dropout_between_layers_is_named(kind: str, size: int, p: float) -> None:
    trained = Trained(kind, size, layers=3)
    assert_named(trained.check(trained.run(between=p)), "input", p, "layer 1 forward", "layer 2 forward")


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [5, 32])
def test_a_module_in_train_mode_is_named_by_its_output_alone(kind: str, size: int) -> None:
    trained = Trained(kind, size, dropout=0.2)
    with torch.no_grad():
        out, _ = trained.module.train()(trained.x)
    verdict = rnnspect.check(trained.spec, trained.x, recorded=out)
    assert_named(verdict, "input", 0.2, "layer 1 forward")


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "p"), [(5, 0.25), (32, 0.3), (32, 1 / 3)])
def test_dropout_of_the_input_is_named(kind: str, size: int, p: float) -> None:
    trained = Trained(kind, size)
    assert_named(trained.check(trained.run(before=p)), "input", p, "layer 0 forward")


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [5, 32])
@pytest.mark.parametrize("directions", [1, 2])
def test_dropout_of_the_output_is_named(kind: str, size: int, directions: int) -> None:
    trained = Trained(kind, size, directions=directions)
    scope = ("layer 1 forward", "layer 1 reverse")[:directions]
    assert_named(trained.check(trained.run(behind=0.35)), "output", 0.35, *scope)


@pytest.mark.parametrize(("kind", "size"), sampled([("rnn", 5), ("gru", 5), ("lstm", 5), ("rnn", 32), ("gru", 32)], 3))
def test_in_both_directions_it_is_named_where_they_tell_it(kind: str, size: int) -> None:
    trained = Trained(kind, size, directions=2)
    assert_named(trained.check(trained.run(between=0.5)), "input", 0.5, "layer 1 forward", "layer 1 reverse")


@torch.no_grad()
def _run(cell: nn.RNNCellBase, x: Tensor, where: str) -> Tensor:
    """The h of a loop over x (T, B, I) that drops a part of its state: of each step anew what the step begins with, the
    same part at each step, or what it returns, too."""
    state = [torch.zeros(x.shape[1], cell.hidden_size) for _ in range(1 + isinstance(cell, nn.LSTMCell))]
    kept, every = nn.functional.dropout(torch.ones_like(state[0]), 0.4), []
    for row in x:
        h, *others = state
        before = {"state": nn.functional.dropout(h, 0.4), "the same": h * kept}.get(where, h)
        after = cell(row, (before, *others)) if others else cell(row, before)
        state = list(after) if others else [after]
        state[0] = nn.functional.dropout(state[0], 0.4) if where == "output and state" else state[0]
        every.append(state[0])
    return torch.stack(every)


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [5, 32])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("where", ["state", "the same", "output and state"])
def test_dropout_of_the_state_is_named(kind: str, size: int, reverse: bool, where: str) -> None:
    torch.manual_seed(1)
    module: nn.RNNBase = getattr(nn, kind.upper())(4, size, bidirectional=reverse)
    cell: nn.RNNCellBase = getattr(nn, f"{kind.upper()}Cell")(4, size)
    cell.load_state_dict({name[: -len("_l0")]: w for name, w in module.state_dict().items() if name.endswith("_l0")})
    x = torch.randn(12, 3, 4)
    halves = [_run(cell, x, where)]
    if reverse:
        halves.append(module(x)[0].detach()[..., size:])
    verdict = rnnspect.check(module, x, recorded=torch.cat(halves, 2))
    assert_named(verdict, where if where == "output and state" else "state", 0.4, "layer 0 forward")


def _with_masks_of_gates(layer: Trained, of_x: bool, before: bool) -> Tensor:
    """The h of a loop over a layer whose gates each read h, and x where it is asked for, through masks of their own,
    which stay the same; `before`: a GRU that resets before the product."""
    w, v, b, c = (p.double() for p in list(layer.module.parameters())[:4])
    gates, units = len(w) // len(v[0]), len(v[0])
    mask_h, mask_x = (nn.functional.dropout(torch.ones(3, gates, n).double(), 0.25) for n in (units, w.shape[1]))
    ws, vs, bs, cs = (of.chunk(gates) for of in (w, v, b, c))
    h = cell = torch.zeros(3, units).double()
    every = []
    for x in layer.x.double():
        u = [(x * mask_x[:, n] if of_x else x) @ ws[n].T + bs[n] for n in range(gates)]
        s = [h * mask_h[:, n] @ vs[n].T + cs[n] for n in range(gates)]
        if gates == 1:
            h = torch.tanh(u[0] + s[0])
        elif gates == 3:
            r, z = (u[0] + s[0]).sigmoid(), (u[1] + s[1]).sigmoid()
            candidate = (r * h * mask_h[:, 2]) @ vs[2].T + cs[2] if before else r * s[2]
            h = (1 - z) * torch.tanh(u[2] + candidate) + z * h
        else:
            i, f, g, o = (one + other for one, other in zip(u, s, strict=True))
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            h = o.sigmoid() * cell.tanh()
        every.append(h)
    return torch.stack(every).float()


@torch.no_grad()
@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", [*KINDS, "gru before"])
@pytest.mark.parametrize("size", [5, 24])
@pytest.mark.parametrize("of_x", [False, True])
def test_masks_of_each_gate_that_stay_the_same_are_named(kind: str, size: int, of_x: bool) -> None:
    kind, _, before = kind.partition(" ")
    layer = Trained(kind, size, layers=1)
    if before:
        layer.spec = layer.spec.with_changes(reset="before")
    layer.x = torch.randn(30, 3, size)
    h = _with_masks_of_gates(layer, of_x, bool(before))
    assert_named(layer.check([h]), "gates" if kind != "rnn" or of_x else "state", 0.25, "layer 0 forward")


@pytest.mark.parametrize("of_x", [False, True])
@pytest.mark.parametrize(
    ("cell", "keys"), [("rnn", {}), ("gru", {}), ("gru", {"reset": "before"}), ("lstm", {}), ("lstm", {"proj_size": 3})]
)
def test_slopes_by_masks_of_gates_are_those_of_autograd(cell: str, keys: dict[str, Any], of_x: bool) -> None:
    steps, units = 4, 5
    draw, width = torch.Generator().manual_seed(0), keys.get("proj_size", units)
    spec = Spec(cell=cell, input_size=2, hidden_size=units, dtype="float64", **keys)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    parameters = {one.name: drawn(*one.shape) for one in parameters_of(spec)}
    of = Equations(spec.cell_type, LayerParameters.of(parameters, 0, "forward", spec), spec.nonlinearity_of("forward"))
    state = (drawn(1, width), drawn(1, units))[: len(spec.cell_type.states)]
    masked = MaskedSteps(of, state, drawn(1, steps * width), drawn(steps, 2), of_x)
    factors = drawn(1, masked.count).abs()
    h, slopes = masked.slopes(factors)
    expected = torch.autograd.functional.jacobian(lambda each: masked.h(each)[0], factors)[:, 0]
    torch.testing.assert_close(h, masked.h(factors))
    # A finite difference of 1e-6: its curvature, and the roundings of float64 over it, are about 1e-6.
    torch.testing.assert_close(slopes[0], expected, rtol=1e-4, atol=1e-5)


def test_masks_that_too_few_steps_tell_are_not_named() -> None:
    """Of an LSTM 4 · 24 masked numbers are not told by the 72 that three steps have."""
    layer = Trained("lstm", 24, layers=1)
    layer.x = torch.randn(3, 3, 24)
    with torch.no_grad():
        verdict = layer.check([_with_masks_of_gates(layer, False, False)])
    assert verdict.verdict == "differ"
    assert verdict.causes == ()


@pytest.mark.parametrize("directions", [1, 2])
def test_items_of_different_lengths(directions: int) -> None:
    trained, lengths = Trained("gru", 5, directions=directions), [4, 9, 1]
    scope = ("layer 1 forward", "layer 1 reverse")[:directions]
    assert_named(trained.check(trained.run(between=0.5, lengths=lengths), lengths), "input", 0.5, *scope)


@pytest.mark.parametrize("size", [5, 32])
def test_relu_has_zeros_of_its_own(size: int) -> None:
    """Half of what a layer gives is 0 without dropout."""
    trained = Trained("rnn", size, nonlinearity="relu")
    assert trained.check(trained.run()).agrees
    assert_named(trained.check(trained.run(behind=0.5)), "output", 0.5, "layer 1 forward")
    with torch.no_grad():
        trained.module.weight_ih_l1 *= 2
    assert "dropout-active" not in {cause.name for cause in trained.check(trained.run()).causes}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, torch.float64) for kind in KINDS]
    + [(kind, dtype) for kind in ("rnn", "gru") for dtype in (torch.float16, torch.bfloat16)],
)
def test_in_another_precision(kind: str, dtype: torch.dtype) -> None:
    """An LSTM's h is too small for a half type to tell the mask."""
    trained = Trained(kind, 5, dtype=dtype)
    assert_named(trained.check(trained.run(between=0.5)), "input", 0.5, "layer 1 forward")
    assert_named(trained.check(trained.run(behind=0.5)), "output", 0.5, "layer 1 forward")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_with_a_projection() -> None:
    trained = Trained("lstm", 32, proj_size=16)
    assert_named(trained.check(trained.run(between=0.5)), "input", 0.5, "layer 1 forward")
    assert_named(trained.check(trained.run(behind=0.5)), "output", 0.5, "layer 1 forward")


@pytest.mark.slow
def test_what_cannot_be_told_is_not_named() -> None:
    """An LSTM above 64 units, of which 32 numbers a step are seen."""
    trained = Trained("lstm", 32, directions=2)
    verdict = trained.check(trained.run(between=0.5))
    assert verdict.verdict == "differ"
    assert verdict.causes == ()


@pytest.mark.parametrize("kind", sampled(KINDS, 3))
@pytest.mark.parametrize(("size", "directions"), sampled([(2, 1), (5, 2), (32, 1)], 3))
def test_a_right_run_and_a_changed_weight_are_not_called_dropout(kind: str, size: int, directions: int) -> None:
    trained = Trained(kind, size, directions=directions)
    assert trained.check(trained.run()).causes == ()
    with torch.no_grad():
        trained.module.weight_hh_l1[1, 1] += 0.25
        trained.module.weight_ih_l0[1, 0] -= 0.25
    verdict = trained.check(trained.run())
    assert verdict.verdict == "differ"
    assert "dropout-active" not in {cause.name for cause in verdict.causes}


@pytest.mark.slow
def test_noise_in_a_coarse_recording_is_no_mask() -> None:
    """Every weight is off by about 0.02, of which two decimals of h hardly show more than their rounding."""
    torch.manual_seed(0)
    module, x = nn.LSTM(3, 3, num_layers=2), torch.randn(1, 2, 3).expand(3, 2, 3)
    other = nn.LSTM(3, 3, num_layers=2)
    other.load_state_dict({name: w + 0.02 * torch.randn(w.shape) for name, w in module.state_dict().items()})
    with torch.no_grad():
        output, _ = other(x)
    found = rnnspect.check(module, x, recorded=torch.round(output, decimals=2))
    assert isinstance(found, rnnspect.Verdict)
    assert "dropout-active" not in [one.name for one in found.causes]


def test_padding_that_holds_no_numbers_does_not_hide_it() -> None:
    module, x, lengths = torch.nn.LSTM(6, 8), torch.randn(12, 3, 6), [12, 6, 3]
    kept = 2.0 * (torch.rand(12, 3, 6) > 0.5)
    with torch.no_grad():
        output = module(x * kept)[0]
    for item, length in enumerate(lengths):
        x[length:, item] = torch.nan
    found = rnnspect.check(module, x, lengths=lengths, recorded=output)
    assert [cause.name for cause in found.causes] == ["dropout-active"]
