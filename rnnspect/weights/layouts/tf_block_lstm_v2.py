"""TensorFlow's operator BlockLSTMV2."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

LAYOUT = Layout(
    name="tf-block-lstm-v2",
    title="TensorFlow BlockLSTMV2",
    packings=(
        Packing(
            form="lstm",
            where="tf.raw_ops.BlockLSTMV2",
            arrays={
                "w": "W_ii W_if W_ig W_io ; W_hi W_hf W_hg W_ho",
                "b": "b_i b_f b_g b_o",
            },
            orientation="in×out",
            states="cs_prev, h_prev",
            bias_always=True,
            peepholes="wci, wcf, wco",
            quirks=(
                "Unlike BlockLSTM it adds nothing to f.",
                "cell_clip limits c.",
            ),
            source="coremltools tensorflow/ops.py",
        ),
    ),
)
