"""Keras: keras.layers.SimpleRNN, LSTM and GRU."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

LAYOUT = Layout(
    name="keras",
    title="Keras",
    packings=(
        Packing(
            form="rnn",
            where="keras.layers.SimpleRNN",
            arrays={"kernel": "W_ih", "recurrent_kernel": "W_hh", "bias": "b_h"},
            orientation="in×out",
            states="[h]",
            source="keras layers/rnn/simple_rnn.py",
        ),
        Packing(
            form="lstm",
            where="keras.layers.LSTM",
            arrays={
                "kernel": "W_ii W_if W_ig W_io",
                "recurrent_kernel": "W_hi W_hf W_hg W_ho",
                "bias": "b_i b_f b_g b_o",
            },
            orientation="in×out",
            states="[h, c]",
            quirks=(
                "unit_forget_bias starts f's bias at 1 and stores it: nothing is added at run time.",
                "Before 2.3 the gates were hard_sigmoid.",
            ),
            source="keras layers/rnn/lstm.py",
        ),
        Packing(
            form="gru",
            where="keras.layers.GRU, reset_after=True",
            arrays={
                "kernel": "W_iz W_ir W_in",
                "recurrent_kernel": "W_hz W_hr W_hn",
                "bias": "b_iz b_ir b_in ; b_hz b_hr b_hn",
            },
            orientation="in×out",
            states="[h]",
            source="keras layers/rnn/gru.py",
        ),
        Packing(
            form="gru-before",
            where="keras.layers.GRU, reset_after=False",
            arrays={
                "kernel": "W_iz W_ir W_in",
                "recurrent_kernel": "W_hz W_hr W_hn",
                "bias": "b_z b_r b_n",
            },
            orientation="in×out",
            states="[h]",
            source="keras layers/rnn/gru.py",
        ),
    ),
)
