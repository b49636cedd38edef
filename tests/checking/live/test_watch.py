"""A watched model of anybody's shape: right modules agree, and a fault is found at its module, call, step and unit."""

from __future__ import annotations

import copy
import re
import sys
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

import rnnspect
from rnnspect import watch
from rnnspect.checking.live.runs import watch_run
from rnnspect.checking.live.watch import WatchedCalls
from tests.marks import sampled

pytestmark = pytest.mark.usefixtures("no_causes")


def _answers(seen: WatchedCalls) -> list[tuple[str, int, str]]:
    return [(one.name, one.index, one.answer) for one in seen.check()]


def _assert_agrees(seen: WatchedCalls, *calls: tuple[str, int]) -> None:
    assert _answers(seen) == [(*call, "agree") for call in calls], str(seen)
    assert seen.verdict == "agree"
    assert not seen.never_called


def _assert_no_fault(seen: WatchedCalls) -> None:
    """In half types a gate's shift of 0.01 may be too small to be seen; that is all that may be said against it."""
    for one in seen.check():
        assert one.verdict is not None, str(one)
        assert one.verdict.worst.ratio <= 1
        assert one.answer == "agree" or re.search("be tested|cannot reveal|the rounding of", one.reason), str(one)


class Attention(nn.Module):
    """An encoder–decoder: a bidirectional encoder, and a decoder cell that looks back at it at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.encoder = nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.query = nn.Linear(10, 16)
        self.decoder = nn.LSTMCell(6 + 16, 10)
        self.head = nn.Linear(10, 20)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, _ = self.encoder(self.embed(source))
        h = c = torch.zeros(len(source), 10)
        logits = []
        for word in self.embed(target).unbind(1):
            weights = torch.softmax(torch.einsum("btd,bd->bt", memory, self.query(h)), 1)
            context = torch.einsum("bt,btd->bd", weights, memory)
            h, c = self.decoder(torch.cat([word, context], 1), (h, c))
            logits.append(self.head(h))
        return torch.stack(logits, 1)


class Tagger(nn.Module):
    """A packed bidirectional tagger; the batch comes in any order."""

    def __init__(self, kind: str = "GRU", **options: Any) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(5, 7, bidirectional=True, batch_first=True, **options)
        self.head = nn.Linear(14, 3)

    def forward(self, x: Tensor, lengths: list[int], h0: Any = None) -> Tensor:
        packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        output, _ = self.rnn(packed, h0)
        return self.head(pad_packed_sequence(output, batch_first=True)[0])


class Stepper(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, state: Any = None) -> Any:
        for row in x:
            state = self.cell(row, state)
        return state


def _added(amount: float, *at: int, call: int = 0) -> Any:
    """A forward hook that changes one number of one call's output."""
    count = -1

    def hook(_module: nn.Module, _given: Any, output: Any) -> Any:
        nonlocal count
        count += 1
        if count != call:
            return None
        first = output[0] if isinstance(output, tuple) else output
        changed = first.clone()
        changed[at] += amount
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    return hook


def _words() -> tuple[Tensor, Tensor]:
    return torch.randint(20, (3, 9)), torch.randint(20, (3, 5))


def test_an_encoder_decoder_with_attention():
    model = Attention()
    with watch(model) as seen:
        model(*_words())
    _assert_agrees(seen, ("encoder", 0), *(("decoder", index) for index in range(5)))
    assert [call.kind for call in seen.calls] == ["LSTM"] + 5 * ["LSTMCell"]
    assert seen.calls[0].shape == (3, 9, 6)
    first = seen.check()[0].verdict
    assert first is not None
    assert first.estimated == ("layer 0 forward", "layer 0 reverse")
    cell = seen.check()[1].verdict
    assert cell is not None
    assert cell.observed == ("layer 0 forward h", "layer 0 forward c")


def test_a_number_that_was_changed_in_the_decoder_is_found_there():
    model = Attention()
    model.decoder.register_forward_hook(_added(1e-3, 2, 7, call=3))
    with watch(model) as seen:
        model(*_words())
    wrong = [one for one in seen.check() if one.answer != "agree"]
    assert [(one.name, one.index) for one in wrong] == [("decoder", 3)]
    first = wrong[0].verdict.first
    assert (first.quantity, first.step, first.batch, first.unit) == ("h", 0, 2, 7)
    assert seen.worst == wrong[0]
    assert seen.verdict == "differ"
    assert "decoder (LSTMCell), call 3: differ" in str(seen)


