"""Every row, installed or not, against a second copy of what the sources say; and the words about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from rnnspect.network.parameters import LayerParameters
from rnnspect.weights import layouts
from rnnspect.weights.layouts import FORMS
from rnnspect.weights.layouts.packing import pack
from rnnspect.weights.layouts.table import biases, gate_order, kernel, steps_between

if TYPE_CHECKING:
    from rnnspect.weights.layouts import Packing

# Form, gate order, out×in (None: in×out by its shape, out×in by its numbers), kernel, biases: written down from each
# framework's own files, not from the packings.
STATED = {
    ("pytorch", "lstm"): ("i f g o", True, "fused", "two"),
    ("pytorch", "gru"): ("r z n", True, "fused", "two"),
    ("cudnn", "lstm"): ("i f g o", True, "separate", "two"),
    ("cudnn", "gru"): ("r z n", True, "separate", "two"),
    ("miopen", "lstm"): ("i f o g", True, "separate", "two"),
    ("keras", "lstm"): ("i f g o", False, "fused", "one (sum)"),
    ("keras", "gru"): ("z r n", False, "fused", "two rows"),
    ("keras", "gru-before"): ("z r n", False, "fused", "one (sum)"),
    ("keras-cudnn", "lstm"): ("i f g o", None, "fused", "two, joined"),
    ("keras-cudnn", "gru"): ("z r n", None, "fused", "two, joined"),
    ("keras-1", "lstm"): ("i g f o", False, "separate", "one (sum)"),
    ("keras-1", "gru-before"): ("z r n", False, "separate", "one (sum)"),
    ("tf1", "lstm"): ("i g f o", False, "[x; h] stacked", "one (sum)"),
    ("tf1", "gru"): ("r z n", False, "[x; h] stacked, in 3", "one, b_hn separate"),
    ("tf1", "gru-before"): ("r z n", False, "[x; h] stacked, in 2", "one (sum)"),
    ("tf-block-lstm", "lstm"): ("i g f o", False, "[x; h] stacked", "one (sum)"),
    ("tf-block-lstm-v2", "lstm"): ("i f g o", False, "[x; h] stacked", "one (sum)"),
    ("onnx", "lstm"): ("i o f g", True, "fused", "two, joined"),
    ("onnx", "gru"): ("z r n", True, "fused", "two, joined"),
    ("onnx", "gru-before"): ("z r n", True, "fused", "two, joined"),
    ("flax-linen", "lstm"): ("i f g o", False, "separate", "one (sum), hidden side"),
    ("flax-linen", "gru"): ("r z n", False, "separate", "one, b_hn separate"),
    ("flax-nnx", "lstm"): ("i f g o", False, "fused", "one (sum), hidden side"),
    ("flax-nnx", "gru"): ("r z n", False, "fused", "one, without b_hn"),
    ("haiku", "lstm"): ("i g f o", False, "[x; h] stacked", "one (sum)"),
    ("haiku", "gru-before"): ("z r n", False, "fused", "one (sum)"),
    ("equinox", "lstm"): ("i f g o", True, "fused", "one (sum)"),
    ("equinox", "gru"): ("r z n", True, "fused", "one, b_hn separate"),
    ("mlx", "lstm"): ("i f g o", True, "fused", "one (sum)"),
    ("mlx", "gru"): ("r z n", True, "fused", "one, b_hn separate"),
    ("coreml", "lstm"): ("i f o g", True, "fused", "one (sum)"),
    ("coreml", "gru-before"): ("r n z", True, "fused", "one (sum)"),
    ("coreml-layers", "lstm"): ("i f g o", True, "separate", "one (sum)"),
    ("coreml-layers", "gru-before"): ("z r n", True, "separate", "one (sum)"),
    ("tflite", "lstm"): ("i f g o", True, "separate", "one (sum)"),
    ("dynet", "lstm"): ("i f o g", True, "fused", "one (sum)"),
    ("ncnn", "lstm"): ("i f o g", True, "fused", "one (sum)"),
    ("ncnn", "gru"): ("r z n", True, "fused", "one, b_hn separate"),
    ("openvino", "lstm"): ("f i g o", True, "fused", "one (sum)"),
    ("openvino", "gru"): ("z r n", True, "fused", "one, b_hn separate"),
    ("openvino", "gru-before"): ("z r n", True, "fused", "one (sum)"),
    ("burn", "lstm"): ("i f g o", False, "separate", "two"),
    ("burn", "gru"): ("r z n", False, "separate", "two"),
    ("burn", "gru-before"): ("r z n", False, "separate", "two"),
    ("candle", "lstm"): ("i f g o", True, "fused", "two"),
    ("candle", "gru"): ("r z n", True, "fused", "two"),
    ("tinygrad", "lstm"): ("i f g o", True, "fused", "two"),
    ("webnn", "lstm"): ("i o f g", True, "fused", "two"),
    ("webnn", "gru"): ("z r n", True, "fused", "two"),
    ("webnn", "gru-before"): ("z r n", True, "fused", "two"),
}
ADDED_TO_F = {"tf1", "tf-block-lstm", "haiku", "dynet"}


def test_every_gated_row_is_stated():
    there = {(layout.name, form) for layout in layouts.every() for form in layout.cells if form != "rnn"}
    assert there == set(STATED)


@pytest.mark.parametrize(("name", "form"), STATED)
def test_rows_say_what_is_stated(name: str, form: str):
    packing = layouts.find(name).cells[form]
    out_by_in = {"out×in": True, "in×out": False, "reshaped": None}[packing.orientation]
    assert (gate_order(packing), out_by_in, kernel(packing), biases(packing)) == STATED[name, form]
    assert packing.forget_bias == (form == "lstm" and name in ADDED_TO_F)


@pytest.mark.parametrize(("name", "form"), STATED)
def test_each_block_is_where_the_gate_order_says(name: str, form: str):
    """Each gate's rows are filled with a number of their own, and read where a person would look: by position."""
    order, out_by_in, _, _ = STATED[name, form]
    gates, hidden, width = FORMS[form], 2, 3
    numbers = {gate: 1.0 + at for at, gate in enumerate(gates)}
    rows = torch.tensor([numbers[gate] for gate in gates for _ in range(hidden)])
    p = LayerParameters(rows[:, None].repeat(1, width), 10 * rows[:, None].repeat(1, hidden), None, None, None)
    arrays = pack(layouts.find(name), form, p)
    of_x: list[float] = []
    of_h: list[float] = []
    for array in arrays.values():
        if array.ndim == 2 and bool(array.count_nonzero()):
            out_first = array if out_by_in else array.t()
            first = [abs(float(row[0])) for row in out_first[::hidden]]
            (of_h if first[0] >= 10 else of_x).extend(first)
            if array.shape[0 if not out_by_in else 1] == width + hidden:
                of_h.extend(abs(float(row[-1])) for row in out_first[::hidden])
    assert of_x == [numbers[gate] for gate in order.split()]
    assert of_h == [10 * numbers[gate] for gate in order.split()]


