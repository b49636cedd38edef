from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import RenderableType

from rnnspect.cli import models
from rnnspect.cli.describing import Given
from rnnspect.cli.options import command, formats, network
from rnnspect.cli.output import Output
from rnnspect.cli.running import is_live
from rnnspect.errors import RnnspectError, listed

if TYPE_CHECKING:
    from rnnspect.network.shapes import Shapes

_REFUSED = 3  # modules that are left out with the whole reason; of more their names are said


@command("rnnspect shapes --cell lstm --num-layers 2 --bidirectional")
def shapes(given: Annotated[Given, network()], output: Annotated[Output, formats("table", "json", "markdown")]) -> None:
    """Parameter shapes, module tree, multiply-adds and memory.

    A file with several recurrent modules shows each of them."""
    from rnnspect.views import documents
    from rnnspect.views import shapes as view

    if is_live(given.path):
        model = models.shapes(str(given.path), given, output)
        output.emit(
            lambda _width: view.model_parts(model),
            document=lambda: documents.model_document(model),
            markdown=lambda: view.model_as_markdown(model),
        )
        return
    found = _found(given, output)
    several = len(found) > 1

    def table(_width: int) -> Iterable[RenderableType]:
        return [part for one in found for part in view.parts(one.shapes, one.heading if several else "")]

    def document() -> Any:
        said = [{"name": one.name, "reads_from": one.reads_from} if several else {} for one in found]
        made = [documents.shapes_document(one.shapes) | more for one, more in zip(found, said, strict=True)]
        return made if several else made[0]

    output.emit(table, document=document, markdown=lambda: "\n".join(view.as_markdown(one.shapes) for one in found))


@dataclass(frozen=True)
class _Found:
    """One recurrent module of a file."""

    name: str
    reads_from: str
    shapes: Shapes

    @property
    def heading(self) -> str:
        return self.name + (f", which reads {self.reads_from}" if self.reads_from else "")


def _found(given: Given, output: Output) -> list[_Found]:
    """The shapes of each recurrent module. Of several, those that no spec describes are left out, with a
    note that says why."""
    from rnnspect.network.shapes import shapes_of

    every = given.describe_every()
    found: list[_Found] = []
    refused: dict[str, RnnspectError] = {}
    for name, one in every.items():
        try:
            described = one.made()
        except RnnspectError as error:
            if len(every) == 1:
                raise
            refused[name] = error
            continue
        for note in described.notes:
            output.note(note if len(every) == 1 else note.replace(f"{given.path}:{name} ", f"{given.path} "))
        found.append(_Found(name, one.reads_from, shapes_of(described.spec)))
    names = list(refused)
    if not found:
        raise refused[names[-1]]
    for name in names[:_REFUSED]:
        output.note(f"note: skipped: {refused[name]}")
    if more := names[_REFUSED:]:
        output.note(f"note: skipped as well: {listed(more, _REFUSED)}")
    return found
