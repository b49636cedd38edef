"""What a terminal can show: plain characters where its encoding has no others."""

from __future__ import annotations

_PLAIN = str.maketrans(
    {"─": "-", "━": "-", "·": ".", "×": "x", "…": "...", "−": "-", "–": "-", "▲": "^", "✓": "+", "✗": "x", "⊙": "*"}
    | {"σ": "sigmoid", "Σ": "sum", "α": "alpha", "β": "beta", "≤": "<=", "≥": ">=", "½": "1/2", "²": "^2"}
    | dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))
)


def encodable(text: str, encoding: str | None) -> str:
    """The same text in what the stream can encode: drawn characters become plain ones, others become escapes."""
    name = encoding or "utf-8"
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(name, "backslashreplace").decode(name)
    return text
