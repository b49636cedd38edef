"""The equations, one cell or variant of a cell a file. A file here that defines `CELL` is found by that alone.

A file of your own is written in the same way, with what it imports from here:

    from rnnspect.cells import Arithmetic, Cell, V

`rnnspect init --cell mine.py` writes one to start from. This loads no framework.
"""

from __future__ import annotations

import importlib
import pkgutil

from rnnspect.cells.interface import Arithmetic, Cell, V
from rnnspect.cells.named import CellName

__all__ = ["CELLS", "VARIANTS", "Arithmetic", "Cell", "V", "named"]


def _found() -> list[Cell]:
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    cells: list[Cell] = [module.CELL for module in modules if hasattr(module, "CELL")]
    return sorted(cells, key=lambda cell: len(cell.gates))


_FOUND = _found()
CELLS: dict[str, Cell] = {cell.name: cell for cell in _FOUND if not cell.variant}
"""By name, the cells as torch.nn has them."""
VARIANTS: dict[tuple[str, str], Cell] = {(cell.name, cell.variant): cell for cell in _FOUND if cell.variant}
"""By name and variant, the same with other equations."""


def named(name: str) -> Cell | None:
    """The cell that a spec calls so: a cell of somebody's own, or one of `CELLS`; None where there is none."""
    return name.of if isinstance(name, CellName) else CELLS.get(name)
