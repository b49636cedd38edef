"""A run that began from another initial state than the one that is given: no known mistake, and yet it is said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect.causes.search.hypotheses import Search

SAID = "is right: the engine may have started from another initial state"


def began_from_elsewhere(kind: type[nn.RNNBase], both: bool = False) -> tuple[nn.RNNBase, Tensor, dict[str, Tensor]]:
    torch.manual_seed(3)
    module = kind(3, 4, bidirectional=both)
    x = torch.randn(9, 2, 3)
    states = [torch.rand(1 + both, 2, 4) for _ in range(2)]
    y, ended = module(x, tuple(states) if kind is nn.LSTM else states[0])
    ended = ended if isinstance(ended, tuple) else (ended,)
    recorded = dict(zip(("output", "h_n", "c_n"), (y, *ended), strict=False))
    return module, x, {name: value.detach() for name, value in recorded.items()}


def said_of(module: nn.RNNBase, x: Tensor, recorded: dict[str, Tensor]) -> str:
    return " ".join(str(rnnspect.check(module, x, recorded=recorded)).split())


@pytest.mark.parametrize("both", [False, True], ids=["one direction", "both"])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_run_that_began_from_another_state_is_said_to_be_right_after_that(kind: type[nn.RNNBase], both: bool) -> None:
    module, x, recorded = began_from_elsewhere(kind, both)
    found = rnnspect.check(module, x, recorded=recorded)
    steps, states = ("two steps", "h0 and c0") if kind is nn.LSTM else ("step", "h0")
    assert found.verdict == "differ"
    assert not found.causes
    assert "; no other known mistake explains this run; tried" in " ".join(found.notes)
    assert f"every h after the first {steps} {SAID} (then pass {states})" in " ".join(str(found).split())


@pytest.fixture
def nothing_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that tries no mistake, and says of a run what it would if none explained it."""
    monkeypatch.setattr(Search, "_survivors", lambda _self, _at: [])


@pytest.mark.usefixtures("nothing_tried")
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_it_is_not_said_where_a_later_value_or_final_state_is_wrong_too(kind: type[nn.RNNBase]) -> None:
    module, x, recorded = began_from_elsewhere(kind)
    assert SAID in said_of(module, x, recorded)
    for name, at in (("output", (6, 1, 2)), ("h_n", (0, 1, 2))):
        value = recorded[name].clone()
        value[at] += 1e-3
        assert SAID not in said_of(module, x, {**recorded, name: value}), name


@pytest.mark.usefixtures("nothing_tried")
def test_it_is_not_said_of_other_weights() -> None:
    module, x, recorded = began_from_elsewhere(nn.LSTM)
    with torch.no_grad():
        module.weight_ih_l0[3, 2] += 0.25
    assert SAID not in said_of(module, x, recorded)


@pytest.mark.usefixtures("nothing_tried")
@pytest.mark.parametrize(
    ("kind", "both", "moved", "which"),
    [
        (nn.RNN, False, [0], "layer 0"),
        (nn.GRU, False, [1], "layer 1"),
        (nn.GRU, True, [1], "layer 0 reverse"),
        (nn.LSTM, False, [0], "layer 0"),
        (nn.LSTM, True, [0, 1], "layer 0"),
    ],
)
def test_it_is_said_which_layers_of_a_stack_began_so(
    kind: type[nn.RNNBase], both: bool, moved: list[int], which: str
) -> None:
    """Where all others are right from their beginning."""
    torch.manual_seed(3)
    width, recorded = 1 + both, {}
    module = kind(3, 4, num_layers=2, bidirectional=both)
    x = given = torch.randn(9, 2, 3)
    for layer in range(2):
        one = kind(given.shape[2], 4, bidirectional=both)
        one.load_state_dict({name: getattr(module, name.replace("_l0", f"_l{layer}")) for name in one.state_dict()})
        states = [torch.zeros(width, 2, 4) for _ in range(2)]
        for row in moved:
            if row // width == layer:
                states = [state.index_fill(0, torch.tensor(row % width), 0.5) for state in states]
        given = one(given, tuple(states) if kind is nn.LSTM else states[0])[0].detach()
        for way, h in zip(("forward", "reverse"), given.split(4, 2), strict=False):
            recorded[f"l{layer}.{way}.h"] = h.clone()
    said = said_of(module, x, recorded)
    assert f"the engine may have started {which} from another initial state" in said
