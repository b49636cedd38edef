"""Numbers, vectors and foreign names as text."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from rnnspect.network.quantities import PROJECTIONS
from rnnspect.network.shown import counted as counted

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec

_BLOCKS = "▁▂▃▄▅▆▇█"
LOUD = "bold magenta"
"""The style of what matters most: it can be read on white and on black, which yellow cannot."""


def printable(text: str) -> str:
    """The same text with control and invisible formatting characters written out, so that none is obeyed."""
    if text.isprintable():
        return text
    return "".join(_written_out(char) if is_hidden(char) else char for char in text)


def is_hidden(char: str) -> bool:
    """Whether a character is a control or formatting one (U+2028, U+202E, U+FEFF), half of a pair, or U+FFFE or U+FFFF:
    XML cannot hold them, and a terminal or an editor may do what they say."""
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} or char in "\ufffe\uffff"


def _written_out(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 1 << 8 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def number(value: float, precision: int) -> str:
    """Fixed decimals where they show the value, powers of ten where they would hide it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    if value == 0:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 10.0**-precision:
        return f"{value:.{max(precision - 3, 1)}e}"
    return f"{value:.{precision}f}"


def difference(value: float) -> str:
    """Plain zero, or one digit and its power of ten."""
    return f"{value:.0e}" if value and math.isfinite(value) else number(value, 1)


def styled(value: float, precision: int) -> Text:
    """A number whose colour says its sign and whose weight says its size; the digits say both as well."""
    if not math.isfinite(value):
        return Text(number(value, precision), LOUD)
    hue = "red" if value < 0 else "cyan"
    size = abs(value)
    style = "dim" if size < 0.05 else hue if size < 0.5 else f"bold {hue}"
    return Text(number(value, precision), style)


def sparkline(values: Sequence[float], cells: int) -> str:
    """The magnitude of all values in at most `cells` blocks, each the largest of its run; ▲ above 1, ? for NaN."""
    if not values:
        return ""
    return "".join(map(_block, _runs(values, cells)))


def _runs(values: Sequence[float], cells: int) -> Iterator[Sequence[float]]:
    cells = min(cells, len(values))
    edges = [round(at * len(values) / cells) for at in range(cells + 1)]
    return (values[a:b] for a, b in itertools.pairwise(edges))


def _block(values: Sequence[float]) -> str:
    if any(map(math.isnan, values)):
        return "?"
    size = max(map(abs, values))
    return "▲" if size > 1 else _BLOCKS[min(int(size * len(_BLOCKS)), len(_BLOCKS) - 1)]


def curve(values: Sequence[float], cells: int, top: float | None) -> str:
    """Magnitudes over time in at most `cells` blocks, each the mean of its run, from 0 to `top`, or to the largest of
    them; ? for NaN and infinity."""
    runs = [_mean(run) for run in _runs(values, cells)]
    highest = top or max((mean for mean in runs if math.isfinite(mean)), default=0.0) or 1.0
    return "".join(
        _BLOCKS[min(max(round(mean / highest * len(_BLOCKS)), 1), len(_BLOCKS)) - 1] if math.isfinite(mean) else "?"
        for mean in runs
    )


_DECADES = 3


def log_curve(values: Sequence[float], cells: int) -> str:
    """The same on a logarithmic scale, each block the largest of its run: from the smallest that is not zero, or a
    thousandth of the largest, to the largest; · for zero, ? for NaN and infinity."""
    runs = [max(run) if all(map(math.isfinite, run)) else math.nan for run in _runs(values, cells)]
    logs = [math.log10(value) for value in runs if value > 0]
    if not logs:
        return "".join("·" if value == 0 else "?" for value in runs)
    top, low = max(logs), min(*logs, max(logs) - _DECADES)
    scale = (len(_BLOCKS) - 1) / (top - low)
    return "".join(
        "·" if value == 0 else "?" if math.isnan(value) else _BLOCKS[round((math.log10(value) - low) * scale)]
        for value in runs
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan


def quantity(name: str, spec: Spec) -> str:
    """The name of a quantity in a table: what is called input_projection elsewhere, or input_projection f of one gate,
    as it stands in the equations."""
    name, _, gate = name.partition(" ")
    if name not in PROJECTIONS:
        return name
    if not spec.cell_type.has_projection_of_x:
        return f"x of {gate}" if gate else "x"
    letter, of = ("i", "x") if name == "input_projection" else ("h", "h")
    weight = f"W_{letter}{gate or 'h'}"
    # W_hn is multiplied with (r ⊙ h) in a GRU that resets before the product.
    found = re.search(rf"{weight} (\([^)]*\)|\w+)", " ".join(spec.cell_type.equations))
    product = found[0] if found else f"{weight} {of}"
    return f"{product} + b_{letter}{gate or 'h'}" if spec.bias else product


def what_is_left_out(values: Sequence[float], is_difference: bool, precision: int) -> str:
    """The values that are not shown: themselves where one or two fit, else how many, and between which they lie."""
    if not values:
        return ""
    if len(values) <= 2:
        return "  ".join(difference(one) if is_difference else number(one, precision) for one in values)
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return f"+{len(values)}: all NaN"
    low, high = min(numbers), max(numbers)
    if low == high:
        return f"+{len(values)}: all {number(low, min(precision, 2))}"
    bounds = [difference(v) if is_difference else number(v, min(precision, 2)) for v in (low, high)]
    return f"+{len(values)}: {bounds[0]} to {bounds[1]}"


def shape(sizes: Sequence[int | str]) -> str:
    """A shape as PyTorch shows it."""
    return f"torch.Size([{', '.join(map(str, sizes))}])"


def size(count: int) -> str:
    """A number of bytes: 1,024 bytes (1.0 KiB)."""
    from rnnspect.files import free_memory  # which --help does without

    return f"{count:,} bytes" if count < 1024 else f"{count:,} bytes ({free_memory.in_words(count)})"


def times(ratio: float) -> str:
    """0.03 ×; 147,644 ×; 3.9e+36 ×."""
    return f"{two_digits(ratio)} ×"


def percent_of(ratio: float) -> str:
    """0.46 %; 100 %."""
    return f"{two_digits(100 * ratio)} %"


def two_digits(value: float) -> str:
    """0.03; 147,644; 3.9e+36: two digits, but all of those before the point."""
    if value >= 1e9:
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"
