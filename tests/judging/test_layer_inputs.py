"""What a layer received, read by chunks: the same numbers as the whole, and no memory that grows with the steps."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rnnspect.checking.check import check_observation
from rnnspect.errors import ResourceError
from rnnspect.files import on_disk
from rnnspect.files.on_disk import zeros
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.layer_inputs import Errors, SideBySide, beside
from rnnspect.judging.observation import observed_by
from rnnspect.judging.rounding import EXACT, RecordedPrecision
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import prepare


@pytest.mark.parametrize("at", [slice(2, 5), 3, (torch.tensor([[4, 0], [1, 5]]), torch.arange(2))], ids=str)
def test_side_by_side_is_the_whole(at: Any) -> None:
    forward, reverse = torch.randn(6, 2, 3), torch.randn(6, 2, 4).double()
    valid = torch.arange(6).unsqueeze(1) < torch.tensor([6, 3])
    whole = torch.where(valid.unsqueeze(-1), torch.cat([forward.double(), reverse], -1), 0)
    made = SideBySide([forward, reverse], valid)
    assert made.shape == whole.shape
    assert made.dtype == torch.float64
    assert torch.equal(made[at], whole[at])
    assert beside([forward]) is forward


def test_errors_of_what_was_recorded() -> None:
    values = torch.tensor([[[-2.0, 0.5]]])
    assert torch.equal(Errors(values, RecordedPrecision(0.25, 1.0))[0], torch.tensor([[1.5, 1.125]]).double())
    assert torch.equal(Errors(values, EXACT)[0], torch.zeros(1, 2).double())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_many_numbers_are_no_anonymous_memory() -> None:
    def anonymous() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    before = anonymous()
    values = zeros((250_000, 1, 64), torch.float64, "a layer")
    values.fill_(1.5)
    assert float(values.sum()) == 250_000 * 64 * 1.5
    assert anonymous() - before < values.nbytes / 4


def test_a_full_disk_is_told_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(on_disk.os, "posix_fallocate", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        zeros((250_000, 1, 64), torch.float64, "a layer")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [40, 13]])
def test_a_layer_in_a_file_is_judged_as_one_in_memory(
    monkeypatch: pytest.MonkeyPatch, bidirectional: bool, lengths: list[int] | None
) -> None:
    made = prepare(
        Spec(
            cell="gru",
            num_layers=2,
            hidden_size=4,
            input="randn:40",
            batch=2,
            bidirectional=bidirectional,
            lengths=lengths,
        )
    )
    seen = observed_by(made.engine.run(made.spec, made.parameters, made.sequence))
    top = replace(seen, layers={at: h for at, h in seen.layers.items() if at[0] == 1}, h_n=None)

    def check() -> Any:
        return check_observation(Case(made.spec, made.parameters, made.sequence, top, ARITHMETICS["float32"]))

    in_memory = check()
    monkeypatch.setattr(on_disk, "LARGE", 0)
    assert in_memory.agrees
    assert in_memory.estimated
    assert check() == in_memory
