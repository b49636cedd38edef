"""`pytest -m campaign -s tests/judging/test_campaign.py`: 10⁵ drawn correct cases, and how near to the bound they came.

RNNSPECT_CASES sets another number.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from tests.judging.cases import draw, found

CASES = int(os.environ.get("RNNSPECT_CASES", "100000"))
EACH = 500
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1)

Line = tuple[str, float, int, int, bool, str]


@pytest.mark.campaign
def test_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = range(-(-CASES // EACH))
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        lines = [line for block in pool.map(_block, blocks) for line in block]
    ratios: dict[str, list[float]] = defaultdict(list)
    for name, ratio, *_ in lines:
        ratios[name].append(ratio)
    with capsys.disabled():
        looked, unjudged, coarse = (sum(bool(line[at]) for line in lines) for at in (2, 3, 4))
        print(f"\n{len(lines)} cases; {looked} needed the second look, {unjudged} left the range of their dtype in")
        print(f"part, {coarse} cannot tell. The worst ratio of a case:")
        print(f"  {'':26}{'cases':>7}{'median':>9}{'90 %':>9}{'99 %':>9}{'99.9 %':>9}{'most':>9}")
        for name, values in sorted(ratios.items()):
            print(f"  {name:26}{len(values):7}", *(f"{q:8.3f}" for q in np.quantile(values, QUANTILES)))
    wrong = [line[5] for line in lines if line[5]]
    assert not wrong, f"{len(wrong)} correct runs were called wrong, first {wrong[0]}"


def _block(seed: int) -> list[Line]:
    """Mostly small cases, every hundredth a large one."""
    torch.set_num_threads(1)
    rng, lines = random.Random(10_000 + seed), []
    for index in range(EACH):
        case = draw(rng, 1024, 5e7) if index % 100 == 0 else draw(rng, 256, 1e6)
        finding = found(case)
        kept = f", kept as {case.recorded}" if case.recorded else ""
        hidden = finding.coarse() * 2 > case.hidden
        ratio = finding.worst.ratio if finding.worst else 0.0
        wrong = repr((case, finding.first)) if finding.first or finding.over else ""
        lines.append((case.name + kept, ratio, finding.cleared, finding.unjudged, hidden, wrong))
    return lines
