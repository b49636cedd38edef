"""Loads what path/to/model.py:build names in a Python file. This runs the file, so only an argument that the user typed
may name one."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rnnspect.cells import CELLS, VARIANTS, Cell
from rnnspect.errors import InputError, Problem, RnnspectError, SpecError, in_one_line, listed, nearest
from rnnspect.files.reading import named_alike
from rnnspect.files.silenced import printing_to_stderr

if TYPE_CHECKING:
    from torch import nn


FORM = "path/to/model.py:build"
_PRIVATE = "_rnnspect_model"
_OURS = Path(__file__).parents[2]
_NOTHING = object()
_MOST_SAID = 300
"""At most so many characters of an exception's text are repeated."""


def names_code(text: str) -> bool:
    """Whether a text has the form of path/to/model.py:build."""
    return re.search(r"\.py:[^/:]+$", text) is not None


def load_model(source: str) -> nn.Module:
    """The model that `path/to/model.py:build` names: an nn.Module, or what gives one when it is called.

    The file is run as a module of its own, with its folder first among the places that it imports from. What it
    prints goes to stderr.

    Raises `InputError` for no such file or name, for what is or gives no nn.Module, and for anything that the code
    raises, with the line of it.
    """
    from torch import nn

    found, path, name = load_named(source)
    place = f"{path}:{name}"
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        allowed = "a torch.nn.Module, or a function that returns one"
        raise InputError(f"this is a {type(found).__name__}", allowed=allowed, where=place)
    if missing := needed_by(found):
        advice = (
            f"name a function without arguments, such as def build(): return {name}(…); an engine, which takes x and "
        )
        advice += f"a state, is checked with rnnspect check WEIGHTS --engine {source}"
        raise InputError(f"{name} needs the arguments {listed(missing)}", where=place, advice=advice)
    with printing_to_stderr(), importing_from(path), their_errors(f"{name}()", path):
        given = found()
    if not isinstance(given, nn.Module):
        raise InputError(f"{name}() returns a {type(given).__name__}", allowed="a torch.nn.Module", where=place)
    return given


def needed_by(found: Callable[..., Any]) -> list[str]:
    """The arguments without which it cannot be called; none where Python does not know them."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return []
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in several]


def load_named(source: str) -> tuple[Any, Path, str]:
    """Whatever `path/to/model.py:build` names, the file and the name. Raises as `load_model` does."""
    path, name = place_of(source)
    written = str(path)
    with printing_to_stderr(), importing_from(path):
        with their_errors("loading this file", path):
            module = loaded(path)
            named = getattr(module, name, _NOTHING)
        if named is _NOTHING:
            choices = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
            allowed = listed(choices, 8) or "a function that returns a torch.nn.Module"
            near = nearest(name, choices)
            raise InputError(f"this file has no {name!r}", allowed=allowed, nearest=near, where=written)
        return named, path, name


def place_of(source: str, form: str = FORM) -> tuple[Path, str]:
    """The file and the name in `path/to/model.py:build`. Raises `InputError` where there is no such file."""
    written, _, name = source.rpartition(":")
    if not written or not name:
        raise InputError(f"{source!r} does not name a model", allowed=form)
    path = Path(written)
    if not path.is_file():
        raise InputError("no such file", allowed=form, nearest=named_alike(path), where=written)
    if path.suffix != ".py":
        raise InputError("this is not a Python file", allowed=form, where=written)
    return path, name


def names_in(path: Path) -> list[str]:
    """The functions and classes of a Python file that may give a model, by reading it; nothing is run. None of a file
    that is no Python.

    Left out are functions that need an argument, classes without a base, and names that begin with _.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return []
    return [node.name for node in tree.body if _may_give(node)]  # type: ignore[attr-defined]


