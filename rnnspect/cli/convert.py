from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rnnspect.cli.given import Given
from rnnspect.cli.options import OUTPUT, choice, command, network
from rnnspect.cli.output import Output
from rnnspect.cli.progress import loading
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import InputError

_CONVERSION = "The conversion"
_OF_A_RUN = ("input", "batch", "h0", "c0", "lengths", "head", "device")
"""What a conversion draws itself; a head is no part of it."""
_FORMATS = ("table", "json")


def _targets() -> list[str]:
    from rnnspect.weights import writers

    return writers.names()


@command("rnnspect convert configs/lstm.yaml --to onnx -o lstm.onnx")
def convert(
    given: Annotated[Given, network(leave_out=_OF_A_RUN)],
    to: Annotated[
        str,
        typer.Option(
            help="Which framework's: onnx, keras, flax (nnx), flax-linen, pytorch.",
            autocompletion=_targets,
            rich_help_panel=_CONVERSION,
        ),
    ],
    file: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The file to write: .onnx, .weights.h5, .msgpack or .safetensors.",
            rich_help_panel=_CONVERSION,
        ),
    ],
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Leave out what has no place there.", rich_help_panel=_CONVERSION)
    ] = False,
    with_lengths: Annotated[
        bool,
        typer.Option(
            "--with-lengths", help="The .onnx also takes the lengths of a batch.", rich_help_panel=_CONVERSION
        ),
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        str | None, choice(_FORMATS, "--format", "-f", help="table or json.", rich_help_panel=OUTPUT)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes or warnings.", rich_help_panel=OUTPUT)] = False,
) -> int:
    """The parameters as a file that another framework loads, and the framework's run of it checked: a file that differs
    (exit status 1), or of which that cannot be told (3), is not kept."""
    source = str(given.path or "")
    if names_code(source) or source.endswith(".py"):
        raise InputError("a live model", allowed="its checkpoint, such as torch.save makes", where=source)
    described, output = given.describe(), Output(format, None, quiet)
    output.check(_FORMATS)
    with loading():
        from rnnspect.checking import converting
        from rnnspect.views import convert as view
        from rnnspect.views import documents

    described.note(output)
    done = converting.convert(described.spec, to, file, lossy=lossy, lengths=with_lengths, where=described.where)
    output.emit(
        {
            "table": lambda screen: view.as_table(done, screen),
            "json": lambda _screen: documents.as_json(view.document(done)),
        }
    )
    if done.kept:
        output.note(f"wrote {done.path}")
    return done.exit_status
