"""What is said of functions that have a kink."""

from __future__ import annotations

from typing import Any

import pytest

from rnnspect.network.spec import Spec
from rnnspect.views.kinks import of_network

RELU = "relu' is 0 at 0"


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"cell": "rnn"}, []),
        ({"cell": "rnn", "nonlinearity": "relu"}, [RELU]),
        ({"cell": "lstm"}, []),
        ({"cell": "lstm", "activations": ["sigmoid", "relu", "tanh"]}, [RELU]),
        ({"cell": "lstm", "activations": ["sigmoid", "tanh", "relu"]}, [RELU]),
        ({"cell": "gru", "clip": 3.0}, ["what is clipped has a gradient up to the limit itself"]),
    ],
)
def test_every_function_that_a_network_uses_is_looked_at(network: dict[str, Any], said: list[str]) -> None:
    assert list(of_network(Spec(input_size=2, hidden_size=3, **network))) == said
