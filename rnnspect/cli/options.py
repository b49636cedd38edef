"""Options that several commands share. A group is a function whose parameters are options and whose result the
command receives as one argument."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rnnspect.cells import CELLS
from rnnspect.cells.functions import KINDS
from rnnspect.cli.describing import Described, describe
from rnnspect.cli.output import Output
from rnnspect.errors import InputError
from rnnspect.files.sources import FORMS, GENERATORS
from rnnspect.network.dtypes import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINES = "torch, torch-cell, onnxruntime, keras, … or path/to/mine.py:MyLSTM"
_NETWORK, _SEQUENCE, _OUTPUT = "The network", "The sequence", "Output"


def with_groups(**groups: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorated command gets each group's result under the group's name; typer sees all their options."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = {name: p for name, p in parameters_of(command).items() if name not in groups}
        by_group = {name: parameters_of(group) for name, group in groups.items()}

        @functools.wraps(command)
        def wrapper(**given: Any) -> Any:
            made = {
                name: groups[name](**{option: given[option] for option in options})
                for name, options in by_group.items()
            }
            return command(**made, **{name: given[name] for name in own})

        every = [p for options in by_group.values() for p in options.values()] + list(own.values())
        wrapper.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in every}
        del wrapper.__wrapped__
        return wrapper

    return decorate


def _layouts() -> list[str]:
    from rnnspect.weights import layouts

    return layouts.names()


def described(
    spec: Annotated[
        Path | None,
        typer.Argument(
            help="A spec in YAML; flags win over it. Or a checkpoint: .pt, .pth, .safetensors, .npz; a .onnx; or "
            "a .keras, .h5 or .hdf5 of Keras.",
            show_default=False,
        ),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            help="Which recurrent module of a checkpoint, or node of a model: encoder.rnn.", rich_help_panel=_NETWORK
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            help="The recurrent cell.",
            metavar="|".join(CELLS),
            autocompletion=lambda: list(CELLS),
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Features of x at each step.", rich_help_panel=_NETWORK)
    ] = None,
    hidden_size: Annotated[
        int | None, typer.Option(help="Units of each layer and direction.", rich_help_panel=_NETWORK)
    ] = None,
    num_layers: Annotated[int | None, typer.Option(help="Stacked layers.", rich_help_panel=_NETWORK)] = None,
    nonlinearity: Annotated[
        str | None,
        typer.Option(
            help="For cell rnn.",
            metavar="tanh|relu",
            autocompletion=lambda: ["tanh", "relu"],
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    bias: Annotated[
        bool | None,
        typer.Option("--bias/--no-bias", help="Whether there are biases.", rich_help_panel=_NETWORK),
    ] = None,
    batch_first: Annotated[
        bool | None,
        typer.Option("--batch-first/--no-batch-first", help="(B, T, I) or (T, B, I).", rich_help_panel=_NETWORK),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Between layers; no effect in eval mode.", rich_help_panel=_NETWORK)
    ] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option("--bidirectional/--no-bidirectional", help="Run from the end as well.", rich_help_panel=_NETWORK),
    ] = None,
    proj_size: Annotated[
        int | None,
        typer.Option(help="For cell lstm: units that h is projected to.", rich_help_panel=_NETWORK),
    ] = None,
    reverse: Annotated[
        bool | None,
        typer.Option("--reverse/--no-reverse", help="Run from the end only.", rich_help_panel=_NETWORK),
    ] = None,
    reset: Annotated[
        str | None,
        typer.Option(
            help="For cell gru: r acts after the product with h (torch) or before.",
            metavar="after|before",
            autocompletion=lambda: ["after", "before"],
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    input_forget: Annotated[
        bool | None,
        typer.Option(
            "--input-forget/--no-input-forget", help="For cell lstm: f = 1 - i (ONNX).", rich_help_panel=_NETWORK
        ),
    ] = None,
    peepholes: Annotated[
        bool | None,
        typer.Option(
            "--peepholes/--no-peepholes", help="For cell lstm: i, f and o see the cell state.", rich_help_panel=_NETWORK
        ),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(
            help="hard_sigmoid(0.2,0.5),tanh,tanh: the functions, in the order of the equations.",
            autocompletion=lambda: list(KINDS),
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(help="Limit what goes into each function to +- this.", rich_help_panel=_NETWORK),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of parameters, states and input.",
            metavar="|".join(DTYPES),
            autocompletion=lambda: list(DTYPES),
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps, …", rich_help_panel=_NETWORK)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="What random numbers are drawn from.", rich_help_panel=_NETWORK)
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="A .pt, .npz or .safetensors file with the parameters, or file:module.", rich_help_panel=_NETWORK
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="How the file packs its parameters: onnx, keras … (rnnspect layouts).",
            autocompletion=_layouts,
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option(help="A Linear on the last state, with this many outputs.", rich_help_panel=_NETWORK),
    ] = None,
    input: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(
            "--input",
            "-i",
            help=f"x: {FORMS}.",
            autocompletion=lambda: [f"{name}:" for name in GENERATORS],
            rich_help_panel=_SEQUENCE,
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="How many sequences a generator makes.", rich_help_panel=_SEQUENCE)
    ] = None,
    h0: Annotated[
        str | None,
        typer.Option(help="The initial hidden state, written like --input.", rich_help_panel=_SEQUENCE),
    ] = None,
    c0: Annotated[
        str | None,
        typer.Option(help="The initial cell state, written like --input.", rich_help_panel=_SEQUENCE),
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="5,3,2: the lengths in a packed batch.", rich_help_panel=_SEQUENCE)
    ] = None,
) -> Described:
    """The spec from a file and flags; flags win, but not over what a checkpoint's shapes say."""
    given = dict(locals())
    path, module = given.pop("spec"), given.pop("module")
    flags = {name: value for name, value in given.items() if value is not None}
    if head is not None:
        flags["head"] = {"out_features": head}
    if activations is not None:
        flags["activations"] = _functions(activations)
    if lengths is not None:
        flags["lengths"] = _lengths(lengths)
    return describe(path, module, flags)


