"""A pass backwards looked at once more: in what a half type may be meant to keep, and as a whole beside its layers."""

from __future__ import annotations

import torch

from rnnspect.checking.half_types import if_half
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.finding import Progress
from rnnspect.judging.verdict import Verdict
from rnnspect.network.gradients import EngineGradients
from rnnspect.network.tensors import max_abs_difference


def half_types_explain(case: BackwardCase, progress: Progress) -> str | None:
    """Why a pass in a half type may differ though it is right."""

    def judged(case: BackwardCase) -> Verdict:
        return backward_verdict(case, judge_backward(case, progress=lambda steps: progress(None, steps)))

    return if_half(case, judged)


def how_far_apart(whole: EngineGradients, case: BackwardCase) -> str:
    """How far the pass as a whole is from its layers one by one, in words; empty where it is not."""
    shown = {name: g for layer in case.layers for name, g in layer.parameters.items()}
    pairs = [(g, shown[name]) for name, g in whole.parameters.items() if name in shown]
    if whole.x is not None:
        pairs.append((whole.x, case.layers[0].grad_x))
    for name, g in (("h", whole.h0), ("c", whole.c0)):
        rows = [layer.states[name] for layer in case.layers if name in layer.states]
        if g is not None and len(rows) == case.spec.num_layers:
            pairs.append((g, torch.cat(rows)))
    most = max((max_abs_difference(a.cpu(), b) for a, b in pairs), default=0.0)
    said = "the layers were judged one by one; the pass as a whole, which was not, gives gradients up to"
    return f"{said} {most:.1e} apart" if most else ""