def test_a_number_that_was_changed_in_the_top_layer_is_found_there():
    model = Attention()
    model.encoder.register_forward_hook(_added(1e-2, 1, 4, 8 + 5))  # reverse
    with watch(model) as seen:
        model(*_words())
    worst = seen.worst
    assert worst is not None
    assert (worst.name, worst.index, worst.answer) == ("encoder", 0, "differ")
    first = worst.verdict.first
    assert (first.layer, first.direction, first.step, first.batch, first.unit) == (1, "reverse", 4, 1, 5)


def test_a_cell_state_that_was_changed_is_found():
    class Leaky(nn.LSTMCell):
        def forward(self, *given: Any) -> Any:
            h, c = super().forward(*given)
            c = c.clone()
            c[1, 2] += 1e-3
            return h, c

    model = Stepper(Leaky(4, 5))
    with watch(model) as seen:
        model(torch.randn(3, 2, 4))
    for one in seen.check():
        first = one.verdict.first
        assert (first.quantity, first.batch, first.unit) == ("c", 1, 2)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_packed_bidirectional_tagger(kind: str, layers: int):
    model = Tagger(kind, num_layers=layers)
    h0 = torch.randn(2 * layers, 4, 7)
    state = (h0, torch.randn(2 * layers, 4, 7)) if kind == "LSTM" else h0
    with watch(model) as seen:
        model(torch.randn(4, 9, 5), [3, 9, 1, 6], state)
    _assert_agrees(seen, ("rnn", 0))
    assert seen.calls[0].packed
    assert seen.calls[0].shape == (9, 4, 5)
    verdict = seen.check()[0].verdict
    assert verdict is not None
    if layers == 1:
        assert verdict.values == (3 + 9 + 1 + 6) * 14


def test_states_of_a_packed_batch_belong_to_the_item_as_it_came():
    class Unsorted(nn.GRU):
        """Forgets to bring h0 into the order of the packed data."""

        def forward(self, x: Any, hx: Any = None) -> Any:
            return super().forward(x, hx.index_select(1, x.unsorted_indices))

    model = Tagger()
    model.rnn = Unsorted(5, 7, bidirectional=True, batch_first=True)
    with watch(model) as seen:
        model(torch.randn(4, 9, 5), [3, 9, 1, 6], torch.randn(2, 4, 7))
    assert seen.verdict == "differ"
    assert seen.worst.verdict.first.step == 0


def test_a_fault_in_a_packed_batch_is_found_at_the_item_as_it_came():
    model = Tagger()

    def changed(_module: nn.Module, _given: Any, output: Any) -> Any:
        packed, final = output
        data = packed.data.clone()
        # sorted, item 3 (six steps) is the second; step 2 begins behind 4 + 3 rows, and has items 1, 3, 0
        data[4 + 3 + 1, 3] += 1e-3
        return PackedSequence(data, *packed[1:]), final

    model.rnn.register_forward_hook(changed)
    with watch(model) as seen:
        model(torch.randn(4, 9, 5), [3, 9, 1, 6])
    first = seen.worst.verdict.first
    assert (first.direction, first.step, first.batch, first.unit) == ("forward", 2, 3, 3)


def test_a_sequence_that_was_packed_in_order():
    model = nn.LSTM(4, 6)
    with watch(model) as seen:
        model(pack_sequence([torch.randn(7, 4), torch.randn(5, 4), torch.randn(5, 4)]))
        model(pack_sequence([torch.randn(5, 4), torch.randn(5, 4)]))
    _assert_agrees(seen, ("", 0), ("", 1))
    second = seen.check()[1].verdict
    assert "layer 0 forward c_n" in second.observed


