"""Burn: burn.nn Lstm and Gru, a Linear for each gate and side."""

from __future__ import annotations

from rnnspect.weights.layouts.interface import Layout, Packing

_GRU = (
    {"reset_gate.input_transform.weight": "W_ir", "reset_gate.input_transform.bias": "b_ir"}
    | {"update_gate.input_transform.weight": "W_iz", "update_gate.input_transform.bias": "b_iz"}
    | {"new_gate.input_transform.weight": "W_in", "new_gate.input_transform.bias": "b_in"}
    | {"reset_gate.hidden_transform.weight": "W_hr", "reset_gate.hidden_transform.bias": "b_hr"}
    | {"update_gate.hidden_transform.weight": "W_hz", "update_gate.hidden_transform.bias": "b_hz"}
    | {"new_gate.hidden_transform.weight": "W_hn", "new_gate.hidden_transform.bias": "b_hn"}
)

LAYOUT = Layout(
    name="burn",
    title="Burn",
    packings=(
        Packing(
            form="lstm",
            where="burn.nn.Lstm",
            arrays=(
                {"input_gate.input_transform.weight": "W_ii", "input_gate.input_transform.bias": "b_ii"}
                | {"forget_gate.input_transform.weight": "W_if", "forget_gate.input_transform.bias": "b_if"}
                | {"cell_gate.input_transform.weight": "W_ig", "cell_gate.input_transform.bias": "b_ig"}
                | {"output_gate.input_transform.weight": "W_io", "output_gate.input_transform.bias": "b_io"}
                | {"input_gate.hidden_transform.weight": "W_hi", "input_gate.hidden_transform.bias": "b_hi"}
                | {"forget_gate.hidden_transform.weight": "W_hf", "forget_gate.hidden_transform.bias": "b_hf"}
                | {"cell_gate.hidden_transform.weight": "W_hg", "cell_gate.hidden_transform.bias": "b_hg"}
                | {"output_gate.hidden_transform.weight": "W_ho", "output_gate.hidden_transform.bias": "b_ho"}
            ),
            orientation="in×out",
            states="LstmState(cell, hidden)",
            quirks=("clip and input_forget are options of its configuration.",),
            source="burn-nn modules/rnn/lstm.rs",
        ),
        Packing(
            form="gru",
            where="burn.nn.Gru, reset_after true",
            arrays=_GRU,
            orientation="in×out",
            source="burn-nn modules/rnn/gru.rs",
        ),
        Packing(
            form="gru-before",
            where="burn.nn.Gru, reset_after false",
            arrays=_GRU,
            orientation="in×out",
            source="burn-nn modules/rnn/gru.rs",
        ),
    ),
)
