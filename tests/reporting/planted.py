"""Runs of an engine whose parameters are changed, and what a page shows of them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from rnnspect.checking.live.called import prepare_source
from rnnspect.reporting.building import Recordings, ReportOptions, report_prepared
from rnnspect.reporting.data import Report
from rnnspect.tracing.given import GivenInput
from tests.reporting.reading import array_of, cells_of

FEATURES, UNITS, STEPS = 6, 8, 400
ROW, COLUMN = 19, 2  # of weight_hh_l0: gate n of a GRU, unit 3


def one_weight(module: nn.RNNBase) -> None:
    module.weight_hh_l0[ROW, COLUMN] *= 1.01  # type: ignore[index, operator]


def all_smaller(module: nn.RNNBase) -> None:
    for values in module.parameters():
        values *= 0.999


def nothing(_module: nn.RNNBase) -> None:
    """A right engine."""


def run_of(
    change: Callable[[nn.RNNBase], None], kind: type[nn.RNNBase] = nn.GRU, x: Tensor | None = None, **keys: int
) -> tuple[nn.RNNBase, Tensor, Tensor]:
    """Ours, the input (T, I), and what the changed engine gives for it."""
    torch.manual_seed(0)
    ours = kind(FEATURES, UNITS, **keys)
    theirs = copy.deepcopy(ours)
    x = torch.randn(STEPS, FEATURES) if x is None else x
    with torch.no_grad():
        change(theirs)
        return ours, x, theirs(x)[0]


def page_of(ours: nn.RNNBase, x: Tensor, y: Tensor, **asked: object) -> Report:
    prepared = prepare_source(ours, GivenInput(x, None, None, None), None)
    return report_prepared(prepared, ReportOptions(**asked), Recordings(y))  # type: ignore[arg-type]


def shown_of(found: dict[str, dict[str, object]], name: str) -> np.ndarray:
    """Every number of a picture that is exact."""
    assert "values" in found[name]
    return cells_of(found[name])[0]


def errors_of(parameters: dict[str, dict[str, dict[str, object]]], name: str) -> np.ndarray:
    return array_of(parameters["errors"][name])
