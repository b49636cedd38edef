"""candle: candle_nn::rnn LSTM and GRU. The names are those of one layer, without its ending such as _l0."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "candle-nn/src/rnn.rs"

LAYOUT = Layout(
    name="candle",
    title="candle",
    packings=(
        Packing(
            form="lstm",
            where="candle_nn::rnn::LSTM",
            arrays={
                "weight_ih": "W_ii W_if W_ig W_io",
                "weight_hh": "W_hi W_hf W_hg W_ho",
                "bias_ih": "b_ii b_if b_ig b_io",
                "bias_hh": "b_hi b_hf b_hg b_ho",
            },
            orientation="out×in",
            states="LSTMState(h, c)",
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="candle_nn::rnn::GRU",
            arrays={
                "weight_ih": "W_ir W_iz W_in",
                "weight_hh": "W_hr W_hz W_hn",
                "bias_ih": "b_ir b_iz b_in",
                "bias_hh": "b_hr b_hz b_hn",
            },
            orientation="out×in",
            source=_SOURCE,
        ),
    ),
)
