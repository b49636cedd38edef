"""The runs that reports are made of, and a name that nobody should obey."""

from __future__ import annotations

import rnnspect
from rnnspect.cells import CELLS
from rnnspect.tracing.prepare import prepare

EVIL = "</script><img src=x onerror=alert(1)>"
SPECS = {
    **{name: {"cell": name} for name in CELLS},
    "layers": {"cell": "gru", "num_layers": 2, "bidirectional": True, "bias": False},
    "packed": {"cell": "lstm", "bidirectional": True, "batch": 3, "lengths": [7, 4, 1]},
    "projected": {"cell": "lstm", "proj_size": 2},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "float64": {"cell": "lstm", "dtype": "float64"},
}


def prepared_of(name, steps=7, **changes):
    spec = {"input_size": 3, "hidden_size": 4, "input": f"randn:{steps}", "h0": "randn"} | SPECS[name] | changes
    return prepare(rnnspect.Spec(**spec))
