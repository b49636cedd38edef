from __future__ import annotations

from typing import Annotated

import typer

from rnnspect.cli.describing import Described
from rnnspect.cli.loading import loading
from rnnspect.cli.options import described, formats, precision, with_groups
from rnnspect.cli.output import Output
from rnnspect.errors import InputError
from rnnspect.views import documents


def register(app: typer.Typer) -> None:
    app.command("run", epilog="Example:  rnnspect run configs/lstm.yaml --input x.npy -o out.npz")(run)


@with_groups(described=described, output=formats("table", "json", arrays=True), precision=precision)
def run(
    described: Described,
    output: Output,
    precision: int,
    with_parameters: Annotated[
        bool,
        typer.Option("--with-parameters", help="Keep the parameters in the .npz file, too.", rich_help_panel="Output"),
    ] = False,
) -> None:
    """What the framework gives for a sequence: output, h_n, c_n and the head."""
    if with_parameters and (output.path is None or output.path.suffix.lower() != ".npz"):
        raise InputError("parameters and no file that holds them", allowed="-o case.npz", where="--with-parameters")
    described.note(output)
    with loading():
        from rnnspect.cli.notes import note_what_is_not_finite
        from rnnspect.network import memory
        from rnnspect.tracing.prepare import prepare
        from rnnspect.tracing.run import run_prepared
        from rnnspect.views import run as view

    prepared = prepare(described.spec, where=described.where, require_memory=memory.run_needs)
    note_what_is_not_finite(prepared.sequence, output)
    result = run_prepared(prepared)
    shown = {
        "table": lambda screen: view.as_table(result, precision, screen),
        "json": lambda _screen: documents.as_json(documents.run_document(result)),
    }
    output.emit(shown, lambda: result.to_numpy(prepared.parameters if with_parameters else None))
