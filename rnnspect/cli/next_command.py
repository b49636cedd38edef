"""The command to type after a check that differs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.cli.describing import Described, Given

if TYPE_CHECKING:
    from rnnspect.judging.verdict import Verdict


def next_command(
    verdict: Verdict, given: Given, described: Described, engine: str | None, recorded: Path | None
) -> str:
    """The command that shows how the first wrong value comes about; empty where it would run on other numbers than the
    check. `engine` is the one that was named."""
    from rnnspect.checking.drawn_input import is_missing

    first = verdict.first
    if first is None or is_missing(described.spec):
        return ""
    typed = given.as_typed(described.spec)
    if recorded is not None:
        return " ".join(("rnnspect report", typed, f"--recorded {shlex.quote(str(recorded))} -o report.html"))
    quantity = first.quantity.removesuffix("_n")  # a final state is the state of the last step
    words = [
        f"--step {first.step} --unit {first.unit}",
        f"--layer {first.layer}" if first.layer else "",
        f"--direction {first.direction}" if first.direction != verdict.spec.directions[0] else "",
        f"--batch-index {first.batch}" if first.batch else "",
        f"--quantity {quantity}" if quantity != "h" else "",
        f"--engine {shlex.quote(engine)}" if engine else "",
    ]
    return " ".join(filter(None, ("rnnspect derive", typed, *words)))
