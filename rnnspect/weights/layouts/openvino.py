"""OpenVINO: RNNSequence, LSTMSequence and GRUSequence, and the cells of the same names."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "openvino operation specifications"

LAYOUT = Layout(
    name="openvino",
    title="OpenVINO",
    leading_direction=True,
    packings=(
        Packing(
            form="rnn",
            where="openvino RNNSequence",
            arrays={
                "W": "W_ih",
                "R": "W_hh",
                "B": "b_h",
            },
            orientation="out×in",
            bias_always=True,
            quirks=(
                "Batch comes first, everywhere.",
                "clip limits the inputs of activations.",
            ),
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="openvino LSTMSequence",
            arrays={
                "W": "W_if W_ii W_ig W_io",
                "R": "W_hf W_hi W_hg W_ho",
                "B": "b_f b_i b_g b_o",
            },
            orientation="out×in",
            states="initial_hidden_state, initial_cell_state",
            bias_always=True,
            quirks=(
                "Batch comes first, everywhere.",
                "clip limits the inputs of activations.",
            ),
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="openvino GRUSequence, linear_before_reset=true",
            arrays={
                "W": "W_iz W_ir W_in",
                "R": "W_hz W_hr W_hn",
                "B": "b_z b_r b_in b_hn",
            },
            orientation="out×in",
            bias_always=True,
            quirks=(
                "Batch comes first, everywhere.",
                "clip limits the inputs of activations.",
            ),
            source=_SOURCE,
        ),
        Packing(
            form="gru-before",
            where="openvino GRUSequence, linear_before_reset=false",
            arrays={
                "W": "W_iz W_ir W_in",
                "R": "W_hz W_hr W_hn",
                "B": "b_z b_r b_n",
            },
            orientation="out×in",
            bias_always=True,
            quirks=(
                "Batch comes first, everywhere.",
                "clip limits the inputs of activations.",
            ),
            source=_SOURCE,
        ),
    ),
)
