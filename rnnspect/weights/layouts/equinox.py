"""Equinox: equinox.nn.LSTMCell and GRUCell."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "equinox/nn/_rnn.py"

LAYOUT = Layout(
    name="equinox",
    title="Equinox",
    packings=(
        Packing(
            form="lstm",
            where="equinox.nn.LSTMCell",
            arrays={
                "weight_ih": "W_ii W_if W_ig W_io",
                "weight_hh": "W_hi W_hf W_hg W_ho",
                "bias": "b_i b_f b_g b_o",
            },
            orientation="out×in",
            states="(h, c)",
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="equinox.nn.GRUCell",
            arrays={
                "weight_ih": "W_ir W_iz W_in",
                "weight_hh": "W_hr W_hz W_hn",
                "bias": "b_r b_z b_in",
                "bias_n": "b_hn",
            },
            orientation="out×in",
            source=_SOURCE,
        ),
    ),
)
