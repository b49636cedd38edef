"""The options of `check`: what is checked, and how."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rnnspect.cli import completion
from rnnspect.cli.options import ARITHMETIC, LOSS, rarely

_checking = functools.partial(typer.Option, rich_help_panel="What to check")
_LOSS = "With --backward: sum, mean or last of the output, FILE with dL/d output, mse:FILE; default: drawn (random)"


@dataclass(frozen=True)
class CheckOptions:
    """The options that say what is checked, and how."""

    engine: Annotated[
        list[str] | None,
        _checking(
            help="torch (default), keras, mine.py:MyLSTM, model.onnx, … or all",
            metavar="ENGINE",
            autocompletion=completion.engines_and_all,
        ),
    ] = None
    recorded: Annotated[
        list[Path] | None,
        _checking(
            help="Recorded output: .npy, .csv, .pt …, or a .npz of output, h_n, l0.forward.i …; several are a row each"
        ),
    ] = None
    recorded_as: Annotated[
        str | None,
        _checking(metavar="HOW", help="Rounding of --recorded: decimals:4, %.3e, float16, …"),
    ] = None
    backward: Annotated[bool, _checking("--backward", help="Check the gradients too, of every gate and weight")] = False
    loss: Annotated[str | None, _checking(**LOSS | {"help": _LOSS})] = None
    verbose: Annotated[bool, _checking("--verbose", "-v", help="Also show the smallest detectable gate error")] = False
    explain: Annotated[
        float | None,
        _checking(help="How long to search for a known mistake; default 10", min=0, metavar="SECONDS"),
    ] = None
    arithmetic: Annotated[str | None, _checking(**ARITHMETIC)] = None
    probe: Annotated[Path | None, _checking(help="A probe.npz of rnnspect probe, in place of a spec")] = None
    write_probe: Annotated[Path | None, rarely(help="Write a probe.npz if no single mistake explains the run")] = None
    recover: Annotated[Path | None, _checking(help="Write the engine's recovered weights: theirs.npz")] = None
    other_weights: Annotated[
        list[str] | None,
        rarely(metavar="FILE", help="Another checkpoint: which of its layers, gates or rows fit the output"),
    ] = None
    sweep: Annotated[bool, _checking("--sweep", help="Check lengths and splits that break chunks or scans")] = False
    chunk: Annotated[
        str | None,
        rarely(metavar="STEPS", help="With --sweep: steps per chunk; default 64,16"),
    ] = None
    split: Annotated[
        str | None,
        rarely(metavar="STEP", help="Run in two calls, with the state carried: 64; or 64:1, then step by step"),
    ] = None

    @property
    def recovers(self) -> bool:
        """Whether the weights are asked for."""
        return self.recover is not None or bool(self.other_weights)
