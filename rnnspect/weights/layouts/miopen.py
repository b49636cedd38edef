"""MIOpen, the counterpart of cuDNN on AMD, its arrays numbered as those are. No order of its GRU was found stated."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

LAYOUT = Layout(
    name="miopen",
    title="MIOpen",
    packings=(
        Packing(
            form="lstm",
            where="MIOpen miopenLSTM",
            arrays=(
                {"matrix_0": "W_ii", "matrix_1": "W_if", "matrix_2": "W_io", "matrix_3": "W_ig"}
                | {"matrix_4": "W_hi", "matrix_5": "W_hf", "matrix_6": "W_ho", "matrix_7": "W_hg"}
                | {"bias_0": "b_ii", "bias_1": "b_if", "bias_2": "b_io", "bias_3": "b_ig"}
                | {"bias_4": "b_hi", "bias_5": "b_hf", "bias_6": "b_ho", "bias_7": "b_hg"}
            ),
            orientation="out×in",
            states="h, c",
            quirks=("All matrices of all layers lie before all biases.",),
            source="keras backend/tensorflow/rnn.py, MIOpen#716",
        ),
    ),
)
