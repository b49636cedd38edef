"""From PyTorch's parameters to every layout and back, bit for bit where the layout can hold them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnspect import InputError, WeightsError
from rnnspect.network.parameters import LayerParameters
from rnnspect.weights import layouts
from rnnspect.weights.layouts import FORMS, Layout
from rnnspect.weights.layouts.packing import Lost, lost, pack, unpack, unpack_gradients
from tests.marks import sampled

ROWS = [(layout.name, form) for layout in layouts.every() for form in layout.cells]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@st.composite
def some_parameters(draw: st.DrawFn, form: str, *, projection: bool = False) -> LayerParameters:
    """Any sizes and dtype; biases none, both, or one of zeros; NaN, infinities and −0 among the numbers."""
    hidden, width = draw(st.integers(2 if projection else 1, 5)), draw(st.integers(1, 5))
    state = draw(st.integers(1, hidden - 1)) if projection else hidden
    drawn = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    dtype, rows = draw(st.sampled_from(DTYPES)), len(FORMS[form]) * hidden
    special = draw(st.sampled_from([None, torch.nan, torch.inf, -0.0]))

    def some(*shape: int) -> torch.Tensor:
        values = torch.randn(*shape, generator=drawn)
        if special is not None:
            values.view(-1)[0] = special
        return values.to(dtype)

    biases = draw(st.sampled_from(["none", "b_ih", "both"]))
    b_ih = None if biases == "none" else some(rows)
    b_hh = None if b_ih is None else torch.zeros_like(b_ih) if biases == "b_ih" else some(rows)
    hr = some(state, hidden) if projection else None
    return LayerParameters(some(rows, width), some(rows, state), b_ih, b_hh, hr)


def same_bits(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    as_bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return one.dtype == other.dtype and torch.equal(one.contiguous().view(as_bits), other.contiguous().view(as_bits))


def zeros(tensor: torch.Tensor | None) -> bool:
    return tensor is None or not bool(tensor.count_nonzero())


@pytest.mark.parametrize(("name", "form"), sampled(ROWS, 2))
@settings(max_examples=12)  # of each of some sixty rows
@given(data=st.data())
def test_there_and_back(name: str, form: str, data: st.DataObject):
    layout = layouts.find(name)
    packing = layout.cells[form]
    held_projection = any(packing.is_projection(array) for array in packing.arrays)
    p = data.draw(some_parameters(form, projection=held_projection and data.draw(st.booleans())))
    back = unpack(layout, form, pack(layout, form, p))
    for weight in ("weight_ih", "weight_hh", "weight_hr"):
        assert same_bits(getattr(back, weight), getattr(p, weight)), weight
    two = all(side for rows in packing.blocks.values() for row in rows for (_, side, _) in map(key, row))
    if two:
        if p.bias_ih is None and packing.bias_always:
            assert zeros(back.bias_ih)
            assert zeros(back.bias_hh)
        else:
            assert same_bits(back.bias_ih, p.bias_ih)
            assert same_bits(back.bias_hh, p.bias_hh)
    elif p.bias_ih is not None and zeros(p.bias_hh) and not packing.forget_bias:
        assert back.bias_ih is not None
        assert torch.equal(back.bias_ih.nan_to_num(7), p.bias_ih.nan_to_num(7))
        assert zeros(back.bias_hh)
    elif p.bias_ih is not None and p.bias_hh is not None:
        assert back.bias_ih is not None
        assert back.bias_hh is not None
        whole = (p.bias_ih + p.bias_hh).nan_to_num(7)
        there = (back.bias_ih + back.bias_hh).nan_to_num(7)
        names = [one.name for one in lost(layout, form, p)]
        rows = slice(None, -p.weight_hh.shape[0] // 3) if names == ["b_hn"] else slice(None)
        # What is taken off b_f rounds, once, to the precision of what is left; unless that, sums are the same sums.
        close = 4 * torch.finfo(whole.dtype).eps * bool(packing.forget_bias) * whole.abs().clamp(1)
        assert bool(((whole - there).abs() <= close)[rows].all())


@pytest.mark.parametrize(("name", "form"), sampled(ROWS, 2))
@settings(max_examples=12)  # of each of some sixty rows
@given(data=st.data())
def test_the_framework_s_own_arrays_there_and_back(name: str, form: str, data: st.DataObject):
    """Whatever the arrays hold: nothing of them is rounded, not even what is added at run time."""
    layout = layouts.find(name)
    shapes = pack(layout, form, data.draw(some_parameters(form)))
    drawn = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    arrays = {key: torch.randn(value.shape, generator=drawn).to(value.dtype) for key, value in shapes.items()}
    again = pack(layout, form, unpack(layout, form, arrays))
    assert list(again) == list(arrays)
    assert all(same_bits(again[key], arrays[key]) for key in arrays)


@pytest.mark.parametrize(("name", "form"), ROWS)
def test_nothing_is_shared(name: str, form: str):
    """Writing into what was packed, or unpacked, changes nothing else."""
    layout = layouts.find(name)
    gates, hidden = len(FORMS[form]), 3
    p = LayerParameters(*(torch.ones(gates * hidden, *more) for more in ((4,), (3,), (), ())), None)
    arrays = pack(layout, form, p)
    kept = {key: value.clone() for key, value in arrays.items()}
    back = unpack(layout, form, arrays)
    for tensor in (back.weight_ih, back.weight_hh, back.bias_ih, back.bias_hh):
        if tensor is not None:
            tensor.zero_()
    assert all(torch.equal(arrays[key], kept[key]) for key in arrays)
    for value in arrays.values():
        assert value.is_contiguous()
        value.zero_()
    assert all(bool((tensor == 1).all()) for tensor in (p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh))  # type: ignore[union-attr]


def test_what_is_lost_is_named_with_its_size():
    p = LayerParameters(torch.ones(6, 1), torch.ones(6, 2), torch.ones(6), torch.full((6,), -0.31), None)
    (only,) = lost(layouts.find("flax-nnx"), "gru", p)
    assert str(only) == "flax.nnx.GRUCell cannot store b_hn (largest value 0.31)"
    assert (only.name, only.where) == ("b_hn", "flax.nnx.GRUCell")
    assert only.largest == pytest.approx(0.31)


def test_zeros_are_not_lost_and_nan_is():
    p = LayerParameters(torch.ones(6, 1), torch.ones(6, 2), torch.ones(6), torch.zeros(6), None)
    assert lost(layouts.find("flax-nnx"), "gru", p) == ()
    p.bias_hh[5] = torch.nan  # type: ignore[index]
    assert [one.name for one in lost(layouts.find("flax-nnx"), "gru", p)] == ["b_hn"]


def test_a_projection_without_a_place_is_lost():
    p = LayerParameters(torch.ones(8, 1), torch.ones(8, 1), None, None, torch.full((1, 2), 0.5))
    assert lost(layouts.find("keras"), "lstm", p) == (Lost("W_hr", 0.5, "keras.layers.LSTM"),)
    assert lost(layouts.find("tflite"), "lstm", p) == ()


def test_a_form_that_there_is_not():
    with pytest.raises(
        InputError,
        match=r"Equinox has no GRU with reset before the matrix product; expected lstm, gru",
    ):
        layouts.find("equinox").packing("gru-before")


def test_a_layout_that_there_is_not():
    with pytest.raises(InputError, match=r"--layout: unknown layout 'kears'.*did you mean 'keras'\?"):
        layouts.find("kears", "--layout")


LSTM = {"kernel": torch.ones(3, 16), "recurrent_kernel": torch.ones(4, 16), "bias": torch.ones(16)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kernel": None}, "keras.layers.LSTM: missing: kernel; expected kernel, recurrent_kernel, bias"),
        ({"kernal": torch.ones(1)}, "unknown array 'kernal'; expected .*did you mean 'kernel'"),
        ({"kernel": torch.ones(3, 15)}, r"kernel has the shape \(3, 15\); expected \(3, 16\) to fit recurrent_kernel"),
        ({"recurrent_kernel": torch.ones(4, 12)}, r"has the shape .*; expected "),
        ({"bias": torch.ones(1, 16)}, r"bias has the shape \(1, 16\); expected one dimension of at least 1"),
        ({"bias": torch.ones(12)}, r"bias has the shape \(12,\); expected \(16,\) to fit recurrent_kernel \(4, 16\)"),
        ({"kernel": torch.ones(0, 16)}, "two dimensions of at least 1"),
    ],
)
def test_arrays_that_do_not_fit(change: dict[str, torch.Tensor | None], said: str):
    arrays = {name: value for name, value in (LSTM | change).items() if value is not None}
    with pytest.raises(WeightsError, match=said):
        unpack(layouts.find("keras"), "lstm", arrays)


def test_every_layout_is_named_as_its_file():
    for name in layouts.names():
        layout = layouts.find(name)
        assert layout.name == name
        for packing in layout.packings:
            check_blocks(layout, packing.form)


def check_blocks(layout: Layout, form: str) -> None:
    """Every weight has one place, and every bias at most one, for the gates that the form has."""
    packing = layout.cells[form]
    every = [key(block) for rows in packing.blocks.values() for row in rows for block in row]
    assert len(set(every)) == len(every)
    weights = {("W", side, gate) for side in "ih" for gate in FORMS[form]}
    projection = {("W", "h", "r")} if form == "lstm" else set()
    assert weights <= {block for block in every if block[0] == "W"} <= weights | projection
    assert all(gate in FORMS[form] for kind, _, gate in every if kind == "b")
    if form == "gru":
        assert ("b", "", "n") not in every
    assert re.search(r"\w", packing.source)
    assert replace(packing).form == form


def key(block: layouts.interface.Block) -> tuple[str, str, str]:
    return block.kind, block.side, block.gate


@pytest.mark.parametrize(("name", "form"), ROWS, ids=str)
def test_a_change_of_a_loss_is_the_same_by_the_gradients_of_both(name: str, form: str) -> None:
    """Σ gradient · change over the arrays, and over the parameters. 1e-12: sums of less than 300 products in float64
    whose factors are below 5."""
    layout, generator = layouts.find(name), torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows, hidden = 4 * len(FORMS[form]), 4
    p = LayerParameters(drawn(rows, 3), drawn(rows, hidden), drawn(rows), drawn(rows), None)
    zeros = p.with_changes(**{name: torch.zeros_like(one) for name, one in p.tensors.items()})
    without = pack(layout, form, zeros)  # what the framework adds to f at run time is no change
    changes = {name: array - without[name] for name, array in pack(layout, form, p).items()}
    gradients = {name: drawn(*array.shape) for name, array in changes.items()}
    found = unpack_gradients(layout, form, gradients)
    if found.bias_hh is None:
        held = {gate for kind, side, gate in layout.packing(form).held if (kind, side) == ("b", "h")}
        assert held < set(FORMS[form])
        return
    ours = sum(float((gradients[name] * changes[name]).sum()) for name in changes)
    theirs = sum(float((one * p[name]).sum()) for name, one in found.tensors.items())
    assert theirs == pytest.approx(ours, abs=1e-12, rel=1e-12)
