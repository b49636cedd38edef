"""The engines: implementations by other people that are compared with the equations, one per file. A file here that
defines `ENGINE` is an engine, named after the file. `CONVERTED`, where defined, runs a converted file.

`shared/` holds what several of them need, `own/` runs the user's own code. An engine takes its framework from the
extra of its own name: pip install 'rnnspect[keras]'.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.engines.own.loading import names_code, needed_by, their_errors
from rnnspect.errors import EngineError, InputError, listed, nearest, unavailable
from rnnspect.files import installed
from rnnspect.files.sources import parse_file

if TYPE_CHECKING:
    from rnnspect.engines.interface import Engine
    from rnnspect.network.spec import Spec


def names() -> list[str]:
    """The engines that there are, torch's own first; none of them is imported."""
    files = (info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg)
    found = [name.replace("_", "-") for name in files if name != "interface"]
    return sorted(found, key=lambda name: (not name.startswith("torch"), name))


def every() -> list[str]:
    """The engines that there are, and those that installed packages add."""
    return [*names(), *(name for name in installed.names(installed.ENGINES) if name not in names())]


def find(name: object, where: str | None = None) -> Engine:
    """The engine of that name, imported now; the user's own function or class, itself or as path/to/mine.py:MyLSTM
    names it, which is run; or the nodes of an .onnx file.

    Raises `InputError` for another name, `EngineError` for an engine whose framework is not installed, `FileError` for
    a file that cannot be read.
    """
    if callable(name) or (isinstance(name, str) and names_code(name)):
        from rnnspect.engines.own.engine import OwnEngine

        return OwnEngine(name)
    if not isinstance(name, str):
        allowed = "a name such as torch-cell, or a function or class"
        raise InputError(f"the engine is a {type(name).__name__}", allowed=allowed, where=where)
    if parse_file(name).path.suffix.lower() == ".onnx":
        from rnnspect.engines.own.onnx_file import OnnxFileEngine

        return OnnxFileEngine(name)
    known = names()
    if (file := name.removesuffix(":")).endswith(".py") and name not in known:
        found, advice = f"{name!r} names no function or class", f"name one after a colon: --engine {file}:step"
        raise InputError(found, allowed="path/to/mine.py:NAME", advice=advice, where=where)
    if name not in known:
        return _of_package(name, where)
    try:
        engine: Engine = _module(name).ENGINE()
    except ImportError as error:
        said = f"cannot load {name}: {unavailable(error)}; run pip install 'rnnspect[{name}]'"
        raise EngineError(said, where=where) from error
    return engine


def _of_package(name: str, where: str | None) -> Engine:
    """The engine that an installed package has under that name: its entry point is called as `ENGINE` of a file here
    is. Raises `InputError` where there is none, and for a package that fails."""
    make = installed.load(installed.ENGINES, name, where)
    if make is None:
        known = every()
        allowed = f"{listed(known)}, path/to/mine.py:MyLSTM or model.onnx"
        raise InputError(f"unknown engine {name!r}", allowed=allowed, nearest=nearest(name, known), where=where)
    said = f"the engine {name} of an installed package"
    wanted = "an object with a name and run(spec, parameters, sequence)"
    allowed = f"a class, or a function without arguments, that gives {wanted}"
    if not callable(make):
        raise InputError(f"{said} is a {type(make).__name__}", allowed=allowed, where=where)
    if missing := needed_by(make):
        advice = "a step, or a function of a sequence, is named by its file: --engine path/to/mine.py:step"
        raise InputError(f"{said} needs the arguments {listed(missing)}", allowed=allowed, advice=advice, where=where)
    with their_errors(said):
        engine: Engine = make()
    if not hasattr(engine, "run") or not hasattr(engine, "name"):
        raise InputError(f"{said} gives a {type(engine).__name__}", allowed=wanted, where=where)
    return engine


def first_able(names: Iterable[str], spec: Spec, where: str) -> str:
    """The first of these engines that is installed and can run such a network; `where` is its place in messages.

    Raises `EngineError` that says of each why it cannot, and what to install.
    """
    reasons: list[str] = []
    for name in dict.fromkeys(names):
        if not (why := _why_not(name, spec)):
            return name
        reasons += why
    advice = "install one of them, or check numbers that you have recorded: --recorded FILE"
    found = f"no engine here can run this network: {'; '.join(reasons)}"
    raise EngineError(found, advice=advice, where=where)


def first_going_back(spec: Spec, where: str | None = None) -> str:
    """The first engine that is installed and has gradients for such a network; `where` is its place in messages.

    Raises `EngineError` that says of each why it cannot, what to install, and what else there is.
    """
    from rnnspect.engines.interface import BEYOND_TORCH, check_spec  # with torch

    if not spec.beyond_torch or spec.is_own_cell:
        return "torch"
    reasons = [str(spec.beyond_torch)]
    for name, keys in BEYOND_TORCH.items():
        try:
            check_spec(name, spec, keys, "it has none")
        except EngineError:
            continue  # to install it would not help
        if not (why := _why_not(name, spec)):
            return name
        reasons += why
    found = f"no engine with gradients can run this network: {'; '.join(reasons)}"
    own, seen = "--engine path/to/mine.py:backward checks your own code", "rnnspect trace … --backward shows"
    advice = f"{own}; {seen} the gradients by the equations"
    raise EngineError(found, advice=advice, where=where)


def _why_not(name: str, spec: Spec) -> list[str]:
    """Why the engine of that name is not installed or cannot run such a network; empty where it can."""
    from rnnspect.engines.interface import Choosy  # with torch

    try:
        engine = find(name)
        if isinstance(engine, Choosy):
            engine.check(spec)
    except EngineError as error:
        return [problem.found for problem in error.problems]
    return []


def load(name: str, path: Path, spec: Spec) -> Engine:
    """The engine of that name with the parameters of a converted file; it ignores those that it is handed.

    Raises `EngineError` where its framework is not installed, or cannot run such a network.
    """
    from rnnspect.weights.writers.interface import needing

    with needing(name):
        module = _module(name)
    engine: Engine = module.CONVERTED(path, spec)
    return engine


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
