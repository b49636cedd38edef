"""Says of recorded gradients that the way back through the steps is right, and the sums of the parameters are not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rnnspect.errors import listed
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.judging.finding import PAST_USE


def sums_note(case: ResultsCase, told: Mapping[str, WithError], errors: Mapping[str, Tensor]) -> str | None:
    """A note where dL/dx was recorded and is right, as those of the initial states are, and every gradient of a
    parameter is wrong; None elsewhere. No other loss, initial state or truncation leaves dL/dx right."""
    given = case.given.named

    def allowed(name: str) -> Tensor:
        return told[name][1] + errors[name]

    others = [name for name in ("x", "h0", "c0") if name in given]
    wrong = {name: bool(((g.double() - told[name][0]).abs() > allowed(name)).any()) for name, g in given.items()}
    of_parameters = case.given.parameters
    if "x" not in others or any(wrong[name] for name in others) or not all(wrong[name] for name in of_parameters):
        return None
    if not any(bool(given[name].any()) for name in of_parameters):  # zeros are said to be zeros
        return None
    if float((allowed("x") > PAST_USE * told["x"][0].abs()).double().mean()) > 0.5:
        return None
    right = listed(f"dL/d{name}" for name in others)
    return (
        f"{right} {'are' if len(others) > 1 else 'is'} right and every parameter's gradient is wrong: the backward "
        "pass through the steps is right; the sums for the parameters lack some steps or batch items, or include "
        "something else, such as the gradients of the batch before (no zero_grad())"
    )
