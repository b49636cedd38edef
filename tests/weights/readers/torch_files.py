"""Files that torch writes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path


def script(module: torch.nn.Module, path: Path, x: torch.Tensor | None = None) -> None:
    """A TorchScript archive: compiled, or traced with an input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        compiled = torch.jit.script(module) if x is None else torch.jit.trace(module, x)
        compiled.save(str(path))


def script_state(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a TorchScript archive as torch reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(torch.jit.load(str(path)).state_dict())


def export(module: torch.nn.Module, path: Path, x: torch.Tensor, written_out: bool = False) -> None:
    """An archive of torch.export; `written_out`: with the steps of its modules in the graph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes that torch itself registers
        program = torch.export.export(module.eval(), (x,))
        torch.export.save(program.run_decompositions() if written_out else program, path)
