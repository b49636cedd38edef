"""ncnn: the layers RNN, LSTM and GRU, each array as a matrix."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

LAYOUT = Layout(
    name="ncnn",
    title="ncnn",
    leading_direction=True,
    packings=(
        Packing(
            form="rnn",
            where="ncnn RNN",
            arrays={
                "weight_xc": "W_ih",
                "bias_c": "b_h",
                "weight_hc": "W_hh",
            },
            orientation="out×in",
            bias_always=True,
            quirks=(
                "Directions lie one after the other in each array.",
                "Runs one sequence at a time: batch 1.",
            ),
            source="ncnn layer/rnn.cpp",
        ),
        Packing(
            form="lstm",
            where="ncnn LSTM",
            arrays={
                "weight_xc": "W_ii W_if W_io W_ig",
                "bias_c": "b_i b_f b_o b_g",
                "weight_hc": "W_hi W_hf W_ho W_hg",
                "weight_hr": "W_hr",
            },
            orientation="out×in",
            states="hidden, cell",
            bias_always=True,
            quirks=(
                "Directions lie one after the other in each array.",
                "Runs one sequence at a time: batch 1.",
            ),
            source="ncnn layer/lstm.cpp",
        ),
        Packing(
            form="gru",
            where="ncnn GRU",
            arrays={
                "weight_xc": "W_ir W_iz W_in",
                "bias_c": "b_r b_z b_in b_hn",
                "weight_hc": "W_hr W_hz W_hn",
            },
            orientation="out×in",
            bias_always=True,
            quirks=(
                "Directions lie one after the other in each array.",
                "Runs one sequence at a time: batch 1.",
                "Its file calls the update gate u.",
            ),
            source="ncnn layer/gru.cpp",
        ),
    ),
)
