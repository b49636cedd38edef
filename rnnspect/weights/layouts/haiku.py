"""Haiku: haiku.VanillaRNN, LSTM and GRU."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "haiku/_src/recurrent.py"

LAYOUT = Layout(
    name="haiku",
    title="Haiku",
    packings=(
        Packing(
            form="rnn",
            where="haiku.VanillaRNN",
            arrays={
                "linear/w": "W_ih",
                "linear/b": "b_ih",
                "linear_1/w": "W_hh",
                "linear_1/b": "b_hh",
            },
            orientation="in×out",
            bias_always=True,
            quirks=("Its function is relu, not tanh.", "With double_bias=False there is no linear_1/b."),
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="haiku.LSTM",
            arrays={
                "linear/w": "W_ii W_ig W_if W_io ; W_hi W_hg W_hf W_ho",
                "linear/b": "b_i b_g b_f b_o",
            },
            orientation="in×out",
            states="LSTMState(hidden, cell)",
            bias_always=True,
            forget_bias=1.0,
            source=_SOURCE,
        ),
        Packing(
            form="gru-before",
            where="haiku.GRU",
            arrays={
                "w_i": "-W_iz W_ir W_in",
                "w_h": "-W_hz W_hr W_hn",
                "b": "-b_z b_r b_n",
            },
            orientation="in×out",
            bias_always=True,
            quirks=("Its z is 1 − z of the others: σ of the negated sum.",),
            source=_SOURCE,
        ),
    ),
)
