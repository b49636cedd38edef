"""help() of what is public explains each parameter, and its examples run."""

from __future__ import annotations

import doctest
import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

import rnnspect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FUNCTIONS = {name: one for name in rnnspect.__all__ if inspect.isfunction(one := getattr(rnnspect, name))}
METHODS = {
    f"{kind.__name__}.{name}": one
    for kind in (rnnspect.Shapes, rnnspect.Trace, rnnspect.Verdict, rnnspect.WatchedCalls)
    for name, one in vars(kind).items()
    if inspect.isfunction(one) and not name.startswith("_")
}
SHAPES = {"x": "(T, I)", "h0": "(L·D, P)", "c0": "(L·D, H)", "lengths": "(B,)"}


def sections(documented: Callable[..., Any]) -> dict[str, str]:
    """The text of each section of a docstring in Google's style, by its title; what comes first is under ""."""
    parts = re.split(r"^(\w+):\n", inspect.getdoc(documented) or "", flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def explained(documented: Callable[..., Any]) -> dict[str, str]:
    """What is said of each parameter, by its name."""
    said = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", sections(documented).get("Args", ""), flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in said}


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_each_parameter_is_explained(name: str) -> None:
    documented = (FUNCTIONS | METHODS)[name]
    parameters = [one for one in inspect.signature(documented).parameters.values() if one.name != "self"]
    assert all(one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters)
    assert list(explained(documented)) == [one.name for one in parameters]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shapes_results_errors_and_an_example_are_told(name: str) -> None:
    said, of_each = sections(FUNCTIONS[name]), explained(FUNCTIONS[name])
    assert all(shape in of_each[one] for one, shape in SHAPES.items() if one in of_each)
    assert "x" not in of_each or "\nShapes: T steps" in said[""]  # what the letters stand for
    assert {"Args", "Examples"} <= {*said}
    assert said[""].strip()
    assert name == "watch" or "Raises" in said
    assert name == "assert_agrees" or {"Returns", "Yields"} & {*said}
    for title in ("Returns", "Yields"):  # a line that is not indented further would be another result
        assert all(line.startswith(" " * 8) for line in said.get(title, "").rstrip().splitlines()[1:])


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_its_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if needed := {"Trace.to_pandas": "pandas", "Trace.plot": "matplotlib"}.get(name):
        pytest.importorskip(needed, reason=f"skipped: {needed} is not installed")
    documented = (FUNCTIONS | METHODS)[name]
    found = doctest.DocTestFinder(recurse=False).find(inspect.unwrap(documented), name, module=False, globs={})
    assert name not in FUNCTIONS or [one for one in found if one.examples]
    said: list[str] = []
    for one in found:
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(one, out=said.append)
    assert said == []
