"""The structure of rnnspect: its packages, how long a file and a function may be, and the diagram in CONTRIBUTING.md.

Who may import whom is import-linter's (`make check`).
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rnnspect"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 300, 60, 7
ASKED_BY_NAME = {
    "rnnspect/api/asserting.py": {"assert_agrees"},
    "rnnspect/api/proving.py": {"check"},
    "rnnspect/api/page.py": {"report"},
    "rnnspect/api/seeing.py": {"gradients"},
    "rnnspect/api/deriving.py": {"derive"},
}
"""What people call with the arguments of a run by name: each of them is one thing that they may want to say."""


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(ROOT).as_posix(), node


def layers() -> list[set[str]]:
    """The packages from top to bottom, as the import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    drawn = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [set(re.findall(r"\w+", layer)) for layer in drawn]


def test_there_are_these_packages_and_five_modules() -> None:
    shown = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "__main__", "errors", "pytest_plugin", "version"}
    assert shown | loose - {"__init__", "__main__"} == set().union(*layers())


def test_the_diagram_is_the_contract() -> None:
    diagram = re.search(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert diagram is not None
    lines = [re.findall(r"(\w+)(?:/ |\.py)", line) for line in diagram[1].splitlines()]
    assert [set(names) for names in lines if names] == layers()


def test_every_module_says_what_it_is_for() -> None:
    """A command's file says it in the docstring of the command, which is its help."""
    unsaid = [path for path in FILES if not ast.get_docstring(parsed(path))]
    assert [path for path in unsaid if "@command(" not in path.read_text()] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_module_can_be_imported_by_itself(path: Path) -> None:
    """What it imports is there when it runs, and not only for the type checker."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if name == "rnnspect.__main__":
        return
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rnnspect"):
            raise
        pytest.skip(f"skipped: {error.name} is not installed")


def names_an_import(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def test_no_string_names_a_module_of_another_folder() -> None:
    """What is imported by a string, import-linter does not see: only a folder may find its own files so."""
    named = [
        (path.relative_to(PACKAGE).as_posix(), ast.unparse(node.args[0]))
        for path in FILES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and names_an_import(node.func)
    ]
    assert len(named) > 5
    assert [(path, name) for path, name in named if name[2:13] != "{__name__}."] == []


def test_no_file_is_long() -> None:
    assert {path.name: n for path in FILES if (n := len(path.read_text().splitlines())) > MOST_LINES} == {}


def test_a_share_is_written_with_a_space() -> None:
    """1 %, as everywhere on the screens: Python's own format, "%}", writes 1%."""
    assert [path.name for path in FILES if "%}" in path.read_text()] == []


def is_type(node: ast.expr) -> bool:
    """Whether an expression is a type: int, Any, tuple[int, str], Number | None."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr) and is_type(node.left) and is_type(node.right)
    if isinstance(node, ast.Subscript):
        return is_type(node.value)
    if isinstance(node, ast.Constant):
        return node.value is None
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "_"
    return (name[0].isupper() and not name.isupper()) or isinstance(getattr(builtins, name, None), type)


def types_named(path: Path) -> Iterator[str]:
    """The classes of a file, and the aliases of types at its top level."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef):
            yield node.name
    body = parsed(path).body
    for node in [*body, *(one for block in body if isinstance(block, ast.If) for one in block.body)]:
        if isinstance(node, ast.Assign) and isinstance(name := node.targets[0], ast.Name) and is_type(node.value):
            yield from [] if name.id.isupper() else [name.id]  # ENGINE is no type
        elif type(node).__name__ == "TypeAlias":  # type Name = …, from Python 3.12 on
            yield node.name.id  # type: ignore[attr-defined]


def test_no_name_of_a_type_means_two_things() -> None:
    """Names that begin with an underscore are the affair of their file."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for name in types_named(path):
            if not name.startswith("_"):
                places.setdefault(name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_aliases_of_types_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text(
        "At = tuple[int, str]\nMaybe = int | None\nif True:\n    Array = Any\nSIZES = Sizes\nTwo = made(2)\n"
    )
    assert list(types_named(path)) == ["At", "Maybe", "Array"]


def test_no_function_is_long() -> None:
    lines = {f"{path}:{one.name}": (one.end_lineno or 0) - one.lineno + 1 for path, one in functions()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_FUNCTION} == {}


def test_no_function_takes_many_parameters() -> None:
    found = {}
    for path, one in functions():
        names = [a.arg for a in (*one.args.posonlyargs, *one.args.args, *one.args.kwonlyargs)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > MOST_PARAMETERS and one.name not in ASKED_BY_NAME.get(path, ()):
            found[f"{path}:{one.name}"] = count
    assert found == {}
