"""What a caller in Python gives beside x alone: a packed sequence, (h0, c0) in one, the single step of a cell; as the
plain x, h0, c0 and lengths that a sequence is made of. Loads torch when there is something to change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rnnspect.errors import SequenceError
from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class GivenInput:
    """x, h0, c0 and lengths as `sequence_of` takes them; None for what was not given."""

    x: Any = None
    h0: Any = None
    c0: Any = None
    lengths: Any = None

    def plain(self, spec: Spec, of_a_cell: bool = False) -> GivenInput:
        """The same without a packed sequence, and without h0 and c0 in one tuple, as torch.nn.LSTM takes them. Of a
        cell, whose x is one step (I,) or (B, I), a sequence of one step.

        Raises `SequenceError` for what says something twice, or fits no cell.
        """
        from torch.nn.utils.rnn import PackedSequence

        found = self._apart(spec)
        if isinstance(found.x, PackedSequence):
            if of_a_cell:
                advice = "pass x (step, batch, feature) and lengths=…"
                raise SequenceError("a cell takes no packed sequence", advice=advice, where="x")
            found = found._padded(spec)
        return found._of_a_cell() if of_a_cell else found

    def _apart(self, spec: Spec) -> GivenInput:
        """h0 and c0 each by itself, where h0 is a tuple of both."""
        if not isinstance(self.h0, tuple) or not all(one is None or _is_state(one) for one in self.h0):
            return self
        if not spec.cell_type.has_cell_state:
            found = f"h0 is a tuple of {len(self.h0)}, and cell {spec.cell} has no cell state"
            raise SequenceError(found, allowed="a tensor or an array", where="h0")
        if len(self.h0) != 2 or self.c0 is not None:
            found = "c0 is given twice" if len(self.h0) == 2 else f"h0 is a tuple of {len(self.h0)}"
            raise SequenceError(found, allowed="h0 = (h0, c0), or h0 and c0 separately", where="h0")
        return replace(self, h0=self.h0[0], c0=self.h0[1])

    def _padded(self, spec: Spec) -> GivenInput:
        from torch.nn.utils.rnn import pad_packed_sequence

        if self.lengths is not None:
            found = "a packed sequence has its own lengths"
            raise SequenceError(found, advice="leave lengths out", where="lengths")
        x, lengths = pad_packed_sequence(self.x, spec.batch_first)
        return replace(self, x=x, lengths=lengths)

    def _of_a_cell(self) -> GivenInput:
        """With an axis of one step, where x and the states come as a cell takes them."""
        if self.x is None or isinstance(self.x, str):
            return self
        from rnnspect.network.tensors import from_anything

        x = from_anything(self.x, "x")
        if x.dim() == 3:  # steps, for a loop over the cell; its states may be those that a cell takes
            return replace(self, x=x, h0=_with_a_row(self.h0, "h0"), c0=_with_a_row(self.c0, "c0"))
        if x.dim() not in (1, 2):
            allowed = "(feature,) or (batch, feature) for one step, or (step, batch, feature)"
            raise SequenceError(f"x has the shape {tuple(x.shape)}", allowed=allowed, where="x")
        return replace(self, x=x[None], h0=_with_a_row(self.h0, "h0"), c0=_with_a_row(self.c0, "c0"))


def _is_state(value: Any) -> bool:
    """A tensor, an array or a source such as randn: no row of numbers."""
    return hasattr(value, "shape") or isinstance(value, str)


def _with_a_row(state: Any, name: str) -> Any:
    """(1, B, H) or (1, H) of a state that has no axis for layers."""
    if state is None or isinstance(state, str):
        return state
    from rnnspect.network.tensors import from_anything

    found = from_anything(state, name)
    return found[None] if found.dim() in (1, 2) else found
