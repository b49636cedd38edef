"""cuDNN: cudnnRNNForward. The numbers of the arrays are the linLayerID that cudnnGetRNNWeightParams takes."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "keras backend/tensorflow/rnn.py, jax experimental/rnn.py, cuDNN documentation"

LAYOUT = Layout(
    name="cudnn",
    title="cuDNN",
    packings=(
        Packing(
            form="rnn",
            where="cuDNN CUDNN_RNN_TANH",
            arrays=({"matrix_0": "W_ih"} | {"matrix_1": "W_hh"} | {"bias_0": "b_ih"} | {"bias_1": "b_hh"}),
            orientation="out×in",
            quirks=("In the blob all matrices of all layers lie before all biases.",),
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="cuDNN CUDNN_LSTM",
            arrays=(
                {"matrix_0": "W_ii", "matrix_1": "W_if", "matrix_2": "W_ig", "matrix_3": "W_io"}
                | {"matrix_4": "W_hi", "matrix_5": "W_hf", "matrix_6": "W_hg", "matrix_7": "W_ho"}
                | {"bias_0": "b_ii", "bias_1": "b_if", "bias_2": "b_ig", "bias_3": "b_io"}
                | {"bias_4": "b_hi", "bias_5": "b_hf", "bias_6": "b_hg", "bias_7": "b_ho"}
            ),
            orientation="out×in",
            states="h, c",
            quirks=("In the blob all matrices of all layers lie before all biases.",),
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="cuDNN CUDNN_GRU",
            arrays=(
                {"matrix_0": "W_ir", "matrix_1": "W_iz", "matrix_2": "W_in"}
                | {"matrix_3": "W_hr", "matrix_4": "W_hz", "matrix_5": "W_hn"}
                | {"bias_0": "b_ir", "bias_1": "b_iz", "bias_2": "b_in"}
                | {"bias_3": "b_hr", "bias_4": "b_hz", "bias_5": "b_hn"}
            ),
            orientation="out×in",
            quirks=("In the blob all matrices of all layers lie before all biases.",),
            source=_SOURCE,
        ),
    ),
)
