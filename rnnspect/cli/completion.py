"""What a shell offers for the value of an option. Everything here is light: no framework is loaded for it.

A value that is a file is completed by the shell itself, where nothing is offered here.
"""

from __future__ import annotations

from typing import Any

ARITHMETICS = (
    "float64",
    "float32",
    "tf32",
    "bfloat16-products",
    "float16-products",
    "float16",
    "bfloat16",
    "float16-sums",
    "bfloat16-sums",
    "bfloat16-wide",
    "float16-wide",
    "any-order",
    "log-scan",
    *(f"{dtype}-{how}" for dtype in ("float64", "bfloat16", "float16") for how in ("any-order", "log-scan")),
)
"""The names that `judging.declared` gives a meaning, with torch."""
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")


def engines() -> list[str]:
    from rnnspect import engines

    return engines.names()


def engines_and_all() -> list[str]:
    return [*engines(), "all"]


def arithmetics() -> list[str]:
    """The names, and the commonest number of steps behind those that take one."""
    return [said for name in ARITHMETICS for said in ([name, f"{name}:64"] if name.endswith("log-scan") else [name])]


def layouts() -> list[str]:
    from rnnspect.weights import layouts

    return layouts.names()


OF_KEYS: dict[str, dict[str, Any]] = {
    "layout": {"metavar": "NAME", "autocompletion": layouts},
    "device": {"metavar": "NAME", "autocompletion": lambda: list(DEVICES)},
    "dtype": {"metavar": "NAME"},
    "weights": {"metavar": "FILE"},
    "input": {"metavar": "SOURCE"},
    "h0": {"metavar": "SOURCE"},
    "c0": {"metavar": "SOURCE"},
    "lengths": {"metavar": "N,N,…"},
    "activations": {"metavar": "LIST"},
}
"""By the name of a key of a spec, what its option says beside the help: what stands for the value, and completion."""
