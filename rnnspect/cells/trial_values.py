"""What a cell's lines are tried on: values that have a size and no numbers."""

from __future__ import annotations

from typing import Any

from rnnspect.cells.sizes import Units

_ADDED = 1 << 20
_ONE_SUM = "of each gate one sum, W_ih x + b_ih and all that is added to it"
_INSTEAD = "a.rest(v) is 1 − v, a.lerp(n, h, z) is n + z ⊙ (h − n), and a.constant(…) * v has a number of the cell"


class WrongLineError(Exception):
    """What a line does that it must not."""

    def __init__(self, found: str, allowed: str = "", near: str | None = None, advice: str = "") -> None:
        super().__init__(found)
        self.said: dict[str, Any] = {"allowed": allowed, "nearest": near, "advice": advice}


class TrialValue:
    """A vector of which only the size is known."""

    def __init__(self, size: Units, is_state: bool = False, gate: str = "", is_share: bool = False) -> None:
        self.size, self.gate = size, gate
        """The gate whose pre-activation it is, or W_ih x + b_ih on the way to that."""
        self.is_state = is_state
        """Whether it is the cell state of the step before, which nobody has observed."""
        self.is_share = is_share
        """Whether all its numbers are from 0 to 1."""
        self.uses = 0
        """How often it is used, but for the cell state in `carry`."""

    def __add__(self, other: object) -> TrialValue:
        size, parts = one_size("+", self, other), [one for one in (self, other) if isinstance(one, TrialValue)]
        gates = [one for one in parts if one.gate]
        if len(gates) > 1:
            raise WrongLineError(
                f"this adds what goes into {gates[0].gate} to what goes into {gates[1].gate}", _ONE_SUM
            )
        for one in gates:
            if one.uses > 1:
                raise WrongLineError(f"W_ih x of gate {one.gate} is added here and used elsewhere", _ONE_SUM)
            one.uses = _ADDED
        return TrialValue(size, gate=gates[0].gate if gates else "")

    def __mul__(self, other: object) -> TrialValue:
        if isinstance(other, TrialNumber):
            raise WrongLineError("a number is on the right of a product", "it on the left: a.constant(…) * v")
        return TrialValue(one_size("*", self, other))

    def _refuse(self, *_others: object) -> TrialValue:
        raise WrongLineError("this is no operation between values", "v + w or v * w of two values", advice=_INSTEAD)

    __radd__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __neg__ = __pow__ = __matmul__ = _refuse


class TrialNumber:
    """A number of the cell's own."""

    def __mul__(self, other: object) -> TrialValue:
        return TrialValue(one_size("*", other))

    def _refuse(self, *_others: object) -> TrialValue:
        raise WrongLineError("a number is only multiplied", "a.constant(…) * v")

    __add__ = __radd__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __neg__ = _refuse


class TrialBlocks:
    """W v + b of all gates, one block after the other."""

    def __init__(self, gates: tuple[str, ...]) -> None:
        self.gates, self.uses = gates, 0
        """Of W_ih x + b_ih the names of the gates."""

    def _refuse(self, *_others: object) -> TrialValue:
        raise WrongLineError("this value holds the blocks of all gates", "a.split(…) of it, a block for each gate")

    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = _refuse


def one_size(operation: str, *values: object) -> Units:
    """The size that all of these have. Raises `WrongLineError` where one is no value, or has another size."""
    for one in values:
        if isinstance(one, TrialBlocks | TrialNumber):
            one._refuse()
        if not isinstance(one, TrialValue):
            raise WrongLineError(f"{operation} of {in_words(one)}", "a value, such as a gate or a state")
        one.uses += 1
        if one.uses > _ADDED:
            raise WrongLineError(f"W_ih x of gate {one.gate} is added elsewhere and used here", _ONE_SUM)
    sizes = [one.size for one in values if isinstance(one, TrialValue)]
    if len(set(sizes)) > 1:
        raise WrongLineError(
            f"{operation} of values of {' and '.join(dict.fromkeys(map(str, sizes)))} units", "values of one size"
        )
    return sizes[0]


def in_words(found: object) -> str:
    if isinstance(found, TrialBlocks):
        return "the blocks of all gates"
    return f"a value of {found.size} units" if isinstance(found, TrialValue) else f"a {type(found).__name__}"
