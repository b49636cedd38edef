"""How large a report is, and how long a browser takes from opening it to showing it and answering its slider."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rnnspect
from benchmarks.measure import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
SIZES = {(50, 16, 64, 1): 1.5, (200, 64, 128, 2): 8.0, (500, 16, 512, 1): 8.0, (100_000, 64, 512, 1): 8.0}
"""(steps, inputs, units, layers): at most so many MB."""
USABLE = 3.0
MOVED = "one => { one.value = 1; one.dispatchEvent(new Event('input')); return document.documentElement.offsetHeight; }"


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        rnnspect.report(rnnspect.Spec(), path=Path(folder) / "first.html")  # the first one loads torch
        for (steps, inputs, units, layers), limit in SIZES.items():
            path = Path(folder) / "report.html"
            spec = rnnspect.Spec(cell="lstm", input_size=inputs, hidden_size=units, input=f"randn:{steps}")
            spec = spec.with_changes(num_layers=layers)
            start = time.perf_counter()
            rnnspect.report(spec, path=path)
            deep = f", {layers} layers" if layers > 1 else ""
            what = f"report of LSTM, T = {steps:,}, B = 1, {inputs} → {units}{deep}"
            yield Row(f"{what}, made", "seconds", None, time.perf_counter() - start)
            yield Row(what, "MB", limit, path.stat().st_size / 1e6)
            if CHROMIUM and (taken := _seconds(path)):
                yield Row(f"{what}, usable in Chromium", "seconds", USABLE, taken)


def _seconds(path: Path) -> float | None:
    """From asking for the page until every picture in sight is painted and the slider has moved all; the best of
    three, without the start of the browser. None without playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        taken = min(_loaded(browser, path) for _ in range(3))
        browser.close()
        return taken


def _loaded(browser: Any, path: Path) -> float:
    page = browser.new_page()
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.locator("canvas.map").first.scroll_into_view_if_needed()
    page.locator("figure .strip").first.wait_for()
    page.locator("#step").evaluate(MOVED)
    taken = time.perf_counter() - start
    page.close()
    return taken
