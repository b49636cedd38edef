"""What a command takes, beside what was said before: the peak of a fresh process above what it held when torch was
loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.campaign

CASES = [
    "run --cell lstm --input-size 2048 --hidden-size 4096 --input randn:20",
    "run --cell gru --input-size 8 --hidden-size 8 --input randn:500000 --bidirectional",
    "run --cell lstm --input-size 64 --hidden-size 64 --input randn:2000 --batch 1000",
    "run --cell lstm --input-size 64 --hidden-size 64 --input randn:2000 --batch 1000 -o run.npz",
    "run --cell lstm --input-size 64 --hidden-size 64 --input randn:1000 --batch 300 --num-layers 3 --bidirectional",
    "run --cell lstm --input-size 4 --hidden-size 4 --input randn:700000 -f json",
    "check --cell lstm --input-size 64 --hidden-size 64 --input randn:1000 --batch 1000",
    "check --cell lstm --input-size 64 --hidden-size 64 --input randn:1000 --batch 500 --num-layers 3",
    "check --cell gru --input-size 64 --hidden-size 64 --input randn:1000 --batch 300 --bidirectional --dtype float64",
    "check --backward --cell gru --input-size 64 --hidden-size 64 --input randn:400 --batch 300",
    "check --backward --cell lstm --input-size 64 --hidden-size 64 --input randn:500 --batch 300 --bidirectional",
    "trace --cell lstm --input-size 64 --hidden-size 64 --input randn:500 --batch 500",
    "trace --cell lstm --input-size 64 --hidden-size 64 --input randn:200 --batch 300 --num-layers 3 --bidirectional",
    "trace --cell gru --input-size 4 --hidden-size 4 --input randn:120000 -f json",
    "trace --backward --cell lstm --input-size 64 --hidden-size 64 --input randn:300 --batch 300",
    "trace --backward --cell lstm --input-size 64 --hidden-size 64 --input randn:200 --batch 200 --num-layers 3",
    "trace --backward --cell gru --input-size 4 --hidden-size 4 --input randn:50000 -f json",
    "report --cell lstm --input-size 64 --hidden-size 64 --input randn:400 --batch 1000 -o report.html",
    "derive --cell lstm --input-size 64 --hidden-size 64 --input randn:1000 --batch 1000 --step 5 --unit 3",
    "derive --cell lstm --input-size 64 --hidden-size 64 --input randn:300 --batch 300 --gradient weight_hh_l0[3,1]",
    "derive --cell gru --input-size 4 --hidden-size 4 --input randn:50000 --gradient weight_hh_l0[3,1]",
    "derive --cell lstm --input-size 64 --hidden-size 64 --input randn:150 --batch 200 --num-layers 3 --bidirectional "
    "--gradient i[3] --step 5",
    "check model.py:lstm --input randn:1000 --batch 1000 --input-size 64",
    "check model.py:gru --input randn:500 --batch 500 --input-size 64",
]
MODEL = """
from torch import nn

def lstm():
    return nn.LSTM(64, 64, batch_first=True)

def gru():
    return nn.GRU(64, 64, 2, batch_first=True, bidirectional=True)
"""
MEASURED = """
import sys
from rnnspect.network import sequence
from rnnspect.tracing import prepare
import resource

said = [0]

def noting(needed, what, where=None, require=sequence.free_memory.require):
    said[0] = max(said[0], int(needed))
    require(needed, what, where)

sequence.free_memory.require = prepare.require = noting
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from rnnspect.cli import main
status = main(sys.argv[1:])
taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(status, said[0], taken * 1024, file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="skipped: ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize("command", CASES)
def test_what_is_said_is_what_is_taken(command, tmp_path):
    """At least 0.95 of it, as pages are not all of one process, and at most 1.6, above 500 MB."""
    (tmp_path / "model.py").write_text(MODEL)
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED, *command.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    status, said, taken = map(int, ran.stderr.splitlines()[-1].split())
    print(f"{command}: said {said >> 20} MiB, taken {taken >> 20} MiB, {said / taken:.2f}")
    assert status == 0
    assert said >= 0.95 * taken
    assert said <= 1.6 * max(taken, 500e6)
