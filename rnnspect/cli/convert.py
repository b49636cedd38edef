from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from rnnspect.cli.describing import Given
from rnnspect.cli.options import command, formats, network
from rnnspect.cli.output import Output, loading
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import InputError
from rnnspect.weights import writers

_conversion = functools.partial(typer.Option, rich_help_panel="The conversion")


@command("rnnspect convert configs/lstm.yaml --to onnx -o lstm.onnx")
def convert(
    given: Annotated[Given, network(sequence=False, leave_out=("head", "device"))],
    to: Annotated[
        str,
        _conversion(help=f"Which framework's: {', '.join(writers.names())}.", autocompletion=writers.names),
    ],
    file: Annotated[
        Path, _conversion("--output", "-o", help="The file to write, such as model.onnx or model.weights.h5.")
    ],
    output: Annotated[Output, formats("table", "json", file=False)],
    lossy: Annotated[bool, _conversion("--lossy", help="Leave out what has no place there.")] = False,
    with_lengths: Annotated[
        bool, _conversion("--with-lengths", help="The .onnx also takes the lengths of a batch.")
    ] = False,
) -> int:
    """The parameters as a file that another framework loads, and the framework's run of it checked: a file that differs
    (exit status 1), or of which that cannot be told (3), is not kept."""
    source = str(given.path or "")
    if names_code(source) or source.endswith(".py"):
        raise InputError("a live model", allowed="its checkpoint, such as torch.save makes", where=source)
    described = given.describe(output, the_only=True)
    with loading():
        from rnnspect.checking import converting
        from rnnspect.views import convert as view
        from rnnspect.views import documents

    done = converting.convert(described.spec, to, file, lossy=lossy, lengths=with_lengths, where=described.where)
    output.emit(lambda _width: view.parts(done), json=lambda: documents.as_json(view.document(done)))
    if done.kept:
        output.note(f"wrote {done.path}")
    return done.exit_status
