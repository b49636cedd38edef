"""One run of a sweep. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnnspect.network.spec import Spec
from rnnspect.network.split import Split


@dataclass(frozen=True)
class SweepRun:
    """One run: what it runs on, and in which calls. Without `split` it is one call."""

    steps: int
    batch: int = 1
    drawn: bool = False
    """Whether h0 and c0 are drawn; else they are zeros."""
    lengths: tuple[int, ...] | None = None
    split: Split | None = None

    def keys(self, spec: Spec) -> dict[str, Any]:
        """The keys of a spec that make this run, beside those that `spec` has."""
        batch = self.batch if self.batch > 1 or spec.batch else None
        states = {"h0": spec.h0} | ({"c0": spec.c0} if spec.cell_type.has_cell_state else {})
        begun = {name: "randn" if self.drawn else "zeros" if own else None for name, own in states.items()}
        lengths = None if self.lengths is None else list(self.lengths)
        return {"input": f"randn:{self.steps}", "batch": batch, **begun, "lengths": lengths}

    def options(self, spec: Spec) -> list[str]:
        """The same as options of `check`."""
        said = {name: value for name, value in self.keys(spec).items() if value is not None}
        if self.lengths is not None:
            said["lengths"] = ",".join(map(str, self.lengths))
        if self.split is not None:
            said["split"] = self.split
        return [word for name, value in said.items() for word in (f"--{name}", str(value))]

    @property
    def calls(self) -> str:
        """One call, or the steps of the first and of those after it: 64 + 67; 64 + 67 × 1."""
        if self.split is None:
            return "one"
        rest = self.steps - self.split.at
        each = self.split.each
        return f"{self.split.at} + {rest}" if each is None else f"{self.split.at} + {-(-rest // each)} × {each}"

    def __str__(self) -> str:
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        lengths = f" of {', '.join(map(str, self.lengths))} steps" if self.lengths else ""
        state = "a drawn initial state" if self.drawn else "an initial state of zeros"
        calls = "" if self.split is None else f", in calls of {self.calls}"
        return f"{steps}, batch {self.batch}{lengths}, {state}{calls}"
