from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnspect.cli.describing import Described
from rnnspect.cli.loading import loading
from rnnspect.cli.options import described, parameters_of, with_groups
from rnnspect.cli.output import Output
from rnnspect.engines.own.loading import names_code
from rnnspect.errors import InputError
from rnnspect.views import documents

_CONVERSION = "The conversion"
_SEQUENCE = ("input", "batch", "h0", "c0", "lengths", "head", "device")
"""Options of a run, which a conversion draws itself; a head is no part of it."""


def register(app: typer.Typer) -> None:
    epilog = "Example:  rnnspect convert configs/lstm.yaml --to onnx -o lstm.onnx"
    app.command("convert", epilog=epilog)(convert)


def _targets() -> list[str]:
    from rnnspect.weights import writers

    return writers.names()


def _network(**flags: Any) -> Described:
    source = str(flags["spec"] or "")
    if names_code(source) or source.endswith(".py"):
        raise InputError("a live model", allowed="its checkpoint, such as torch.save makes", where=source)
    return described(**flags)


_options = [parameter for name, parameter in parameters_of(described).items() if name not in _SEQUENCE]
_network.__signature__ = inspect.Signature(_options)  # type: ignore[attr-defined]
_network.__annotations__ = {parameter.name: parameter.annotation for parameter in _options}


@with_groups(network=_network)
def convert(
    network: Described,
    to: Annotated[
        str,
        typer.Option(
            help="Which framework's: onnx, keras, flax (nnx), flax-linen, pytorch.",
            autocompletion=_targets,
            rich_help_panel=_CONVERSION,
        ),
    ],
    output: Annotated[
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
        str | None,
        typer.Option("--format", "-f", help="table or json.", metavar="table|json", rich_help_panel="Output"),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No notes or warnings.", rich_help_panel="Output")
    ] = False,
) -> int:
    """The parameters as a file that another framework loads, and the framework's run of it checked: a file that differs
    (exit status 1), or of which that cannot be told (3), is not kept."""
    shown = Output(format, None, quiet)
    shown.check(("table", "json"))
    with loading():
        from rnnspect.checking import converting
        from rnnspect.views import convert as view

    network.note(shown)
    done = converting.convert(network.spec, to, output, lossy=lossy, lengths=with_lengths, where=network.where)
    shown.emit(
        {
            "table": lambda screen: view.as_table(done, screen),
            "json": lambda _screen: documents.as_json(view.document(done)),
        }
    )
    if done.kept:
        shown.note(f"wrote {done.path}")
    return done.exit_status
