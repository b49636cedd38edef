"""Options that several commands share. A group is a function whose parameters are options and whose result the
command receives as one argument."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer evaluates the annotations
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rnnspect.cells import CELLS
from rnnspect.cli.loading import loading
from rnnspect.cli.output import Output
from rnnspect.errors import InputError, Problem, SpecError, listed
from rnnspect.files import recurrent
from rnnspect.files.stored import CHECKPOINTS, is_checkpoint, stored_in
from rnnspect.sources import FORMS, Generator, parse
from rnnspect.spec import DTYPES, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

_NETWORK, _SEQUENCE, _OUTPUT = "The network", "The sequence", "Output"


@dataclass(frozen=True)
class Described:
    """A spec, and where each of its keys was said: in the file, or by which flag."""

    spec: Spec
    where: Callable[[tuple[int | str, ...]], str]
    notes: tuple[str, ...] = ()
    """What is worth knowing of how the spec came about: what a checkpoint does not say."""

    def note(self, output: Output) -> None:
        for note in self.notes:
            output.note(note)


def with_groups(**groups: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorated command gets each group's result under the group's name; typer sees all their options."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = {name: p for name, p in _parameters(command).items() if name not in groups}
        by_group = {name: _parameters(group) for name, group in groups.items()}

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


def described(
    spec: Annotated[
        Path | None,
        typer.Argument(
            help="A spec in YAML; flags win over it. Or a checkpoint: .pt, .pth, .safetensors, .npz.",
            show_default=False,
        ),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(help="Which recurrent module of a checkpoint: encoder.rnn.", rich_help_panel=_NETWORK),
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
    head: Annotated[
        int | None,
        typer.Option(help="A Linear on the last state, with this many outputs.", rich_help_panel=_NETWORK),
    ] = None,
    input: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option("--input", "-i", help=f"x: {FORMS}.", rich_help_panel=_SEQUENCE)
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
    if lengths is not None:
        flags["lengths"] = _lengths(lengths)
    return describe(path, module, flags)


def describe(path: Path | None, module: str | None, flags: dict[str, Any]) -> Described:
    """The spec that a file and flags describe together; `flags` are keys of a spec.

    Raises `SpecError` naming every key that is wrong, or said by a flag against what a checkpoint's shapes say.
    """
    if path is not None and is_checkpoint(path):
        return _describe_checkpoint(path, module, flags)
    if module is not None:
        found = "a module of no checkpoint"
        raise InputError(found, allowed=f"beside a file in {listed(CHECKPOINTS)}", where="--module")
    data, in_file = _read(path) if path else ({}, None)
    if "input" in flags and not isinstance(parse(flags["input"]), Generator):
        data.pop("batch", None)  # it was meant for the generator that the flag replaces

    def where(keys: tuple[int | str, ...]) -> str:
        return _flag(str(keys[0])) if in_file is None or keys[0] in flags else in_file(keys)

    return Described(Spec.from_data(data | flags, where), where)


def _describe_checkpoint(path: Path, module: str | None, flags: dict[str, Any]) -> Described:
    with loading():
        stored = stored_in(path)
    name = str(path)
    chosen = recurrent.choose(recurrent.modules_in(stored), module, name)
    told = recurrent.described(chosen, name, flags.get("dtype"), flags.get("cell"))
    told["weights"] = recurrent.weights_source(chosen, name, stored)
    source = told["weights"].removesuffix(":")
    against = [
        Problem(f"{key} {_said(flags[key])}, which {source} contradicts", _said(told[key]), where=_flag(key))
        for key in told
        if key in flags and key not in {"dtype", "weights"} and flags[key] != told[key]
    ]
    against += [
        Problem(f"{key} beside a checkpoint", "the parameters in the file", where=_flag(key))
        for key in ("weights", "head")
        if key in flags
    ]
    if against:
        raise SpecError(against)

    def where(keys: tuple[int | str, ...]) -> str:
        return source if keys[0] in told and keys[0] not in flags else _flag(str(keys[0]))

    spec = Spec.from_data(told | flags, where)
    return Described(spec, where, _notes(spec, flags, source, len(stored) - len(chosen.names)))


def _notes(spec: Spec, flags: dict[str, Any], source: str, others: int) -> tuple[str, ...]:
    """What was taken because shapes cannot tell it, as the flags that would say it; and what was passed over."""
    taken = {
        "nonlinearity": spec.nonlinearity and f"--nonlinearity {spec.nonlinearity}",
        "batch_first": "--batch-first",
        "dropout": f"--dropout {spec.dropout:g}" if spec.num_layers > 1 else None,
    }
    untold = [key for key in recurrent.UNTOLD if key not in flags and taken[key]]
    notes = []
    if untold:
        said = " ".join(str(taken[key]) for key in untold)
        notes.append(f"note: {source} does not say {' or '.join(untold)}; taken: {said}")
    if others:
        notes.append(f"note: {others} other tensor{'s' if others > 1 else ''} in the file left alone")
    return tuple(notes)


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def output(
    format: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="table or json (for shapes also markdown).",
            autocompletion=lambda: ["table", "json", "markdown"],
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file to write. A .npz file keeps every array.", rich_help_panel=_OUTPUT),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="No notes, warnings or progress; with -o no table.", rich_help_panel=_OUTPUT
        ),
    ] = False,
) -> Output:
    return Output(format, output, quiet)


def precision(
    precision: Annotated[int, typer.Option(min=1, max=17, help="Decimals in a table.", rich_help_panel=_OUTPUT)] = 4,
) -> int:
    return precision


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """With real types for annotations; keyword-only, so that every group's options stand side by side."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
    }


def _read(path: Path) -> tuple[dict[str, Any], Callable[[tuple[int | str, ...]], str]]:
    from rnnspect.files.yaml_file import read_spec_file  # loads yaml, which most commands do without

    return read_spec_file(path)


def _lengths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.strip("[] ").split(",")]
    except ValueError:
        raise InputError(f"{text!r} is no list of lengths", allowed="5,3,2", where="--lengths") from None
