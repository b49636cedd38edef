"""TensorFlow Lite: UNIDIRECTIONAL_SEQUENCE_LSTM, one tensor a gate."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

LAYOUT = Layout(
    name="tflite",
    title="TensorFlow Lite",
    packings=(
        Packing(
            form="lstm",
            where="TFLite UNIDIRECTIONAL_SEQUENCE_LSTM",
            arrays=(
                {"input_to_input_weights": "W_ii", "input_to_forget_weights": "W_if"}
                | {"input_to_cell_weights": "W_ig", "input_to_output_weights": "W_io"}
                | {"recurrent_to_input_weights": "W_hi", "recurrent_to_forget_weights": "W_hf"}
                | {"recurrent_to_cell_weights": "W_hg", "recurrent_to_output_weights": "W_ho"}
                | {"input_gate_bias": "b_i", "forget_gate_bias": "b_f"}
                | {"cell_gate_bias": "b_g", "output_gate_bias": "b_o"}
                | {"projection_weights": "W_hr"}
            ),
            orientation="out×in",
            states="activation state, cell state",
            bias_always=True,
            peepholes="cell_to_input_weights, cell_to_forget_weights, cell_to_output_weights",
            quirks=(
                "Without the tensors of the input gate the gates are coupled: i = 1 − f.",
                "projection_bias is added to h where it is there.",
                "cell_clip limits c, proj_clip the projected h.",
            ),
            source="tflite unidirectional_sequence_lstm.cc",
        ),
    ),
)
