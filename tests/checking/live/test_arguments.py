"""A call of a subclass with a `forward` of its own is judged by its x and its state, or it cannot be told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import watch
from rnnspect.checking.live.calls import CallVerdict

pytestmark = pytest.mark.usefixtures("no_causes")

X, H = torch.randn(9, 2, 3), torch.randn(1, 2, 4)


class Renamed(nn.GRU):
    def forward(self, x: Tensor, state: Any = None) -> Any:
        return super().forward(x, state)


class ByKeyword(nn.GRU):
    def forward(self, x: Tensor, *, state: Any = None) -> Any:
        return super().forward(x, state)


class Exchanged(nn.GRU):
    def forward(self, hx: Any, x: Tensor) -> Any:
        return super().forward(x, hx)


class Passing(nn.GRU):
    """Takes no mistake of its own, so that only what it is called with counts."""

    def forward(self, *given: Any, **named: Any) -> Any:
        return super().forward(*given[:2], **{name: named[name] for name in ("input", "hx") if name in named})


class Masked(nn.GRU):
    """The state is third."""

    def forward(self, x: Tensor, mask: Any = None, hx: Any = None, by: float = 1.0) -> Any:
        output, final = super().forward(x, hx)
        return (output if mask is None else output * mask) * by, final


class Lengths(nn.GRU):
    """The second is no state."""

    def forward(self, x: Tensor, lengths: Any = None) -> Any:
        output, final = super().forward(x)
        return output if lengths is None else output[: int(max(lengths))], final


def _verdict(model: nn.Module, *given: Any, **named: Any) -> CallVerdict:
    with watch(model) as seen:
        model(*given, **named)
    (one,) = seen.check()
    return one


TOLD = [
    (nn.GRU, (X,), {}), (nn.GRU, (X, H), {}), (nn.GRU, (X,), {"hx": H}), (nn.GRU, (), {"hx": H, "input": X}),
    (Renamed, (X, H), {}), (Renamed, (X,), {"state": H}), (Renamed, (), {"state": H, "x": X}), (Renamed, (), {"x": X}),
    (ByKeyword, (X,), {"state": H}), (ByKeyword, (X,), {}), (Exchanged, (H, X), {}), (Passing, (X, H), {}),
    (Passing, (X,), {"hx": H}), (Passing, (), {"input": X, "hx": H}), (Passing, (X, H, None), {"mask": None}),
    (Masked, (X, None, H), {}), (Masked, (X,), {"hx": H}), (Masked, (X, None, H, Masked.forward.__defaults__[-1]), {}),
    (Lengths, (X,), {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "named"), TOLD)
def test_x_and_the_state_are_found_under_their_names(kind: type[nn.GRU], given: Any, named: Any):
    one = _verdict(kind(3, 4), *given, **named)
    assert one.answer == "agree", str(one)
    assert one.call.steps == 9


def test_a_wrong_state_under_another_name_differs():
    model = Renamed(3, 4)
    model.register_forward_hook(lambda _module, _given, output: (output[0] + 0.01, output[1]))
    assert _verdict(model, X, state=H).answer == "differ"


UNTOLD = [
    (Masked, (X, torch.ones(9, 2, 4)), {}, "mask=…, which torch.nn's GRU does not take"),
    (Masked, (X,), {"mask": torch.zeros(9, 2, 4), "by": 2.0}, "mask=…, by=…, which torch.nn's GRU does not take"),
    (Passing, (X, H, 3), {}, "argument 3, which torch.nn's GRU does not take"),
    (Passing, (X,), {"state": H}, "state=…, which torch.nn's GRU does not take"),
    (Passing, (), {"x": X, "input": X}, "x=…, which torch.nn's GRU does not take"),
    (Lengths, (X, torch.tensor([5, 4])), {}, "lengths=…, which is no state of torch.nn's GRU"),
    (Lengths, (X,), {"lengths": [5, 4]}, "lengths=…, which is no state of torch.nn's GRU"),
]


@pytest.mark.parametrize(("kind", "given", "named", "reason"), UNTOLD)
def test_a_call_with_more_than_x_and_a_state_cannot_be_told(kind: Any, given: Any, named: Any, reason: str):
    one = _verdict(kind(3, 4), *given, **named)
    assert (one.answer, one.reason) == ("cannot tell", f"it was called with {reason}")
    assert one.call.steps == 0


def test_a_loop_of_a_cell_under_other_names_is_one_run():
    class Cell(nn.GRUCell):
        def forward(self, x: Tensor, h: Any = None) -> Any:
            return super().forward(x, h)

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = Cell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = None
            for row in x:
                h = self.cell(x=row, h=h)
            return h

    model = Loop()
    assert rnnspect.check(model, X).verdict == "agree"
    assert rnnspect.trace(model, X).steps == 9


def test_a_forward_of_the_object_itself_is_read():
    model, own = nn.GRU(3, 4), nn.GRU(3, 4)
    own.load_state_dict(model.state_dict())
    model.forward = lambda x, scale=None, hx=None: own(x, hx)
    assert _verdict(model, X, hx=H).answer == "agree"
    assert "scale=…" in _verdict(model, X, H).reason
