"""The comparison of test_unroll must fail for every known way of getting the equations wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from rnnspect import Spec, trace
from rnnspect.arithmetic import numbers, unroll
from rnnspect.arithmetic.numbers import Numbers, SmallNumbers
from rnnspect.cells import CELLS
from rnnspect.cells.functions import functions_of
from rnnspect.network.parameters import LayerParameters
from tests.comparison import ARITHMETICS, assert_engine_agrees, computing_with

if TYPE_CHECKING:
    from collections.abc import Callable

    Mutation = Callable[[pytest.MonkeyPatch], None]

LSTM = {"cell": "lstm"}
PROJECTED = {"cell": "lstm", "proj_size": 3}
GRU = {"cell": "gru"}
RNN = {"cell": "rnn"}
RELU = {"cell": "rnn", "nonlinearity": "relu"}


def _spec(dtype: str, **keys: Any) -> Spec:
    """All that can go wrong at once: stacked, bidirectional, packed, with states. Layers are equally wide."""
    return Spec(
        **{"hidden_size": 4, "input_size": 2 * keys.get("proj_size", 4), "num_layers": 3, "bidirectional": True}
        | {"dtype": dtype, "input": "randn:7", "batch": 3, "lengths": [5, 7, 2], "h0": "randn"}
        | ({"c0": "randn"} if keys["cell"] == "lstm" else {})
        | keys
    )


def _step(cell: str, step: Callable[..., dict[str, Any]]) -> Mutation:
    return lambda patch: patch.setitem(CELLS, cell, replace(CELLS[cell], step=step))


def _exchanged(one: int, other: int) -> Mutation:
    def mutation(patch: pytest.MonkeyPatch) -> None:
        for kind in (Numbers, SmallNumbers):
            patch.setattr(kind, "split", _split_in_another_order(kind.split, one, other))

    return mutation


def _split_in_another_order(right: Callable[..., Any], one: int, other: int) -> Callable[..., Any]:
    def split(self: Any, packed: Any) -> tuple[Any, ...]:
        blocks = list(right(self, packed))
        blocks[one], blocks[other] = blocks[other], blocks[one]
        return tuple(blocks)

    return split


def _parameters(change: Callable[[LayerParameters], LayerParameters]) -> Mutation:
    right = LayerParameters.of
    return lambda patch: patch.setattr(LayerParameters, "of", lambda *at: change(right(*at)))


def _taken_from(layer: Callable[[int], int], direction: Callable[[str], str]) -> Mutation:
    right = LayerParameters.of
    return lambda patch: patch.setattr(
        LayerParameters, "of", lambda all_, at, to, cell=None: right(all_, layer(at), direction(to), cell)
    )


def _layer_run(change: Callable[..., dict[str, Any]]) -> Mutation:
    """Exchanges some of what a layer's run is given: state, valid."""
    right = unroll.run_layer

    def run(cell: Any, arithmetic: Any, wx: Any, state: Any, valid: Any, progress: Any) -> Any:
        given = {"state": state, "valid": valid}
        given |= change(**given)
        return right(cell, arithmetic, wx, given["state"], given["valid"], progress)

    return lambda patch: patch.setattr(unroll, "run_layer", run)


def _always_the_first_x(patch: pytest.MonkeyPatch) -> None:
    """The layers are equally wide: W_ih of any layer takes any layer's input."""
    right, seen = torch.nn.functional.linear, []

    def linear(x: torch.Tensor, *parameters: Any) -> torch.Tensor:
        if x.dim() == 3:  # (T, B, I): a layer's input
            seen.append(x)
            x = seen[0]
        return right(x, *parameters)

    patch.setattr(torch.nn.functional, "linear", linear)


def _order(change: Callable[[Any], torch.Tensor | None]) -> Mutation:
    return lambda patch: patch.setattr(unroll, "_reversed_order", change)


def _flipped_with_its_padding(sequence: Any) -> torch.Tensor | None:
    return torch.arange(sequence.steps)[:, None].expand(-1, sequence.batch).flip(0)


