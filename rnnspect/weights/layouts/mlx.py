"""MLX: mlx.nn.RNN, LSTM and GRU."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "mlx nn/layers/recurrent.py"

LAYOUT = Layout(
    name="mlx",
    title="MLX",
    packings=(
        Packing(
            form="rnn",
            where="mlx.nn.RNN",
            arrays={
                "Wxh": "W_ih",
                "Whh": "W_hh",
                "bias": "b_h",
            },
            orientation="out×in",
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="mlx.nn.LSTM",
            arrays={
                "Wx": "W_ii W_if W_ig W_io",
                "Wh": "W_hi W_hf W_hg W_ho",
                "bias": "b_i b_f b_g b_o",
            },
            orientation="out×in",
            states="hidden, cell; gives all h, all c",
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="mlx.nn.GRU",
            arrays={
                "Wx": "W_ir W_iz W_in",
                "Wh": "W_hr W_hz W_hn",
                "b": "b_r b_z b_in",
                "bhn": "b_hn",
            },
            orientation="out×in",
            source=_SOURCE,
        ),
    ),
)
