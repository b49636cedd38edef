"""Core ML: the MIL operators rnn, lstm and gru."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "coremltools iOS15/recurrent.py"

LAYOUT = Layout(
    name="coreml",
    title="Core ML",
    packings=(
        Packing(
            form="lstm",
            where="Core ML MIL lstm",
            arrays={
                "weight_ih": "W_ii W_if W_io W_ig",
                "weight_hh": "W_hi W_hf W_ho W_hg",
                "bias": "b_i b_f b_o b_g",
            },
            orientation="out×in",
            states="initial_h, initial_c",
            quirks=("Its documentation calls the candidate z.",),
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="Core ML MIL gru",
            arrays={
                "weight_ih": "W_ir W_in W_iz",
                "weight_hh": "W_hr W_hn W_hz",
                "bias": "b_r b_in b_z",
            },
            orientation="out×in",
            states="initial_h",
            quirks=("Its documentation calls the candidate o.",),
            source=_SOURCE,
        ),
    ),
)
