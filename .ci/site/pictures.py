"""Heat maps as small SVG files: a right run, the same with a mistake, and how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]
WIDTH, ROW, GAP, TOP, LEFT = 150, 15, 26, 24, 8
PAPER, BLUE, RED, DARK = (244, 244, 240), (33, 102, 172), (178, 24, 43), (122, 60, 150)
ROUNDING = 1e-7
"""Differences are drawn on a logarithmic scale, from what float32 rounds away to 1."""


def compared(right: Numbers, wrong: Numbers, title: str) -> str:
    """Three maps of (steps, units) beside each other, a column a step and a row a unit."""
    apart = np.abs(wrong - right)
    maps = [
        ("expected", right, _signed),
        ("with the mistake", wrong, _signed),
        (f"difference, at most {apart.max():.2g}", apart, _apart),
    ]
    height = TOP + ROW * right.shape[1] + 18
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + 3 * (WIDTH + GAP)} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="#808080"><title>{escape(title)}</title>'
    ]
    for n, (name, values, colour) in enumerate(maps):
        left = LEFT + n * (WIDTH + GAP)
        parts.append(f'<text x="{left}" y="14">{escape(name)}</text>')
        parts += _cells(values, left, colour)
        parts.append(f'<text x="{left}" y="{height - 5}">step →  unit ↓</text>')
    return "\n".join([*parts, "</svg>\n"])


def _cells(values: Numbers, left: int, colour: Callable[[float], str]) -> list[str]:
    wide = WIDTH / len(values)
    return [
        f'<rect x="{left + step * wide:.4g}" y="{TOP + unit * ROW}" width="{wide:.4g}" height="{ROW}" '
        f'fill="{colour(float(value))}" stroke="#80808040" stroke-width=".5"/>'
        for (step, unit), value in np.ndenumerate(values)
    ]


def _signed(value: float) -> str:
    """White at 0, red above it, blue below; as dark as it gets at ± 1."""
    return _mixed(RED if value > 0 else BLUE, min(abs(value), 1.0))


def _apart(value: float) -> str:
    share = 1 - math.log10(value) / math.log10(ROUNDING) if value > ROUNDING else 0.0
    return _mixed(DARK, min(share, 1.0))


def _mixed(colour: tuple[int, int, int], share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(PAPER, colour, strict=True))
