"""PyTorch: torch.nn.RNN, LSTM and GRU. The names are those of one layer, without its ending such as _l0_reverse."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "torch.nn documentation"

LAYOUT = Layout(
    name="pytorch",
    title="PyTorch",
    packings=(
        Packing(
            form="rnn",
            where="torch.nn.RNN",
            arrays={"weight_ih": "W_ih", "weight_hh": "W_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"},
            orientation="out×in",
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="torch.nn.LSTM",
            arrays={
                "weight_ih": "W_ii W_if W_ig W_io",
                "weight_hh": "W_hi W_hf W_hg W_ho",
                "bias_ih": "b_ii b_if b_ig b_io",
                "bias_hh": "b_hi b_hf b_hg b_ho",
                "weight_hr": "W_hr",
            },
            orientation="out×in",
            states="(h, c)",
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="torch.nn.GRU",
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
