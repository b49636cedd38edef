from __future__ import annotations

from typing import Annotated

from rnnspect.cli.describing import Given
from rnnspect.cli.options import command, formats, in_output, network
from rnnspect.cli.output import Output, loading, note_what_is_not_finite, progress_bar
from rnnspect.cli.running import prepared
from rnnspect.errors import InputError


@command("rnnspect run configs/lstm.yaml --input x.npy -o out.npz")
def run(
    given: Annotated[Given, network()],
    output: Annotated[Output, formats("table", "json", arrays=True)],
    precision: Annotated[int, in_output(min=1, max=17, help="Decimals in a table")] = 4,
    with_parameters: Annotated[
        bool, in_output("--with-parameters", help="Keep the parameters in the .npz file too")
    ] = False,
) -> None:
    """What the framework computes: output, h_n and c_n."""
    if with_parameters and not output.is_arrays:
        raise InputError("needs an output file: -o case.npz", where="--with-parameters")
    from rnnspect.network import memory

    needs = memory.run_document_needs if output.writes("json") else memory.run_needs
    made, _ = prepared(given, output, needs)
    with loading():
        from rnnspect.tracing.running import run_prepared
        from rnnspect.views import documents
        from rnnspect.views import run as view

    note_what_is_not_finite(made.sequence, output)
    with progress_bar(f"running {made.engine.name}", made.steps_of_layers, output.quiet) as advance:
        result = run_prepared(made, advance)
    for note in result.notes:
        output.note(f"note: {note}")
    output.emit(
        lambda width: view.parts(result, precision, width),
        lambda: result.to_numpy(made.parameters if with_parameters else None),
        lambda: documents.run_document(result),
    )