def _not_put_back(patch: pytest.MonkeyPatch) -> None:
    """Only what goes in, all gates side by side and so the widest of all, is turned round."""
    right, widest = unroll.reordered, [0]

    def reordered(values: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
        widest[0] = max(widest[0], values.shape[-1])
        return right(values, order) if values.shape[-1] == widest[0] else values

    patch.setattr(unroll, "reordered", reordered)


def _method(name: str, change: Callable[..., Any]) -> Mutation:
    def mutation(patch: pytest.MonkeyPatch) -> None:
        for kind in (Numbers, SmallNumbers):
            patch.setattr(kind, name, change)

    return mutation


def _tanh_for_relu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(numbers, "functions_of", lambda _nonlinearity: functions_of("tanh"))


def _gru_reset_before(a: Any, wx: Any, h: Any) -> dict[str, Any]:
    wx_r, wx_z, wx_n = a.split(wx)
    wh_r, wh_z, _ = a.split(a.hidden(h))
    r, z = a.sigmoid(wx_r + wh_r), a.sigmoid(wx_z + wh_z)
    n = a.tanh(wx_n + a.split(a.hidden(r * h))[2])
    return {"r": r, "z": z, "n": n, "h": n + z * (h - n)}


def _gru_mix_flipped(a: Any, wx: Any, h: Any) -> dict[str, Any]:
    q = _gru(a, wx, h)
    return q | {"h": (1 - q["z"]) * h + q["z"] * q["n"]}


def _lstm_candidate_not_squashed(a: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
    q = _lstm(a, wx, h, c)
    return q | {"h": a.project(q["o"] * q["c"])}


def _without_state(step: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return lambda a, wx, *state: step(a, wx, *(0 * before for before in state))


_lstm, _gru, _rnn = (CELLS[name].step for name in ("lstm", "gru", "rnn"))

MUTATIONS: dict[str, tuple[dict[str, Any], Mutation]] = {
    "lstm: i and f exchanged": (LSTM, _exchanged(0, 1)),
    "lstm: i and g exchanged": (LSTM, _exchanged(0, 2)),
    "lstm: i and o exchanged": (LSTM, _exchanged(0, 3)),
    "lstm: f and g exchanged": (LSTM, _exchanged(1, 2)),
    "lstm: f and o exchanged": (LSTM, _exchanged(1, 3)),
    "lstm: g and o exchanged": (LSTM, _exchanged(2, 3)),
    "gru: r and z exchanged": (GRU, _exchanged(0, 1)),
    "gru: r and n exchanged": (GRU, _exchanged(0, 2)),
    "gru: z and n exchanged": (GRU, _exchanged(1, 2)),
    "rnn: tanh for relu": (RELU, _tanh_for_relu),
    "rnn: no nonlinearity": (RNN, _step("rnn", lambda a, wx, h: {"h": wx + a.hidden(h)})),
    "gru: reset before the product": (GRU, _step("gru", _gru_reset_before)),
    "gru: mix flipped": (GRU, _step("gru", _gru_mix_flipped)),
    "lstm: c' not squashed": (LSTM, _step("lstm", _lstm_candidate_not_squashed)),
    "lstm: c forgotten": (LSTM, _method("carry", lambda self, f, c, v: v)),
    "lstm: c never forgotten": (LSTM, _method("carry", lambda self, f, c, v: c + v)),
    "projection dropped": (PROJECTED, _method("project", lambda self, m: m[..., :3])),
    **{
        f"{cell['cell']}: {name} dropped": (cell, _parameters(lambda p, name=name: replace(p, **{name: None})))  # type: ignore[misc]
        for cell in (RNN, LSTM, GRU)
        for name in ("bias_ih", "bias_hh")
    },
    **{
        f"{cell['cell']}: W_hh transposed": (
            cell | {"hidden_size": 4},
            _parameters(lambda p: replace(p, weight_hh=_transposed_blocks(p.weight_hh))),
        )
        for cell in (RNN, LSTM, GRU)
    },
    **{
        f"{cell['cell']}: state not carried": (cell, _step(cell["cell"], _without_state(step)))
        for cell, step in ((RNN, _rnn), (LSTM, _lstm), (GRU, _gru))
    },
    "direction not reversed": (GRU, _order(lambda sequence: None)),
    "reverse not realigned with lengths": (GRU, _order(_flipped_with_its_padding)),
    "reverse not put back": (GRU, _not_put_back),
    "reverse with the forward weights": (GRU, _taken_from(lambda at: at, lambda to: "forward")),
    "every layer with the first one's input": (GRU, _always_the_first_x),
    "every layer with the last one's weights": (GRU, _taken_from(lambda at: 2, lambda to: to)),
    "h0 ignored": (GRU, _layer_run(lambda state, **_: {"state": tuple(map(torch.zeros_like, state))})),
    "c0 ignored": (LSTM, _layer_run(lambda state, **_: {"state": (state[0], torch.zeros_like(state[1]))})),
    "h0 of another item": (GRU, _layer_run(lambda state, **_: {"state": tuple(s.flip(0) for s in state)})),
    "steps beyond a length move the state": (GRU, _layer_run(lambda **_: {"valid": None})),
}


def _transposed_blocks(weight: torch.Tensor) -> torch.Tensor:
    return torch.cat([block.T for block in weight.split(weight.shape[1])])


@pytest.mark.each_value_once
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cell", "mutation"), MUTATIONS.values(), ids=MUTATIONS.keys())
def test_the_comparison_sees_it(
    monkeypatch: pytest.MonkeyPatch, cell: dict[str, Any], mutation: Mutation, dtype: str, arithmetic: str
):
    spec = _spec(dtype, **cell)
    computing_with(arithmetic, monkeypatch)
    assert_engine_agrees(trace(spec))
    mutation(monkeypatch)
    wrong = trace(spec)
    with pytest.raises(AssertionError, match=r"h of layer|h_n"):
        assert_engine_agrees(wrong)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mutation", [_exchanged(0, 1), _parameters(lambda p: replace(p, bias_hh=None))])
def test_the_comparison_sees_it_in_half_types_too(monkeypatch: pytest.MonkeyPatch, mutation: Mutation, dtype: str):
    """One layer and few steps: what the allowance for many would hide."""
    spec = _spec(dtype, cell="gru").with_changes(num_layers=1, input="randn:3", lengths=None)
    assert_engine_agrees(trace(spec))
    mutation(monkeypatch)
    wrong = trace(spec)
    with pytest.raises(AssertionError, match="h of layer"):
        assert_engine_agrees(wrong)


@pytest.mark.parametrize("gap", [float("nan"), float("inf"), 1e-3])
@pytest.mark.parametrize("where", ["h_n", "c_n", "output", "head"])
def test_the_comparison_looks_at_every_result(where: str, gap: float):
    spec = _spec("float64", cell="lstm", head={"out_features": 2})
    found = trace(spec)
    pair = getattr(found, where)
    manual = pair.manual.clone()
    manual[0, 0] += gap
    with pytest.raises(AssertionError, match=where):
        assert_engine_agrees(replace(found, **{where: replace(pair, manual=manual)}))
