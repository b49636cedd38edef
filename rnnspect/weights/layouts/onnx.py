"""ONNX: the operators RNN, LSTM and GRU."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "onnx docs/Operators.md"
_GRU = {
    "W": "W_iz W_ir W_in",
    "R": "W_hz W_hr W_hn",
    "B": "b_iz b_ir b_in b_hz b_hr b_hn",
}

LAYOUT = Layout(
    name="onnx",
    title="ONNX",
    leading_direction=True,
    packings=(
        Packing(
            form="rnn",
            where="onnx RNN",
            arrays={"W": "W_ih", "R": "W_hh", "B": "b_ih b_hh"},
            orientation="out×in",
            states="initial_h; Y is [T, D, N, H]",
            quirks=("clip limits the inputs of activations.",),
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="onnx LSTM",
            arrays={
                "W": "W_ii W_io W_if W_ig",
                "R": "W_hi W_ho W_hf W_hg",
                "B": "b_ii b_io b_if b_ig b_hi b_ho b_hf b_hg",
            },
            orientation="out×in",
            states="initial_h, initial_c; Y is [T, D, N, H]",
            peepholes="P: i o f",
            quirks=("clip limits the inputs of activations.", "input_forget couples the gates: f = 1 − i."),
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="onnx GRU, linear_before_reset=1",
            arrays=_GRU,
            orientation="out×in",
            states="initial_h; Y is [T, D, N, H]",
            quirks=("clip limits the inputs of activations.",),
            source=_SOURCE,
        ),
        Packing(
            form="gru-before",
            where="onnx GRU, linear_before_reset=0",
            arrays=_GRU,
            orientation="out×in",
            states="initial_h; Y is [T, D, N, H]",
            quirks=("This form is what is meant where linear_before_reset is left out.",),
            source=_SOURCE,
        ),
    ),
)