def _may_give(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        needed = len(node.args.posonlyargs + node.args.args) - len(node.args.defaults)
        needed += sum(default is None for default in node.args.kw_defaults)
        return not needed and not node.name.startswith("_")
    return isinstance(node, ast.ClassDef) and bool(node.bases) and not node.name.startswith("_")


def loaded(path: Path) -> ModuleType:
    """The file as a module of its own, which is run now."""
    folder = path.resolve().parent
    package = folder.relative_to(_above_packages(folder)).parts  # from .other import … is relative to it
    spec = importlib.util.spec_from_file_location(".".join((*package, _PRIVATE)), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up
    spec.loader.exec_module(module)
    return module


def _above_packages(folder: Path) -> Path:
    """The folder in which the outermost package around this one lies; the folder itself where it is no package."""
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def _places(folder: Path) -> list[Path]:
    """Where the packages of the project lie that a folder is part of: above its own package, in src, or beside its
    pyproject.toml."""
    project = next((one for one in (folder, *folder.parents) if (one / "pyproject.toml").is_file()), None)
    found = [_above_packages(folder), *([] if project is None else [project / "src", project])]
    return [place for place in dict.fromkeys(found) if place != folder and place.is_dir()]


_THEIRS: dict[Path, dict[str, ModuleType]] = {}
"""By folder the modules that files in it have imported from there or from their project."""


@contextlib.contextmanager
def importing_from(path: Path) -> Iterator[None]:
    """Imports come first from the file's folder, and after all that is installed from its project's packages. The
    working directory is restored afterwards, since the paths that the user typed are relative to it. Modules that files
    in other folders imported from there are put aside first, as they may have the same names."""
    folder = path.resolve().parent
    for other, modules in _THEIRS.items():
        for name in modules if other != folder else ():
            if sys.modules.get(name) is modules[name]:
                del sys.modules[name]
    own, before = _THEIRS.setdefault(folder, {}), set(sys.modules)
    for name, module in own.items():
        sys.modules.setdefault(name, module)
    try:
        with _first_in_path(folder):
            yield
    finally:
        places = (folder, *_places(folder))
        new = {name: module for name, module in list(sys.modules.items()) if name not in before}
        own |= {name: module for name, module in new.items() if _is_theirs(name, module, places)}


def _is_theirs(name: str, module: Any, places: Iterable[Path]) -> bool:
    """Whether a module was found in one of these folders itself; below them Python may be installed. Our own modules do
    not count."""
    own = vars(module) if isinstance(module, ModuleType) else {}  # whose __getattr__ may raise anything
    files = [Path(one).resolve() for one in (own.get("__file__"), *own.get("__path__", ())) if one]
    top = name.partition(".")[0]
    found = any(
        file == place / f"{top}.py" or place / top in (file, *file.parents) for place in places for file in files
    )
    return found and top != "rnnspect"


@contextlib.contextmanager
def _first_in_path(folder: Path) -> Iterator[None]:
    last = [str(place) for place in _places(folder) if str(place) not in sys.path]
    begun = Path.cwd()
    sys.path[:] = [str(folder), *sys.path, *last]
    try:
        yield
    finally:
        for place in (str(folder), *last):
            with contextlib.suppress(ValueError):
                sys.path.remove(place)
        os.chdir(begun)


@contextlib.contextmanager
def their_errors(doing: str, path: Path | None = None) -> Iterator[None]:
    """An exception of the user's code becomes an `InputError` that says where: the last line in their file. Errors that
    rnnspect raises for its own arguments stay as they are, unless the code made a wrong spec. A process that the code
    forked ends here, so that only one of them reports the result."""
    process = os.getpid()
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | RnnspectError) and not isinstance(error, SpecError):
            raise
        raise InputError([told_as_theirs(doing, error, path)]) from error
    finally:
        if os.getpid() != process:
            os._exit(0)


def told_as_theirs(doing: str, error: BaseException, path: Path | None = None) -> Problem:
    """An exception of the user's code: its kind, its text on one line of limited length, and where it was raised."""
    try:
        said = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - it is their code that says it
        said = "(its message cannot be read)"
    said = said[:_MOST_SAID] + ("…" if len(said) > _MOST_SAID else "")
    kind = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return Problem(f"{doing} failed with {kind}", where=_place(error, path), advice=_advice(error, said))


def _advice(error: BaseException, said: str) -> str | None:
    """What to do about a module that is not found, autograd that is not there, or a checkpoint that it cannot use."""
    if "use_reentrant=True" in said:
        from rnnspect.engines.interface import REENTRANT

        return REENTRANT
    if "does not require grad" in said and (torch := sys.modules.get("torch")) and not torch.is_grad_enabled():
        return "it runs under torch.no_grad(): put what needs autograd into a with torch.enable_grad(): block"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "put an empty __init__.py into each folder of the package, or import by the package's name"
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    name = in_one_line(error.name.partition(".")[0])
    own = f"if {name} is yours, pip install -e its project, or set PYTHONPATH to the folder that {name} is in"
    return f"{own}; else install it beside rnnspect"


def _place(error: BaseException, path: Path | None) -> str | None:
    """file:line in the user's file; without one, the last line that is neither ours nor torch's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        ours = file.resolve() != path.resolve() if path else _OURS in file.parents or "site-packages" in file.parts
        if not ours:
            return f"{frame.filename}:{frame.lineno}"
    return None if path is None else str(path)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module of the model in eval mode; the mode that each had is put back. A frozen TorchScript has none."""
    before = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


CELL_FORM = "path/to/mine.py:NAME, where NAME is the name of a Cell"


def load_cell(source: str) -> Cell:
    """The cell of a file whose `name` stands after the colon, or the variable that holds it.

    Raises `InputError` for no such file or cell, and for anything that the file raises, with the line of it.
    """
    path, name = place_of(source, CELL_FORM)
    with printing_to_stderr(), importing_from(path), their_errors("loading this file", path):
        module = loaded(path)
    cells = {key: one for key, one in vars(module).items() if isinstance(one, Cell)}
    for key, cell in cells.items():
        if name in (key, cell.name):
            return cell
    own = [str(cell.name) for cell in cells.values() if cell not in (*CELLS.values(), *VARIANTS.values())]
    if not own:
        advice = "write one as in the file that this makes: rnnspect init --cell new.py"
        raise InputError("this file has no Cell", where=str(path), advice=advice)
    raise InputError.unknown(f"this file has no cell {name!r}", name, own, str(path))
