"""WebNN: MLGraphBuilder.lstm and gru."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_SOURCE = "web platform tests, webnn"

LAYOUT = Layout(
    name="webnn",
    title="WebNN",
    leading_direction=True,
    packings=(
        Packing(
            form="lstm",
            where="WebNN lstm",
            arrays={
                "weight": "W_ii W_io W_if W_ig",
                "recurrentWeight": "W_hi W_ho W_hf W_hg",
                "bias": "b_ii b_io b_if b_ig",
                "recurrentBias": "b_hi b_ho b_hf b_hg",
            },
            orientation="out×in",
            states="initialHiddenState, initialCellState",
            peepholes="peepholeWeight: i o f",
            quirks=("The option layout says ifgo where the order is i f g o.",),
            source=_SOURCE,
        ),
        Packing(
            form="gru",
            where="WebNN gru, resetAfter true",
            arrays={
                "weight": "W_iz W_ir W_in",
                "recurrentWeight": "W_hz W_hr W_hn",
                "bias": "b_iz b_ir b_in",
                "recurrentBias": "b_hz b_hr b_hn",
            },
            orientation="out×in",
            states="initialHiddenState",
            quirks=("The option layout says rzn where the order is r z n.",),
            source=_SOURCE,
        ),
        Packing(
            form="gru-before",
            where="WebNN gru, resetAfter false",
            arrays={
                "weight": "W_iz W_ir W_in",
                "recurrentWeight": "W_hz W_hr W_hn",
                "bias": "b_iz b_ir b_in",
                "recurrentBias": "b_hz b_hr b_hn",
            },
            orientation="out×in",
            states="initialHiddenState",
            quirks=("The option layout says rzn where the order is r z n.",),
            source=_SOURCE,
        ),
    ),
)
