"""How the places of a mistake are named."""

from __future__ import annotations

import pytest

from rnnspect import Spec
from rnnspect.network.places import places_in_words

L0F, L0R, L1F, L1R = "layer 0 forward", "layer 0 reverse", "layer 1 forward", "layer 1 reverse"


@pytest.mark.parametrize(
    ("layers", "both", "places", "said"),
    [
        (1, False, (L0F,), ""),
        (2, True, (), ""),
        (1, True, (L0R,), "in layer 0 reverse"),
        (1, True, (L0F, L0R), "in both directions"),
        (2, False, (L1F,), "in layer 1"),
        (2, False, (L0F, L1F), "in every layer"),
        (2, True, (L0F, L0R), "in layer 0"),
        (2, True, (L0F, L1F, L1R), "in layer 0 forward, layer 1"),
        (2, True, (L1R, L1F, L0R, L0F), "in every layer and direction"),
        (2, True, ("rnn.cell",), "in rnn.cell"),
    ],
)
def test_the_places_of_a_mistake_in_words(layers: int, both: bool, places: tuple[str, ...], said: str) -> None:
    spec = Spec(cell="gru", input_size=2, hidden_size=3, num_layers=layers, bidirectional=both)
    assert places_in_words(spec, places) == said