def test_one_lstm_called_twice_with_its_own_states():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(5, 6)

        def forward(self, x: Tensor) -> Tensor:
            first, state = self.rnn(x)
            second, _ = self.rnn(x.flip(0), state)
            return first + second

    model = Twice()
    with watch(model) as seen:
        model(torch.randn(7, 2, 5))
    _assert_agrees(seen, ("rnn", 0), ("rnn", 1))
    model.rnn.register_forward_hook(_added(1e-3, 5, 1, 4, call=1))
    with watch(model) as seen:
        model(torch.randn(7, 2, 5))
    assert _answers(seen) == [("rnn", 0, "agree"), ("rnn", 1, "differ")]
    first = seen.worst.verdict.first
    assert (first.step, first.batch, first.unit) == (5, 1, 4)


def test_a_module_under_two_names_is_one():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = self.b = nn.GRU(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)[0])[0]

    model = Shared()
    with watch(model) as seen:
        model(torch.randn(4, 3))
    _assert_agrees(seen, ("a", 0), ("a", 1))


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_one_moved_to_half_precision(kind: str, dtype: torch.dtype):
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low = getattr(nn, kind)(5, 16).to(dtype)
            self.high = getattr(nn, kind)(16, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.high(self.low(x.to(dtype))[0].float())[0]

    model = Mixed()
    with watch(model) as seen:
        model(torch.randn(12, 3, 5))
    _assert_no_fault(seen)
    assert [(one.name, one.index) for one in seen.check()] == [("low", 0), ("high", 0)]
    said = [one.verdict.arithmetic for one in seen.check()]
    assert said == [f"{str(dtype).removeprefix('torch.')}, float32 sums", "float32"]
    model.low.register_forward_hook(_added(0.1, 3, 2, 9))
    with watch(model) as seen:
        model(torch.randn(12, 3, 5))
    worst = seen.worst
    assert (worst.name, worst.verdict.first.step, worst.verdict.first.unit) == ("low", 3, 9)


AUTOCAST = [
    ("RNN", torch.bfloat16), ("LSTM", torch.bfloat16), ("GRU", torch.bfloat16), ("RNN", torch.float16),
    ("GRU", torch.float16), ("RNNCell", torch.bfloat16), ("LSTMCell", torch.bfloat16), ("GRUCell", torch.bfloat16),
    ("LSTMCell", torch.float16), ("GRUCell", torch.float16),
]  # fmt: skip


@pytest.mark.each_value_once
@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("from_half", [True, False])
@pytest.mark.parametrize(("kind", "dtype"), AUTOCAST)
def test_one_under_autocast(kind: str, dtype: torch.dtype, from_half: bool, gradient: bool):
    """Some kernels return float32 under autocast, some the half type; both are held to half products and gates."""
    module = getattr(nn, kind)(8, 24)
    model = nn.Sequential(
        nn.Linear(8, 8) if from_half else nn.Identity(), Stepper(module) if "Cell" in kind else module
    )
    with torch.autocast("cpu", dtype=dtype), torch.set_grad_enabled(gradient), watch(model) as seen:
        model(torch.randn(20, 3, 8))
    _assert_no_fault(seen)
    name = str(dtype).removeprefix("torch.")
    ratios = []
    for one in seen.check():
        assert one.verdict.arithmetic == f"{name} by autocast, float32 sums"
        ratios.append(one.verdict.worst.ratio)
    assert max(ratios) > 0.02, "the bound is far too wide"


@pytest.mark.parametrize(("kind", "dtype"), sampled(AUTOCAST, 3))
def test_a_fault_under_autocast_is_found(kind: str, dtype: torch.dtype):
    module = getattr(nn, kind)(8, 24)
    is_cell = "Cell" in kind
    module.register_forward_hook(_added(0.1, 1, 5, call=4) if is_cell else _added(0.1, 4, 1, 5))
    model = Stepper(module) if is_cell else module
    with torch.autocast("cpu", dtype=dtype), watch(model) as seen:
        model(torch.randn(20, 3, 8))
    worst = seen.worst
    first = worst.verdict.first
    assert (worst.index if is_cell else first.step, first.batch, first.unit) == (4, 1, 5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_packed_one_under_autocast(kind: str):
    model = Tagger(kind, num_layers=2)
    h0 = torch.randn(4, 3, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16), watch(model) as seen:
        model(torch.randn(3, 9, 5), [3, 9, 6], (h0, torch.randn(4, 3, 7)) if kind == "LSTM" else h0)
    _assert_no_fault(seen)


def test_autocast_leaves_float64_alone():
    model = nn.GRU(3, 4).double()
    with torch.autocast("cpu", dtype=torch.bfloat16), watch(model) as seen:
        model(torch.randn(5, 3, dtype=torch.float64))
    assert seen.check()[0].verdict.arithmetic == "float64"


CELLS = [nn.RNNCell(4, 6), nn.RNNCell(4, 6, nonlinearity="relu"), nn.LSTMCell(4, 6), nn.GRUCell(4, 6, bias=False)]


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_a_loop_of_cells(cell: nn.Module, batched: bool):
    model = Stepper(cell)
    with watch(model) as seen:
        model(torch.randn(6, 3, 4) if batched else torch.randn(6, 4))
    _assert_agrees(seen, *(("cell", index) for index in range(6)))


def test_swapped_gates_of_a_cell_differ_at_every_call():
    class Swapped(nn.GRUCell):
        """r and z exchanged, as another framework packs them."""

        def forward(self, x: Tensor, hx: Tensor | None = None) -> Tensor:
            order = torch.tensor([6 + i for i in range(6)] + list(range(6)) + list(range(12, 18)))
            given = (self.weight_ih[order], self.weight_hh[order], self.bias_ih[order], self.bias_hh[order])
            return torch.gru_cell(x, torch.zeros(len(x), 6) if hx is None else hx, *given)

    model = Stepper(Swapped(4, 6))
    with watch(model) as seen:
        model(torch.randn(5, 3, 4))
    assert [one.answer for one in seen.check()] == 5 * ["differ"]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_an_input_without_a_batch(kind: str, batch_first: bool):
    model = getattr(nn, kind)(4, 6, 2, batch_first=batch_first, bidirectional=True)
    state = torch.randn(4, 6)
    with watch(model) as seen:
        model(torch.randn(8, 4), (state, state) if kind == "LSTM" else state)
        model(input=torch.randn(8, 4))
    _assert_agrees(seen, ("", 0), ("", 1))
    assert seen.calls[1].shape == (8, 4)


def test_a_projection():
    model = nn.LSTM(4, 6, 2, proj_size=3, bidirectional=True)
    with warnings.catch_warnings(), watch(model) as seen:
        warnings.simplefilter("ignore", UserWarning)  # PyTorch's own about projections
        model(torch.randn(8, 2, 4))
    _assert_agrees(seen, ("", 0))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_in_every_gradient_mode(mode: Any):
    model, x = nn.LSTM(4, 6, bidirectional=True), torch.randn(5, 2, 4, requires_grad=True)
    with mode(), watch(model) as seen:
        output, _ = model(x)
    _assert_agrees(seen, ("", 0))
    if mode is torch.enable_grad:
        output.sum().backward()
        assert x.grad is not None
    assert not any(tensor.requires_grad for tensor in seen.calls[0].kept.parameters.values())


def test_while_it_trains():
    """Each call is judged with the parameters that it ran with."""
    model = nn.Sequential(nn.GRU(4, 6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with watch(model) as seen:
        for _ in range(3):
            loss = model(torch.randn(5, 2, 4))[0].square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.data.mul_(2)  # no version counter sees this
        model(torch.randn(5, 2, 4))
        model(torch.randn(5, 2, 4))
    _assert_agrees(seen, *(("0", index) for index in range(5)))
    kept = [call.kept.parameters for call in seen.calls]
    assert kept[3] is kept[4]
    assert kept[0] is not kept[1]


def test_what_was_seen_stays_as_it_was():
    """The model's input, output and state may be written over afterwards."""
    model = nn.LSTM(4, 6)
    x, state = torch.randn(5, 2, 4), (torch.randn(1, 2, 6), torch.randn(1, 2, 6))
    with torch.no_grad(), watch(model) as seen:
        output, final = model(x, state)
        for tensor in (x, *state, output, *final, *model.parameters()):
            tensor.fill_(7)
    _assert_agrees(seen, ("", 0))


def test_what_the_call_received_is_kept_before_it_runs():
    class Overwrites(nn.GRU):
        def forward(self, x: Tensor, hx: Any = None) -> Any:
            given = super().forward(x, hx)
            x.fill_(0)
            return given

    model = Overwrites(4, 6)
    with torch.no_grad(), watch(model) as seen:
        model(torch.randn(5, 2, 4))
    _assert_agrees(seen, ("", 0))


def test_a_hook_that_comes_later_is_seen_too():
    model = nn.GRU(4, 6)
    with watch(model) as seen:
        model.register_forward_hook(_added(1e-3, 3, 1, 2))
        model(torch.randn(5, 2, 4))
    first = seen.worst.verdict.first
    assert (first.step, first.batch, first.unit) == (3, 1, 2)


def test_dropout_between_layers_cannot_be_told_in_train_mode():
    model = nn.LSTM(4, 6, 3, dropout=0.5)
    with watch(model) as seen:
        model(torch.randn(5, 2, 4))
    (one,) = seen.check()
    assert one.answer == seen.verdict == "cannot tell"
    assert "dropout 0.5 was active between its layers (train mode)" in one.reason
    assert one.verdict.spec.num_layers == 3
    assert "layer 0 forward h_n" in one.verdict.observed


def test_dropout_that_is_changed_while_the_module_is_watched():
    model = nn.LSTM(4, 6, 2)
    with watch(model) as seen:
        for model.dropout in (0.0, 0.5, 0.0):
            model(torch.randn(5, 2, 4))
    assert [one.answer for one in seen.check()] == ["agree", "cannot tell", "agree"]


def test_a_wrong_first_layer_below_dropout_differs():
    model = nn.GRU(4, 6, 2, dropout=0.5)
    model.register_forward_hook(lambda _module, _given, output: (output[0], output[1] + 1e-2))
    with watch(model) as seen:
        model(torch.randn(5, 2, 4))
    assert seen.verdict == "differ"
    assert seen.worst.verdict.first.layer == 0


@pytest.mark.parametrize("model", [nn.LSTM(4, 6, 2, dropout=0.5).eval(), nn.LSTM(4, 6, 2).train()])
def test_dropout_that_does_nothing(model: nn.Module):
    with watch(model) as seen:
        model(torch.randn(5, 2, 4))
    _assert_agrees(seen, ("", 0))


@pytest.mark.parametrize("style", ["hook", "parametrization"])
def test_weights_that_are_computed(style: str):
    if style == "hook":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch's own: the older of the two
            model = nn.utils.weight_norm(nn.GRU(4, 6), "weight_hh_l0")
    else:
        model = Stepper(nn.utils.parametrizations.weight_norm(nn.LSTMCell(4, 6), "weight_hh"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    with watch(model) as seen:
        model(torch.randn(5, 2, 4))
    assert seen.verdict == "agree", str(seen)


class Dropped(nn.Module):
    """A parametrization that gives another weight at each look."""

    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.dropout(weight, 0.5, self.training)


MADE_IN_A_CALL = {
    "prune": lambda module, name: prune.l1_unstructured(module, name, 0.4),
    "spectral_norm": nn.utils.spectral_norm,
    "parametrization": nn.utils.parametrizations.spectral_norm,
    "random": lambda module, name: nn.utils.parametrize.register_parametrization(module, name, Dropped()),
}


def _made(style: str, kind: type[nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module: nn.Module = MADE_IN_A_CALL[style](kind(4, 6), "weight_hh_l0")
    return module


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("style", MADE_IN_A_CALL)
def test_weights_that_a_call_makes_are_those_of_the_call(style: str, kind: type[nn.Module]):
    """Nor does a look at them change what the call gives."""
    model, same, x = _made(style, kind, 1), _made(style, kind, 1), torch.randn(20, 2, 4)
    for _ in range(2):
        torch.manual_seed(2)
        with watch(model) as seen:
            output = model(x)[0]
        torch.manual_seed(2)
        assert torch.equal(output, same(x)[0])
        assert seen.verdict == "agree", str(seen)
        output.sum().backward()
    assert all(map(torch.equal, model.buffers(), same.buffers()))
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("style", MADE_IN_A_CALL)
def test_weights_that_were_loaded_since_the_last_call_are_read_as_the_next_one_makes_them(
    style: str, kind: type[nn.Module]
):
    model, x = _made(style, kind, 1), torch.randn(20, 2, 4)
    model.load_state_dict(_made(style, kind, 2).state_dict())
    buffers = [buffer.clone() for buffer in model.buffers()]
    assert rnnspect.check(model, x).agrees
    assert rnnspect.check(model, x, backward=True).agrees
    assert all(map(torch.equal, model.buffers(), buffers))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_call_inside_of_a_transform_cannot_be_told():
    cell, x = nn.GRUCell(5, 6), torch.randn(3, 5)
    every = {name: torch.stack([p.detach()] * 3) for name, p in cell.named_parameters()}
    with watch(cell) as seen:
        torch.vmap(lambda p: torch.func.functional_call(cell, p, (x,)))(every)
    assert seen.verdict == "cannot tell"
    assert "inside of torch.vmap" in str(seen)


def test_an_empty_batch_cannot_be_told():
    model = nn.GRU(5, 6, batch_first=True)
    with watch(model) as seen:
        model(torch.zeros(0, 4, 5))
    assert "it received no numbers: x has the shape (0, 4, 5)" in " ".join(str(seen).split())


def test_an_exception_inside_forward():
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.GRU(4, 6), nn.GRU(5, 6)  # does not fit

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)[0])[0]

    model = Fails()
    with pytest.raises(RuntimeError, match="input"), watch(model) as seen:
        model(torch.randn(5, 2, 4))
    assert _answers(seen) == [("first", 0, "agree")]
    assert seen.never_called == ("second",)
    _assert_no_hooks(model)


def test_a_call_that_failed_is_forgotten():
    model = nn.GRU(4, 6)
    with watch(model) as seen:
        with pytest.raises(RuntimeError):
            model(torch.randn(5, 2, 3))
        model(torch.randn(5, 2, 4))
    _assert_agrees(seen, ("", 0))


def _assert_no_hooks(model: nn.Module) -> None:
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_hooks_go():
    model = Attention()
    with watch(model):
        assert model.encoder._forward_pre_hooks
        model(*_words())
    _assert_no_hooks(model)
    with watch(model) as seen:
        pass
    model(*_words())
    assert not seen.calls
    assert seen.never_called == ("encoder", "decoder")
    assert seen.verdict == "cannot tell"
    assert "encoder: never called" in str(seen)


def test_the_model_runs_as_it_would():
    model, words = Attention(), _words()
    plain = model(*words)
    with watch(model):
        watched = model(*words)
    assert torch.equal(plain, watched)


def test_calls_beyond_the_memory_are_listed():
    model = nn.GRU(4, 6)
    with watch(model, memory=10_000) as seen:
        for _ in range(20):
            model(torch.randn(50, 2, 4))
    answers = [one.answer for one in seen.check()]
    assert len(answers) == 20
    assert answers[0] == "agree"
    assert answers[-1] == "cannot tell"
    assert "memory" in seen.check()[-1].reason
    assert seen.verdict == "cannot tell"


@pytest.mark.parametrize(
    "returned", [lambda y: y[0], lambda y: {"output": y[0]}, lambda y: (y[0][:2], y[1]), lambda y: (y[0], y[1][0])]
)
def test_a_subclass_that_returns_something_else_cannot_be_told(returned: Any):
    class Own(nn.GRU):
        def forward(self, *given: Any) -> Any:
            return returned(super().forward(*given))

    model = Own(4, 6)
    with watch(model) as seen:
        model(torch.randn(5, 2, 4))
    (one,) = seen.check()
    assert one.answer == "cannot tell"
    assert one.reason


def test_a_model_on_the_meta_device_cannot_be_told():
    model = nn.GRU(4, 6, device="meta")
    with watch(model) as seen:
        model(torch.randn(5, 2, 4, device="meta"))
    assert "meta device" in seen.check()[0].reason


def test_a_model_without_recurrent_modules():
    with watch(nn.Linear(2, 2)) as seen:
        pass
    assert str(seen) == "this model has no RNN, LSTM, GRU or cell"


def test_a_module_that_was_not_called_is_one():
    with watch(nn.LSTM(4, 6)) as seen:
        pass
    assert str(seen) == "the model: never called"


@pytest.mark.filterwarnings("ignore")  # torch says that its own quantisation and TorchScript are deprecated
def test_modules_that_are_no_longer_torch_nns_are_named():
    model = nn.Sequential(nn.GRU(4, 4), nn.LSTM(4, 6))
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)
    quantised.append(torch.ao.nn.quantizable.LSTM(4, 6))
    quantised.append(torch.jit.script(nn.Sequential(nn.GRUCell(4, 6))))
    with watch(quantised) as seen:
        pass
    named = {"1": "quantized LSTM", "2": "quantizable LSTM", "3.0": "TorchScript GRUCell"}
    assert (seen.modules, seen.unwatched) == (("0",), named)
    assert "1 (quantized LSTM) is not watched: check what it gave as a recording" in " ".join(str(seen).split())
    alone = torch.jit.script(nn.Sequential(nn.GRUCell(4, 6)))
    with watch(alone) as seen:
        alone(torch.randn(2, 4))
    assert str(seen).startswith("0 (TorchScript GRUCell) is not watched")
    assert "has no RNN" not in str(seen)


class OwnCell(nn.RNNCellBase):
    def __init__(self) -> None:
        super().__init__(3, 4, bias=True, num_chunks=1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(nn.functional.linear(x, self.weight_ih, self.bias_ih) + h @ self.weight_hh.T + self.bias_hh)


class OwnStack(nn.RNNBase):
    def __init__(self) -> None:
        super().__init__("GRU", 3, 4)


class Around(nn.RNNCellBase):
    def __init__(self) -> None:
        super().__init__(3, 4, bias=True, num_chunks=3)
        self.inner = nn.GRUCell(3, 4)


OWN = {
    "cell": (
        OwnCell,
        r"check its step against the cell of torch\.nn with the same weights: rnnspect\.check\(cell, x, ",
    ),
    "stack": (OwnStack, r"check what it gave as a recording of the stack of torch\.nn with the same weights"),
}


@pytest.mark.parametrize("kind", OWN)
def test_modules_of_ones_own_are_named(kind: str):
    make, advice = OWN[kind]
    named = rf"in which 1\.0 \(a {kind} of your own\) is none of torch\.nn; expected a Spec, .*; {advice}"
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(make()))
    with pytest.raises(rnnspect.SpecError, match=named):
        rnnspect.check(model, torch.randn(2, 3))
    with pytest.raises(rnnspect.SpecError, match=rf"\.{make.__name__}, a {kind} of your own; expected .*; {advice}"):
        rnnspect.check(make(), torch.randn(2, 3))
    with watch(nn.Sequential(nn.GRU(3, 3), model)) as seen:
        pass
    assert seen.unwatched == {"1.1.0": f"a {kind} of your own"}


def test_a_cell_of_ones_own_around_one_of_torch_is_seen_by_that():
    with watch(Around()) as seen:
        pass
    assert (seen.modules, seen.unwatched) == (("inner",), {})


def test_a_step_of_ones_own_is_checked_as_its_advice_says():
    own, cell, x = OwnCell(), nn.RNNCell(3, 4), torch.randn(9, 2, 3)
    cell.load_state_dict(own.state_dict())
    assert rnnspect.check(cell, x, engine=lambda x_t, h: own(x_t, h)).verdict == "agree"


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_module_in_a_model_is_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 6))
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)
    named = r"Sequential, in which 1 \(quantized LSTM\) is none of torch\.nn; .* with what it gave, recorded=made\(x\)"
    with pytest.raises(rnnspect.SpecError, match=named):
        rnnspect.check(quantised, torch.randn(2, 4))


class Half(nn.Sequential):
    def forward(self, x: Tensor) -> Any:
        return self[0](x)


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_called_no_other_module_says_so():
    model = Half(torch.jit.script(nn.Sequential(nn.GRUCell(4, 6))), nn.GRU(4, 6))
    with pytest.raises(
        rnnspect.InputError, match=r"0\.0 \(TorchScript GRUCell\) is none of torch\.nn: check what it gave"
    ):
        rnnspect.check(model, torch.randn(2, 4))


def test_calls_can_be_judged_while_it_is_watched():
    model = nn.GRU(4, 6)
    with watch(model) as seen:
        model(torch.randn(5, 2, 4))
        first = seen.check()
        model(torch.randn(5, 2, 4))
        assert seen.check()[0] is first[0]
    _assert_agrees(seen, ("", 0), ("", 1))


def test_a_run_in_eval_mode_puts_the_modes_back():
    model = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 6, 2, dropout=0.5))
    model[0].eval()
    seen = watch_run(model, torch.randn(5, 2, 4))
    _assert_agrees(seen, ("1", 0))
    assert [module.training for module in model.modules()] == [True, False, True]


