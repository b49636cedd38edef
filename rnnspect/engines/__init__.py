"""Somebody else's implementations, one a file. A file here that defines `ENGINE` is an engine, named as the file is.
`shared/` holds what several of them need, `own/` runs the user's own code.

An engine takes its framework from the extra of its own name: pip install 'rnnspect[keras]'.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from rnnspect.engines.own.loading import names_code
from rnnspect.errors import EngineError, InputError, listed, nearest

if TYPE_CHECKING:
    from rnnspect.engines.interface import Engine


_NO_ENGINES = {"interface", "_onnx_graph"}


def names() -> list[str]:
    """The engines that there are, torch's own first; none of them is imported."""
    files = (info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg)
    found = [name.replace("_", "-") for name in files if name not in _NO_ENGINES]
    return sorted(found, key=lambda name: (not name.startswith("torch"), name))


def find(name: str, where: str | None = None) -> Engine:
    """The engine of that name, imported now; or the one that path/to/mine.py:MyLSTM names, which is run.

    Raises `InputError` for another name, `EngineError` for an engine whose framework is not installed.
    """
    if names_code(name):
        from rnnspect.engines.own.engine import OwnEngine

        return OwnEngine(name)
    known = names()
    if name not in known:
        found = f"no engine is called {name!r}"
        near = nearest(name, known)
        raise InputError(found, allowed=f"{listed(known)}, or path/to/mine.py:MyLSTM", nearest=near, where=where)
    try:
        module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    except ImportError as error:
        if (error.name or "").startswith(__name__.partition(".")[0]):
            raise
        said = f"{error.name} is not installed" if isinstance(error, ModuleNotFoundError) else f"it fails with {error}"
        raise EngineError(f"{name} cannot be loaded: {said}; pip install 'rnnspect[{name}]'", where=where) from error
    engine: Engine = module.ENGINE()
    return engine
