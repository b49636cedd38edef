"""What a user's own file sees of the types: `mypy --strict` on one that uses the library."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

USED = """
import numpy as np
import rnnspect
import torch
from rnnspect import RnnspectError, Spec, Trace, Verdict
from torch import nn

gru, x = nn.GRU(3, 4, batch_first=True), torch.randn(2, 20, 3)
found: Trace = rnnspect.trace(gru, x)
forget: torch.Tensor = found.layers[0].quantities["z"]
arrays = found.to_numpy()
total: int = rnnspect.shapes(Spec(cell="lstm")).total
verdict: Verdict = rnnspect.check(gru, x, recorded=np.zeros((2, 20, 4)), explain=1.0)
if not verdict and verdict.first is not None:
    print(verdict.first.step, [cause.fix for cause in verdict.causes])
difference: float | None = rnnspect.derive(gru, x, step=0, unit=1).difference
sums: float = rnnspect.derive(gru, x, gradient="weight_hh_l0[3,1]", loss="last").value
agreed: bool = rnnspect.report(gru, x, path="r.html").verdict.agrees


class Model(nn.Module):
    pass


with rnnspect.watch(Model()) as seen:
    pass
names: list[str] = [one.name for one in seen.check() if one]
either = rnnspect.check(Model(), x)
answer: str = either.verdict


def test_it() -> None:
    try:
        rnnspect.assert_agrees(gru, x, h0=torch.zeros(1, 2, 4))
    except RnnspectError as error:
        print(error.problems)
"""
WRONG = [
    "rnnspect.check(gru, x, explian=3)",
    "rnnspect.check(gru, x, explain='3')",
    "rnnspect.trace(3)",
    "rnnspect.chekc(gru, x)",
    "rnnspect.import_module",
    "verdict.frist",
]


@pytest.mark.slow
def test_a_file_of_a_user_and_what_is_wrong_in_it(tmp_path: Path) -> None:
    """One run of mypy, which reads all of torch: of lines that are right, and of some below them that are wrong."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("skipped: mypy is not installed")
    (tmp_path / "mine.py").write_text("\n".join([USED.rstrip(), "", "", *WRONG, ""]))
    asked = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", "mine.py"]
    ran = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True)
    found = {int(line) for line in re.findall(r"^mine\.py:(\d+): error: ", ran.stdout, flags=re.MULTILINE)}
    first = len(USED.rstrip().splitlines()) + 3
    assert found == {first + at for at in range(len(WRONG))}, ran.stdout
    assert ": error: " not in re.sub(r"^mine\.py:.*$", "", ran.stdout, flags=re.MULTILINE)
