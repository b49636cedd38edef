from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.cli.describing import Described
from rnnspect.cli.loading import loading
from rnnspect.cli.options import described, formats, precision, with_groups
from rnnspect.cli.output import Output
from rnnspect.views import documents

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    app.command("run", epilog="Example:  rnnspect run configs/lstm.yaml --input x.npy -o out.npz")(run)


@with_groups(described=described, output=formats("table", "json", arrays=True), precision=precision)
def run(described: Described, output: Output, precision: int) -> None:
    """What the framework gives for a sequence: output, h_n, c_n and the head."""
    described.note(output)
    with loading():
        from rnnspect import resources
        from rnnspect.cli.notes import note_what_is_not_finite
        from rnnspect.preparing import prepare
        from rnnspect.running import run_prepared
        from rnnspect.views import arrays
        from rnnspect.views import run as view

    prepared = prepare(described.spec, where=described.where, require_memory=resources.run_needs)
    note_what_is_not_finite(prepared.sequence, output)
    result = run_prepared(prepared)
    shown = {
        "table": lambda screen: view.as_table(result, precision, screen),
        "json": lambda _screen: documents.as_json(documents.run_document(result)),
    }
    output.emit(shown, lambda: arrays.run_arrays(result))
