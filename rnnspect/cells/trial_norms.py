"""The larger of two values, layer norm and RMS norm, in the arithmetic in which a cell's lines are tried."""

from __future__ import annotations

from typing import Any

from rnnspect.cells.interface import Cell
from rnnspect.cells.sizes import Units
from rnnspect.cells.trial_values import TrialNumber, TrialValue, WrongLineError, equal_parts, in_words, one_size


class TrialNorms:
    """What `Trial` has beside operations that are of each unit alone."""

    _cell: Cell
    hidden_size: Units
    normalises = False
    """Whether a value was normalised, so that each of its units is made of all."""

    def constant(self, name: str) -> TrialNumber:
        raise NotImplementedError

    def maximum(self, v: object, w: object) -> TrialValue:
        shares = all(isinstance(one, TrialValue) and one.is_share for one in (v, w))
        return TrialValue(one_size("a.maximum", v, w), is_share=shares)

    def norm(self, v: object, eps: object = None, heads: object = None) -> Any:
        return self._normalised("a.norm", v, eps, heads)

    def rms_norm(self, v: object, eps: object = None, heads: object = None) -> Any:
        return self._normalised("a.rms_norm", v, eps, heads)

    def _normalised(self, name: str, v: object, eps: object, heads: object) -> Any:
        blocks = v if isinstance(v, tuple) else (v,)
        size = one_size(name, *blocks) if blocks else Units(0, "no")
        if heads is not None and isinstance(v, tuple):
            said = f'{name}(v, "eps", {heads}) of each value, or {name} of all of them without heads'
            raise WrongLineError(f"{name} of each head of several values together", said)
        if heads is not None and (type(heads) is not int or heads < 1):
            raise WrongLineError(f"{name} of {heads} heads", "a whole number, of which the units are a multiple")
        if type(heads) is int:
            equal_parts(name, v, size, heads)
        if size != self.hidden_size and (heads is None or not size):
            said = f'a value of hidden_size units, a tuple of such values, or {name}(v, "eps", heads) of each head'
            raise WrongLineError(f"{name} of {in_words(v)}", said)
        if not isinstance(eps, str):
            said = f'the name of a number of the cell: {name}(v, "eps"), with constants=(("eps", 1e-05),)'
            raise WrongLineError(f"{name} without the name of an ε", said)
        self.constant(eps)
        if (number := dict(self._cell.constants)[eps]) < 0:
            raise WrongLineError(f"{name} with {number} for ε", "0 or more")
        self.normalises = True
        made = tuple(TrialValue(size) for _ in blocks)
        return made if isinstance(v, tuple) else made[0]
