"""The equations, one cell a file. A file here that defines `CELL` is a cell; nothing else registers it."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnspect.cells.interface import Cell


def _found() -> dict[str, Cell]:
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    cells: list[Cell] = [module.CELL for module in modules if hasattr(module, "CELL")]
    return {cell.name: cell for cell in sorted(cells, key=lambda cell: len(cell.gates))}


CELLS: dict[str, Cell] = _found()
