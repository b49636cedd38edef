"""Flax, its nnx modules: SimpleCell, OptimizedLSTMCell, GRUCell."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "flax nnx/nn/recurrent.py"

LAYOUT = Layout(
    name="flax-nnx",
    title="Flax nnx",
    packings=(
        Packing(
            form="rnn",
            where="flax.nnx.SimpleCell",
            arrays={"dense_i.kernel": "W_ih", "dense_i.bias": "b_h", "dense_h.kernel": "W_hh"},
            orientation="in×out",
            bias_always=True,
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="flax.nnx.OptimizedLSTMCell",
            arrays={
                "dense_i.kernel": "W_ii W_if W_ig W_io",
                "dense_h.kernel": "W_hi W_hf W_hg W_ho",
                "dense_h.bias": "b_i b_f b_g b_o",
            },
            orientation="in×out",
            states="(c, h)",
            bias_always=True,
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="flax.nnx.GRUCell",
            arrays={
                "dense_i.kernel": "W_ir W_iz W_in",
                "dense_i.bias": "b_r b_z b_in",
                "dense_h.kernel": "W_hr W_hz W_hn",
            },
            orientation="in×out",
            bias_always=True,
            quirks=("Its documentation writes b_hn; its parameters have none (flax#5594).",),
            source=_SOURCE,
        ),
    ),
)
