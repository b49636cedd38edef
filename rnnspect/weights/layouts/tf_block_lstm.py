"""TensorFlow's operator BlockLSTM."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

LAYOUT = Layout(
    name="tf-block-lstm",
    title="TensorFlow BlockLSTM",
    packings=(
        Packing(
            form="lstm",
            where="tf.raw_ops.BlockLSTM",
            arrays={
                "w": "W_ii W_ig W_if W_io ; W_hi W_hg W_hf W_ho",
                "b": "b_i b_g b_f b_o",
            },
            orientation="in×out",
            states="cs_prev, h_prev",
            bias_always=True,
            forget_bias=1.0,
            peepholes="wci, wcf, wco",
            quirks=(
                "What is added to f is its attribute forget_bias; 1 is the default.",
                "cell_clip limits c.",
            ),
            source="coremltools tensorflow/ops.py",
        ),
    ),
)
