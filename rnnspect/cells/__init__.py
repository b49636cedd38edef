"""The equations, one cell or variant of a cell a file. A file here that defines `CELL` is found by that alone."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnspect.cells.interface import Cell


def _found() -> list[Cell]:
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    cells: list[Cell] = [module.CELL for module in modules if hasattr(module, "CELL")]
    return sorted(cells, key=lambda cell: len(cell.gates))


_FOUND = _found()
CELLS: dict[str, Cell] = {cell.name: cell for cell in _FOUND if not cell.variant}
"""By name, the cells as torch.nn has them."""
VARIANTS: dict[tuple[str, str], Cell] = {(cell.name, cell.variant): cell for cell in _FOUND if cell.variant}
"""By name and variant, the same with other equations."""