def formats(*names: str, arrays: bool = False) -> Callable[..., Output]:
    """The options of a command whose result has these formats; the first is what is shown without --format."""

    def output(format: str | None = None, output: Path | None = None, quiet: bool = False) -> Output:  # noqa: A002
        chosen = Output(format, output, quiet)
        chosen.check(names, arrays)
        return chosen

    choice = typer.Option(
        "--format",
        "-f",
        help=f"{' or '.join(names)}.",
        metavar="|".join(names),
        autocompletion=lambda: list(names),
        rich_help_panel=_OUTPUT,
    )
    kept = " A .npz file keeps every array." if arrays else ""
    file = typer.Option("--output", "-o", help=f"A file to write.{kept}", rich_help_panel=_OUTPUT)
    hush = typer.Option(
        "--quiet", "-q", help="No notes, warnings or progress; with -o no table.", rich_help_panel=_OUTPUT
    )
    output.__annotations__ = {
        "format": Annotated[str | None, choice],
        "output": Annotated[Path | None, file],
        "quiet": Annotated[bool, hush],
    }
    return output


def precision(
    precision: Annotated[int, typer.Option(min=1, max=17, help="Decimals in a table.", rich_help_panel=_OUTPUT)] = 4,
) -> int:
    return precision


@functools.cache
def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """With real types for annotations; keyword-only, so that every group's options stand side by side."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
    }


def _functions(text: str) -> list[str]:
    """At commas that are in no parentheses."""
    return [part.strip() for part in re.split(r",(?![^()]*\))", text.strip("[] "))]


def _lengths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.strip("[] ").split(",")]
    except ValueError:
        raise InputError(f"{text!r} is no list of lengths", allowed="5,3,2", where="--lengths") from None