def test_a_run_that_fails_says_where():
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("lost")

    with pytest.raises(rnnspect.InputError, match=r"test_watch\.py:\d+: running the model failed with KeyError"):
        watch_run(Broken(), torch.zeros(1))


def test_on_every_device(device: str):
    model = nn.Sequential(nn.LSTM(8, 16, 2, bidirectional=True)).to(device)
    with watch(model) as seen:
        model(torch.randn(20, 3, 8, device=device))
    _assert_agrees(seen, ("0", 0))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_on_an_accelerator(kind: str, dtype: torch.dtype):
    if not torch.cuda.is_available():
        pytest.skip("skipped: this machine has no CUDA device")
    module = getattr(nn, kind)(8, 24).cuda()
    model = Stepper(module) if "Cell" in kind else module
    with torch.autocast("cuda", dtype=dtype), watch(model) as seen:
        model(torch.randn(20, 3, 8, device="cuda"))
    _assert_no_fault(seen)


def test_a_setting_that_changes_between_two_calls_is_that_of_each():
    module, x = nn.RNN(3, 2), torch.randn(5, 2, 3)
    with rnnspect.watch(module) as seen:
        module(x)
        module.mode, module.nonlinearity = "RNN_RELU", "relu"
        module(x)
    assert [one.verdict.verdict for one in seen.check()] == ["agree", "agree"]


