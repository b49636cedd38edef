"""tinygrad: tinygrad.nn.LSTMCell."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

LAYOUT = Layout(
    name="tinygrad",
    title="tinygrad",
    packings=(
        Packing(
            form="lstm",
            where="tinygrad.nn.LSTMCell",
            arrays={
                "weight_ih": "W_ii W_if W_ig W_io",
                "weight_hh": "W_hi W_hf W_hg W_ho",
                "bias_ih": "b_ii b_if b_ig b_io",
                "bias_hh": "b_hi b_hf b_hg b_ho",
            },
            orientation="out×in",
            states="(h, c)",
            source="tinygrad/nn/__init__.py",
        ),
    ),
)