def test_the_way_from_one_to_another():
    """In words that are true: the blocks in that order are the other's."""
    onnx, keras, haiku = (layouts.find(name).cells["lstm"] for name in ("onnx", "keras", "haiku"))
    steps = steps_between(onnx, keras)
    assert steps[:2] == [
        "gates: i o f g → i f g o: put the blocks of H rows in the order 0, 2, 3, 1",
        "transpose every weight matrix: out×in → in×out",
    ]
    assert (
        steps[2]
        == "biases: two, joined → one (sum): b_i = b_ii + b_hi, b_f = b_if + b_hf, b_g = b_ig + b_hg, b_o = b_io + b_ho"
    )
    assert "f: subtract 1 from its bias" in steps_between(keras, haiku)
    assert "f: add 1 to its bias" in steps_between(haiku, keras)
    two = layouts.find("pytorch").cells["gru"]
    lost = "b_hn cannot be stored in flax.nnx.GRUCell: lost unless it is zero"
    assert lost in steps_between(two, layouts.find("flax-nnx").cells["gru"])
    assert steps_between(two, layouts.find("candle").cells["gru"]) == [
        "nothing to do: the arrays are the same, with other names"
    ]


@pytest.mark.parametrize("form", ["lstm", "gru", "gru-before"])
def test_the_order_of_blocks_in_words_is_that_of_the_arrays(form: str):
    """Between any two fused layouts the words, done by hand, give what packing gives."""
    fused = [one for one in layouts.every() if form in one.cells and kernel(one.cells[form]) == "fused"]
    rows = len(FORMS[form]) * 2
    p = LayerParameters(torch.randn(rows, 3), torch.randn(rows, 2), None, None, None)
    for one in fused:
        for other in fused:
            first, second = one.cells[form], other.cells[form]
            said = [step for step in steps_between(first, second) if step.startswith("gates:")]
            order = [int(at) for at in said[0].rpartition("order ")[2].split(",")] if said else range(rows // 2)
            for name, wanted in zip(first.weights, second.weights, strict=True):
                blocks = gates(first, pack(one, form, p)[name])
                there = gates(second, pack(other, form, p)[wanted])
                assert torch.equal(torch.cat([blocks[at] for at in order]).abs(), torch.cat(there).abs())


def gates(packing: Packing, kernel: torch.Tensor) -> list[torch.Tensor]:
    """Each gate's part of a kernel with H = 2, as (out, in)."""
    if packing.orientation == "out×in":
        return list(kernel.split(2))
    parts = kernel.split(2, 1)
    return [part.reshape(2, -1) if packing.orientation == "reshaped" else part.t() for part in parts]


def test_the_way_from_and_to_what_is_reshaped():
    pytorch, cudnn, keras = (layouts.find(name).cells["gru"] for name in ("pytorch", "keras-cudnn", "keras"))
    assert "each gate of a weight matrix separately: (H, in) reshaped to (in, H)" in steps_between(pytorch, cudnn)
    assert steps_between(cudnn, keras)[:2] == [
        "each gate of a weight matrix separately: (in, H) reshaped to (H, in)",
        "transpose every weight matrix: out×in → in×out",
    ]
