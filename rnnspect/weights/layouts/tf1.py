"""TensorFlow 1: tf.nn.rnn_cell.BasicRNNCell, BasicLSTMCell and GRUCell."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "tensorflow rnn_cell_impl.py"

LAYOUT = Layout(
    name="tf1",
    title="TensorFlow 1",
    packings=(
        Packing(
            form="rnn",
            where="tf.nn.rnn_cell.BasicRNNCell",
            arrays={
                "kernel": "W_ih ; W_hh",
                "bias": "b_h",
            },
            orientation="in×out",
            bias_always=True,
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="tf.nn.rnn_cell.BasicLSTMCell",
            arrays={
                "kernel": "W_ii W_ig W_if W_io ; W_hi W_hg W_hf W_ho",
                "bias": "b_i b_g b_f b_o",
            },
            orientation="in×out",
            states="(c, h)",
            bias_always=True,
            forget_bias=1.0,
            quirks=("Its file calls the candidate j.",),
            source=_SOURCE,
        ),
        Packing(
            form="gru-before",
            where="tf.nn.rnn_cell.GRUCell",
            arrays={
                "gates/kernel": "W_ir W_iz ; W_hr W_hz",
                "gates/bias": "b_r b_z",
                "candidate/kernel": "W_in ; W_hn",
                "candidate/bias": "b_n",
            },
            orientation="in×out",
            bias_always=True,
            quirks=("Its file calls the update gate u.",),
            source=_SOURCE,
        ),
    ),
)
