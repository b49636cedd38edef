"""What a check answers, and what the answer rests on: frozen data, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rnnspect.errors import listed
from rnnspect.network.shown import Shown, counted, in_brief

if TYPE_CHECKING:
    from rnnspect.judging.recovery import Recovery
    from rnnspect.judging.suspect import Suspect
    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.spec import Spec

Answer = Literal["agree", "differ", "cannot tell"]
EXIT_STATUS: dict[Answer, int] = {"agree": 0, "differ": 1, "cannot tell": 3}


@dataclass(frozen=True)
class Point:
    """One address with both values. `step` is the index in the input; -1 for a final state."""

    quantity: str
    layer: int
    direction: str
    step: int
    batch: int
    unit: int
    manual: float
    engine: float
    bound: float
    ratio: float

    @property
    def at(self) -> tuple[int, str]:
        return self.layer, self.direction

    @property
    def named(self) -> str:
        """What the quantity is called in a sentence: h; dL/dx; dL/d pre-activation of i; dL/dweight_hh_l0[3,1]."""
        if not self.quantity.startswith("grad."):
            return self.quantity
        name = self.quantity.removeprefix("grad.")
        return f"dL/d pre-activation of {name.removesuffix('_pre')}" if name.endswith("_pre") else f"dL/d{name}"

    @property
    def address(self) -> str:
        """h of layer 0 forward, step 3, batch item 1, unit 2. A final state has no step, and item 0 is not named. The
        gradient of a parameter is named by its entry: grad.weight_hh_l0[3,1]."""
        if self.quantity.endswith("]"):
            return self.named
        parts = [f"{self.named} of layer {self.layer} {self.direction}"]
        parts += [f"step {self.step}"] if self.step >= 0 else []
        parts += [f"batch item {self.batch}"] if self.batch else []
        return ", ".join([*parts, f"unit {self.unit}"])


@dataclass(frozen=True)
class GateResolution:
    """The smallest shift of a gate's pre-activation that would have been seen: in the finest unit, in the median
    one, and in the coarsest, which is named. Of gradients the smallest relative error of that of the pre-activation."""

    layer: int
    direction: str
    gate: str
    """grad.weight_ih_l0 where nothing but the results of a pass backwards was seen: then it is the smallest relative
    error of all numbers that a unit has in that result, or a row of a parameter."""
    finest: float
    median: float
    coarsest: float
    coarsest_unit: int
    coarse_units: int
    """Units in which a shift of `Verdict.telling` could have gone unseen."""

    @property
    def is_result(self) -> bool:
        return self.gate.startswith("grad.")


@dataclass(frozen=True)
class Explanation:
    """A known mistake: if the engine made it, the run agrees."""

    name: str
    family: str
    parameters: dict[str, Any]
    explanation: str
    fix: str
    worst_ratio_before: float
    worst_ratio_after: float
    scope: tuple[str, ...]
    """The layers and directions that it explains."""
    left: tuple[str, ...]
    """Those that differ all the same."""
    together: tuple[str, ...] = ()
    """Where two mistakes explain it only if both were made: their names."""


@dataclass(frozen=True)
class Explained:
    """The mistakes that explain a run, the likeliest first for each place, and those that its numbers cannot tell
    apart, as their names ("gate-order + forget-bias-added" for two at once)."""

    causes: tuple[Explanation, ...] = ()
    indistinguishable: tuple[tuple[str, ...], ...] = ()
    note: str | None = None
    fits: bool = False
    """Whether a mistake in layers that were observed would explain the run, which shows too little to be sure of it."""


@dataclass(frozen=True)
class Identity:
    """Two numbers of an engine's own that must be equal, whatever it computes: whether they are, and on what."""

    name: str
    """A fixed id, such as "two evaluations"."""
    holds: bool
    evidence: str
    usual: str | None = None
    """Where it fails: what usually causes that."""


@dataclass(frozen=True)
class Verdict(Shown):
    """`agree`, `differ` or `cannot tell`, with what it rests on. In an `if` or an `assert` only `agree` is true."""

    verdict: Answer
    reason: str | None
    arithmetic: str
    worst: Point | None
    first: Point | None
    pattern: str | None
    resolution: tuple[GateResolution, ...]
    compared: tuple[tuple[str, str], ...]
    """What was judged: where and which quantity, such as ("layer 1 reverse", "h")."""
    estimated: tuple[str, ...]
    """Layers that nobody observed and that were stepped to reach the one above."""
    steps: int
    values: int
    cleared: int
    """Addresses above the bound that some usual order of summation explains."""
    spec: Spec
    engine: EngineInfo
    telling: float
    """The shift of a gate that a check in this arithmetic has to be able to see: 0.01, 0.1 beside reduced products, in
    half types what their own rounding hides (`rnnspect.judging.declared`)."""
    notes: tuple[str, ...] = ()
    causes: tuple[Explanation, ...] = ()
    """Where it differs: the mistakes that explain it, the likeliest first."""
    indistinguishable: tuple[tuple[str, ...], ...] = ()
    """Those of them that these numbers cannot tell apart."""
    suspects: tuple[Suspect, ...] = ()
    """Parameters that differ in the engine, as all values together say."""
    recovered: Recovery | None = None
    """The engine's parameters, where they were recovered from what it gave."""
    identities: tuple[Identity, ...] = ()
    """Those that were looked at. One that fails is reported; the answer rests on the equations alone."""
    items: int = 1
    """How many sequences the batch has."""
    backward: bool = False
    """Whether it is about the gradients."""
    drawn: str = ""
    """The loss that was drawn for them, as `--loss` takes it, such as drawn:h_n,c_n; empty where another was chosen."""
    wrong: int = 0
    """How many of the values are above their bound; final states and gradients are not counted."""
    rounded: bool = False
    """Whether some of what was recorded was rounded more than its dtype is: that counts towards the bounds."""

    def to_numpy(self) -> dict[str, Any]:
        """Structured arrays: `worst` and `first`, each of one `Point` or none, and `resolution`, a row for each gate.

        Their fields are those of `Point` and of `GateResolution`.
        """
        from rnnspect.network.arrays import records

        points = {"worst": self.worst, "first": self.first}
        kept = {name: records(Point, [point] if point else []) for name, point in points.items()}
        return kept | {"resolution": records(GateResolution, self.resolution)}

    @property
    def observed(self) -> tuple[str, ...]:
        """What was judged, such as "layer 1 reverse h"."""
        return tuple(f"{place} {quantity}" for place, quantity in self.compared)

    @property
    def agrees(self) -> bool:
        return self.verdict == "agree"

    def __bool__(self) -> bool:
        return self.agrees

    def __repr__(self) -> str:
        if self.first:
            cause = f"; {self.causes[0].name}" if self.causes else ""
            return in_brief(self, f"{self.verdict}: {self.first.address}{cause}")
        if self.found_by == "evidence":
            named = [one.name for one in self.suspects if one.certain]
            return in_brief(self, f"{self.verdict}: {listed(named)} (by evidence)")
        said = self.reason or f"{self.engine.name}, {self.arithmetic}, {counted(self.steps, 'step')}"
        return in_brief(self, f"{self.verdict}: {said}")

    @property
    def found_by(self) -> Literal["bound", "evidence"] | None:
        """By what a run that differs was found: a value beyond its bound, or all values together. None for others."""
        return None if self.verdict != "differ" else "bound" if self.first else "evidence"

    @property
    def exit_status(self) -> int:
        return EXIT_STATUS[self.verdict]


@dataclass(frozen=True)
class Skipped:
    """One of all engines that was left out: it cannot run such a network, or is not installed."""

    reason: str
