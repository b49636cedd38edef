"""Pages of `rnnspect report`, made as a reader would make them, to be shown inside the site."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORTS = {
    "live/agrees.html": ("configs/lstm.yaml", "--hidden-size", "16", "--input", "sine:60"),
    "live/differs.html": ("configs/gru.yaml", "--engine", "examples/mine.py:step"),
}
"""The file of each report, and what stands after `rnnspect report`."""


def reports() -> Iterator[tuple[str, str]]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "report.html"
        for name, asked in REPORTS.items():
            argv = [sys.executable, "-m", "rnnspect", "report", *asked, "-o", str(made)]
            result = subprocess.run(
                argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
            )
            if result.returncode:
                raise RuntimeError(f"{' '.join(argv)} ended with {result.returncode}: {result.stderr}")
            yield name, made.read_text()
