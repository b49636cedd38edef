from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rnnspect.cli.describing import Given
from rnnspect.cli.options import command, formats, network
from rnnspect.cli.output import Output, loading
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import InputError, listed
from rnnspect.weights import writers

_conversion = functools.partial(typer.Option, rich_help_panel="Conversion")


@command("rnnspect convert configs/lstm.yaml --to onnx -o lstm.onnx")
def convert(
    given: Annotated[Given, network(sequence=False, leave_out=("head", "device"))],
    to: Annotated[
        str,
        _conversion(help=f"Framework: {listed(writers.names())}", metavar="NAME", autocompletion=writers.names),
    ],
    file: Annotated[Path, _conversion("--output", "-o", help="File to write: model.onnx, model.weights.h5, …")],
    output: Annotated[Output, formats("table", "json", file=False)],
    lossy: Annotated[bool, _conversion("--lossy", help="Go on where something cannot be kept; it says what")] = False,
    with_lengths: Annotated[
        bool, _conversion("--with-lengths", help="The .onnx also takes the lengths of a batch")
    ] = False,
) -> int:
    """Weights as a file for another framework, verified.

    Keeps the file only if verification passes: exit status 1 if the framework's run of it differs, 3 if the check
    cannot tell."""
    source = str(given.path or "")
    if names_code(source) or source.endswith(".py"):
        raise InputError("a live model", advice="save its weights with torch.save and convert that file", where=source)
    described = replace(given, as_stored=True).describe(output, the_only=True)
    with loading():
        from rnnspect.checking import converting
        from rnnspect.views import convert as view

    done = converting.convert(described.spec, to, file, lossy=lossy, lengths=with_lengths, where=described.where)
    output.emit(lambda _width: view.parts(done), document=lambda: view.document(done))
    if done.kept:
        output.note(f"wrote {done.path}")
    return done.exit_status
