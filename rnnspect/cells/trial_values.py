"""What a cell's lines are tried on: values that have a size and no numbers."""

from __future__ import annotations

from typing import Any

from rnnspect.cells.functions import CHOSEN, FIXED
from rnnspect.cells.sizes import Units

_INSTEAD = "a.rest(v) is 1 − v, a.lerp(n, h, z) is n + z ⊙ (h − n), and a.constant(…) * v has a number of the cell"

_CONSTANT = 10_000
"""A number of parts below it is one that the lines say, or that follows from such; a size of a network on trial is
larger."""
_NUMBER = 'a number of the cell is a.constant("k"), on the left of a product, with constants=(("k", 0.5),) in its Cell'


class WrongLineError(Exception):
    """What a line does that it must not."""

    def __init__(self, found: str, allowed: str = "", near: str | None = None, advice: str = "") -> None:
        super().__init__(found)
        self.said: dict[str, Any] = {"allowed": allowed, "nearest": near, "advice": advice}


class _NoNumbers:
    """What stands for numbers and has none: what needs some is refused."""

    def _decide(self, *_others: object) -> Any:
        allowed = "the same operations for every number: a.maximum(v, w) is the larger one, a.relu(v) cuts at 0"
        raise WrongLineError("a line branches on a value", allowed)

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = _decide

    def _take_apart(self, *_others: object) -> Any:
        raise WrongLineError("a value is used as numbers", "operations of whole values, such as a.sigmoid(v + w)")

    __getitem__ = __iter__ = __len__ = __float__ = __int__ = __abs__ = __format__ = _take_apart

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what libraries ask everything for
            raise AttributeError(name)
        raise WrongLineError(f"a value has no {name}: it is not a tensor", _as_operation(name))

    @classmethod
    def __torch_function__(cls, function: Any, *_given: object) -> Any:
        raise WrongLineError(f"torch.{function.__name__} of a value", _as_operation(function.__name__))

    def __array_ufunc__(self, function: Any, *_given: object, **_more: object) -> Any:
        raise WrongLineError(f"np.{function.__name__} of a value", _as_operation(function.__name__))


class TrialValue(_NoNumbers):
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
        self.products = 0
        """How many numbers it is multiplied with, unit by unit."""
        self.parts: tuple[TrialValue, ...] = ()
        """Of a cell state that is packed, its blocks."""
        self.sums: list[TrialValue] = []
        """The sums of a pre-activation with something else."""

    def __add__(self, other: object) -> TrialValue:
        return self._with("+", other)

    def __sub__(self, other: object) -> TrialValue:
        return self._with("−", other)

    def _with(self, sign: str, other: object) -> TrialValue:
        """A sum with one pre-activation in it is a pre-activation itself, unless that is what is taken away."""
        made = TrialValue(one_size(sign, self, other))
        gates = [one for one in (self, other) if isinstance(one, TrialValue) and one.gate]
        if len(gates) == 1 and (sign == "+" or gates[0] is self):
            made.gate = gates[0].gate
            gates[0].sums.append(made)
        return made

    @property
    def is_shared(self) -> bool:
        """Whether it, or a sum that it is in, goes into a sum and elsewhere, too."""
        return (self.uses > 1 and bool(self.sums)) or any(one.is_shared for one in self.sums)

    def __mul__(self, other: object) -> TrialValue:
        if isinstance(other, TrialNumber):
            raise WrongLineError("a number is on the right of a product", "it on the left: a.constant(…) * v")
        size = one_size("*", self, other)
        for one in (self, other):
            if isinstance(one, TrialValue):
                one.products += size
        return TrialValue(size)

    def _refuse(self, *_others: object) -> TrialValue:
        allowed = "v + w, v - w or v * w of two values"
        raise WrongLineError("this is no operation between values", allowed, advice=_INSTEAD)

    __radd__ = __rmul__ = __rsub__ = __truediv__ = __rtruediv__ = __neg__ = __pow__ = __matmul__ = _refuse


def _as_operation(name: str) -> str:
    """What to write for a function of a library."""
    if name in ("max", "maximum"):
        return "a.maximum(v, w)"
    return f"a.{name}(v)" if name in (*CHOSEN, *FIXED) else "operations of a, such as a.tanh(v)"


class TrialNumber(_NoNumbers):
    """A number of the cell's own."""

    def __mul__(self, other: object) -> TrialValue:
        return TrialValue(one_size("*", other))

    def _refuse(self, *_others: object) -> TrialValue:
        raise WrongLineError("a number is only multiplied", "a.constant(…) * v")

    __add__ = __radd__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __neg__ = _refuse


class TrialBlocks(_NoNumbers):
    """W v + b of all gates, one block after the other."""

    def __init__(self, gates: tuple[str, ...]) -> None:
        self.gates, self.uses = gates, 0
        """Of W_ih x + b_ih the names of the gates."""

    def _refuse(self, *_others: object) -> TrialValue:
        raise WrongLineError("this value holds the blocks of all gates", "a.split(…) of it, a block for each gate")

    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = __getitem__ = __iter__ = __len__ = _refuse


def one_size(operation: str, *values: object) -> Units:
    """The size that all of these have. Raises `WrongLineError` where one is no value, or has another size."""
    for one in values:
        if isinstance(one, TrialBlocks | TrialNumber):
            one._refuse()
        if not isinstance(one, TrialValue):
            raise WrongLineError(
                f"{operation} of {in_words(one)}", "a value, such as a gate or a state", advice=_NUMBER
            )
        one.uses += 1
    sizes = [one.size for one in values if isinstance(one, TrialValue)]
    if len(set(sizes)) > 1:
        raise WrongLineError(
            f"{operation} of values of {' and '.join(dict.fromkeys(map(str, sizes)))} units", "values of one size"
        )
    return sizes[0]


def equal_parts(operation: str, v: object, size: Units, parts: int) -> int:
    """The size of each of so many parts. Raises `WrongLineError` where that leaves a rest."""
    if size % parts:
        found, allowed = f"{operation} of {in_words(v)} in {int(parts)} equal parts", "a size that is a multiple"
        known = f'constants=(("heads", {int(parts)}),) in its Cell says that hidden_size is a multiple of {int(parts)}'
        raise WrongLineError(found, allowed, advice=known if "hidden_size" in str(size) and parts < _CONSTANT else "")
    return size // parts


def in_words(found: object) -> str:
    if isinstance(found, TrialBlocks):
        return "the blocks of all gates"
    if isinstance(found, int | float):
        return f"the number {found}"
    return f"a value of {found.size} units" if isinstance(found, TrialValue) else f"a {type(found).__name__}"