def test_a_shallow_copy_that_shares_the_hooks_is_held_to_its_own_weights() -> None:
    """As the clones of meta-learning are made, and torch's replicas for several GPUs, which have plain tensors."""
    module, x = nn.GRUCell(3, 4), torch.randn(2, 3)
    other = {name: torch.randn_like(p) for name, p in module.named_parameters()}
    with rnnspect.watch(module) as seen:
        clone = copy.copy(module)
        clone._parameters = {name: nn.Parameter(p) for name, p in other.items()}
        clone(x)
        replica = module._replicate_for_data_parallel()
        for name, p in other.items():
            setattr(replica, name, p)
        replica(x)
        module(x)
    assert [one.answer for one in seen.check()] == ["agree"] * 3


def test_a_call_that_another_thread_makes_as_watching_begins_is_not_disturbed() -> None:
    module, x, failed, stop = nn.GRUCell(3, 4), torch.randn(2, 3), [], threading.Event()

    def serve() -> None:
        while not stop.is_set() and not failed:
            try:
                module(x)
            except Exception as error:  # noqa: BLE001
                failed.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=serve) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(100):
            with rnnspect.watch(module):
                pass
    finally:
        sys.setswitchinterval(before)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed


def test_what_torch_traces_or_exports_has_no_values_and_later_calls_are_judged() -> None:
    module, x = nn.Sequential(nn.LSTM(3, 5)), torch.randn(20, 2, 3)
    with rnnspect.watch(module) as seen, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of LSTM's weights and of a batch size that it keeps
        torch.jit.trace(module, x)
        module(x)
        torch.export.export(module, (x,))
        module(x)
    *_, last = found = seen.check()
    reasons = {str(one.reason) for one in found if one.answer == "cannot tell"}
    assert last.answer == "agree"
    assert reasons == {
        "torch.jit.trace traced it in this call",
        "it was called with fake tensors, which have no values, as torch.export does",
    }


def test_a_hook_before_forward_that_is_registered_within_the_block_is_seen_from_the_next_call_on() -> None:
    module, x = nn.LSTM(3, 5), torch.randn(20, 2, 3)
    with rnnspect.watch(module) as seen, rnnspect.watch(module) as again:
        module.register_forward_pre_hook(lambda _module, args: (2 * args[0],))
        module(x)
        module(x)
        module(x)
    for one in (seen, again):
        first, *others = one.check()
        assert "a hook that was registered since may have changed what it received" in str(first.reason)
        assert [call.answer for call in others] == ["agree", "agree"]


def test_one_call_alone_says_what_else_the_model_has() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.unused = nn.LSTM(3, 4), nn.GRU(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x)[0]

    verdict = rnnspect.check(Model(), torch.randn(20, 2, 3))
    assert verdict.agrees
    assert "unused was never called" in verdict.notes
