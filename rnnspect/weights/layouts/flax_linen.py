"""Flax, its linen modules: SimpleCell, LSTMCell, GRUCell. OptimizedLSTMCell stores what LSTMCell stores."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "flax linen/recurrent.py"

LAYOUT = Layout(
    name="flax-linen",
    title="Flax linen",
    packings=(
        Packing(
            form="rnn",
            where="flax.linen.SimpleCell",
            arrays={"i.kernel": "W_ih", "i.bias": "b_h", "h.kernel": "W_hh"},
            orientation="in×out",
            bias_always=True,
            source=_SOURCE,
        ),
        Packing(
            form="lstm",
            where="flax.linen.LSTMCell",
            arrays=(
                {"ii.kernel": "W_ii", "if.kernel": "W_if", "ig.kernel": "W_ig", "io.kernel": "W_io"}
                | {"hi.kernel": "W_hi", "hf.kernel": "W_hf", "hg.kernel": "W_hg", "ho.kernel": "W_ho"}
                | {"hi.bias": "b_i", "hf.bias": "b_f", "hg.bias": "b_g", "ho.bias": "b_o"}
            ),
            orientation="in×out",
            states="(c, h)",
            bias_always=True,
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="flax.linen.GRUCell",
            arrays=(
                {"ir.kernel": "W_ir", "iz.kernel": "W_iz", "in.kernel": "W_in"}
                | {"hr.kernel": "W_hr", "hz.kernel": "W_hz", "hn.kernel": "W_hn"}
                | {"ir.bias": "b_r", "iz.bias": "b_z", "in.bias": "b_in", "hn.bias": "b_hn"}
            ),
            orientation="in×out",
            bias_always=True,
            source=_SOURCE,
        ),
    ),
)
