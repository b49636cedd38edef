from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnspect.cli import models
from rnnspect.cli.describing import Given
from rnnspect.cli.options import command, formats
from rnnspect.cli.output import Output, loading
from rnnspect.cli.running import is_live
from rnnspect.errors import RnnspectError

if TYPE_CHECKING:
    from rnnspect.views.about import About, FileModule


@command("rnnspect about model.safetensors")
def about(
    output: Annotated[Output, formats("table", "json")],
    file: Annotated[
        Path, typer.Argument(help="A file of weights, a model, a folder with one, a spec, or path/to/model.py:build")
    ],
) -> None:
    """What a file is, and the recurrent modules in it.

    rnnspect FILE is the same."""
    from rnnspect.views import about as view
    from rnnspect.weights import readers

    if is_live(file):
        shown = _of_live(str(file), output)
        output.emit(lambda width: view.parts(shown, width), document=lambda: view.document(shown))
        return
    with loading():
        path = readers.inner_file(file)
        kind = readers.kind_of(path)
        what = readers.find(kind).what if kind else "a text, read as a spec in YAML"
        modules = _held(path)
        total = _tensors(path, kind) if kind else None
    found = view.About(str(path), what, path.stat().st_size if path.is_file() else None, total, tuple(modules))
    output.emit(lambda width: view.parts(found, width), document=lambda: view.document(found))


def _of_live(source: str, output: Output) -> About:
    """Of a live model its recurrent modules."""
    from rnnspect.views.about import About, FileModule

    model = models.shapes(source, Given(None, {"module": None}), output)
    held = [FileModule(name, one.module, one.spec.dtype, "", "") for name, one in model.recurrent.items()]
    held += [FileModule(name, "", "", "", why) for name, why in model.refused.items()]
    return About(source, f"a live model, {model.parts[0].layer}, {model.total:,} parameters", None, None, tuple(held))


def _held(path: Path) -> list[FileModule]:
    """The recurrent modules of a file. Raises the reason where there is none, or no spec describes the only one."""
    from rnnspect.cli.describing import describe_every
    from rnnspect.network.parameters import module_repr
    from rnnspect.views.about import FileModule

    every = describe_every(path, None, {})
    found: list[FileModule] = []
    for name, one in every.items():
        try:
            spec = one.made().spec
        except RnnspectError as error:
            if len(every) == 1:
                raise
            found.append(FileModule(name, "", "", "", error.problems[0].found))
        else:
            found.append(FileModule(name, module_repr(spec), spec.dtype, one.reads_from, ""))
    return found


def _tensors(path: Path, kind: Any) -> int | None:
    """How many tensors a file has; None where they have no names of their own."""
    from rnnspect.weights import readers

    read = readers.find(kind).tensors
    return None if read is None else len(read(path).stored)
