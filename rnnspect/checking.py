"""A check: whether what an engine gave is what the equations give, within what its arithmetic allows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rnnspect.declared import ARITHMETICS, Declared, declared_by
from rnnspect.device import plain_defaults
from rnnspect.judging.stack import judge_stack
from rnnspect.judging.words import verdict_of
from rnnspect.observation import Observation, observed_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from rnnspect.judging.finding import Finding
    from rnnspect.preparing import Prepared
    from rnnspect.sequence import Sequence
    from rnnspect.spec import Spec
    from rnnspect.verdict import Verdict

    Progress = Callable[[Finding | None, int], None]


def check_prepared(
    prepared: Prepared, declared: Declared | None = None, progress: Progress = lambda _found, _steps: None
) -> Verdict:
    """Runs the engine and judges everything that it shows, under the arithmetic that it declares."""
    recording = prepared.engine.run(prepared.spec, prepared.parameters, prepared.sequence)
    observation = observed_by(recording)
    held_to = declared or declared_by(recording.engine)
    return check_observation(prepared.spec, prepared.parameters, prepared.sequence, observation, held_to, progress)


def check_observation(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    observation: Observation,
    declared: Declared,
    progress: Progress = lambda _found, _steps: None,
) -> Verdict:
    """Judges every layer that was observed on what it really received; a layer below that nobody observed is
    estimated. What an observation shows is time-major and on the CPU.

    A run in float32 that differs, and that TF32 products would explain, is told so and differs all the same.
    """
    import torch

    cpu = torch.device("cpu")
    here = {name: tensor.detach().to(cpu) for name, tensor in parameters.items()}
    moved = sequence.to(cpu)

    def judged(held_to: Declared) -> Verdict:
        with plain_defaults():
            found = judge_stack(spec, here, moved, observation, held_to, progress)
        return verdict_of(spec, observation, held_to, moved.steps, found)

    verdict = judged(declared)
    if verdict.verdict == "differ" and declared == ARITHMETICS["float32"]:
        for name in ("tf32", "bfloat16-products"):
            if judged(ARITHMETICS[name]).verdict != "differ":
                words = ARITHMETICS[name].name
                reason = f"{words} explain it; if they are meant, say --arithmetic {name}"
                return replace(verdict, reason=reason)
    return verdict
