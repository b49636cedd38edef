"""A command, and how its options are declared.

A parameter of a command's function is one option, declared in its annotation as typer has it. A parameter that is a
dataclass, or whose annotation holds an `OptionGroup`, stands for several options: typer sees all of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from rnnspect.cells import CELLS
from rnnspect.cli import completion
from rnnspect.cli import help as text
from rnnspect.cli.describing import Given
from rnnspect.cli.output import Output
from rnnspect.cli.values import types_of
from rnnspect.errors import listed

Options = list[inspect.Parameter]

ENGINES = "torch, keras, …, mine.py:MyLSTM or model.onnx"
DIRECTIONS = ("forward", "reverse")
QUANTITIES = sorted({name for cell in CELLS.values() for name in cell.quantities})
_HEADINGS = {"network": text.NETWORK, "variant": text.VARIANTS, "sequence": text.INPUT}
_RARE = ("nonlinearity", "proj_size", "batch_first", "dropout", "layout", "head")
"""Options that --help only names, as most runs do without them."""
in_output = functools.partial(typer.Option, rich_help_panel=text.OUTPUT)
"""An option of what is written, and where, under the heading Output."""
shown = functools.partial(typer.Option, rich_help_panel="What to show")
rarely = functools.partial(typer.Option, rich_help_panel=text.RARE)
LOSS: dict[str, Any] = {
    "help": "With --backward: sum (default), mean or last of the output, FILE with dL/d output, mse:FILE or drawn "
    "(random)",
    "metavar": "LOSS",
    "autocompletion": lambda: ["sum", "mean", "last", "drawn"],
}
"""What --loss says, under whatever heading."""
ARITHMETIC: dict[str, Any] = {
    "help": "The engine's arithmetic: tf32, …; default: by dtype",
    "metavar": "NAME",
    "autocompletion": completion.arithmetics,
}


@dataclass(frozen=True)
class OptionGroup:
    """Options that a command takes as one argument."""

    options: Options
    read: Callable[..., Any]
    """Makes the argument of what was given for each option, by name."""


@dataclass(frozen=True)
class Command:
    """A command: a function that returns its exit status, or None for 0. Its docstring is the text of --help."""

    function: Callable[..., int | None]
    example: str

    @property
    def name(self) -> str:
        return self.function.__name__

    def build(self) -> Any:
        """The command as typer runs it, with all its options."""
        app = typer.Typer(add_completion=False)
        example = f"Example:  {self.example}"
        run = _flat(self.function)
        app.command(self.name, cls=text.PlainCommand, epilog=example)(run)
        built = typer.main.get_command(app)
        kinds = {one.name: text.metavar_of(one.annotation) for one in inspect.signature(run).parameters.values()}
        for option in built.params:  # how typer keeps an option's type is its own, and changes
            if option.metavar is None and option.param_type_name == "option":
                option.metavar = kinds.get(option.name or "")
        return built


def command(example: str) -> Callable[[Callable[..., int | None]], Command]:
    """Makes a command of a function, under the function's name."""
    return lambda function: Command(function, example)


def choice(words: Collection[str], others: Collection[str] = ()) -> dict[str, Any]:
    """The arguments of `typer.Option` for an option that takes one of a few words, or is completed by `others`."""
    offered = list(words or others)
    return {"metavar": "|".join(words) or None, "autocompletion": (lambda: offered) if offered else None}


def formats(*names: str, arrays: bool = False, file: bool = True) -> OptionGroup:
    """The options of a result that has these formats, as an `Output`. The first is shown where none is asked for;
    with `arrays` a .npz file keeps every array; without `file` the result goes to stdout alone."""

    def read(format: str | None, quiet: bool, output: Path | None = None) -> Output:  # noqa: A002 - the option's name
        chosen = Output(format, output, quiet)
        chosen.check(names, arrays)
        return chosen

    kept = "; .npz keeps every array" if arrays else ""
    written = in_output("--format", "-f", help=listed(names), metavar="NAME", autocompletion=lambda: list(names))
    to = in_output("--output", "-o", help=f"File to write{kept}")
    silent = "No notes or progress; with -o, no table" if file else "No notes or warnings"
    options = [
        _optional("format", Annotated[str | None, written]),
        *([_optional("output", Annotated[Path | None, to])] if file else []),
        _optional("quiet", Annotated[bool, in_output("--quiet", "-q", help=silent)], False),
    ]
    return OptionGroup(options, read)


def network(source: bool = True, sequence: bool = True, leave_out: Collection[str] = ()) -> OptionGroup:
    """The options that describe a network and its sequence, as `Given`: a file, a module in it, and every key of a
    spec. Without `source` there is no file among them, without `sequence` no key that says what the network runs on."""
    from rnnspect.network.spec_keys import KEYS  # with what validates a spec; --help of all commands needs neither

    def read(spec: Path | None = None, **options: Any) -> Given:
        return Given(spec, options)

    names = [name for name, key in KEYS.items() if sequence or key.kind != "sequence"]
    keys = [_of_key(name) for name in names if name not in leave_out]
    return OptionGroup([*([_SOURCE] if source else []), _MODULE, _NAMES, *keys], read)


def _of_key(name: str) -> inspect.Parameter:
    """The option for a key of a spec."""
    from rnnspect.network.spec_keys import KEYS, Head, Keys

    key, kind = KEYS[name], types_of(Keys.model_fields[name].annotation)[0]
    choices = key.choices or (get_args(kind) if get_origin(kind) is Literal else ())
    taken = kind if kind in (bool, int, float) else int if kind is Head else str
    said = choice(choices, key.completions) | completion.OF_KEYS.get(name, {})
    declared = (f"--{name}", *key.short) if key.short else ()
    heading = text.RARE if name in _RARE else _HEADINGS[key.kind]
    option = typer.Option(*declared, help=_with_default(name), rich_help_panel=heading, **said)
    return _optional(name, Annotated[taken | None, option])


def _with_default(name: str) -> str:
    """The help of a key, with its default where that is a word or a number that it does not say itself."""
    from rnnspect.network.spec_keys import DEFAULTS, KEYS

    said, default = KEYS[name].help.rstrip("."), DEFAULTS[name]
    plain = default in (None, 0) or isinstance(default, bool) or "default" in said
    return said if plain else f"{said} (default {default})"


def _optional(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_SOURCE = _optional(
    "spec",
    Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="A spec in YAML (options override it), a file of weights or a model (PyTorch, Keras, ONNX, …), "
            "or a live PyTorch model: path/to/model.py:build",
            show_default=False,
        ),
    ],
)
_WHICH = "Recurrent module in the file: encoder.rnn, encoder.*"
_CALLED = "Names of the parameters in the file: weight_ih_l0=enc_w_ih,weight_hh_l0=…"
_NAMES = _optional("names", Annotated[str | None, typer.Option(help=_CALLED, rich_help_panel=text.RARE)])
_MODULE = _optional(
    "module", Annotated[str | None, typer.Option(help=_WHICH, rich_help_panel=text.NETWORK, metavar="NAME")]
)
_HELP_ALL = _optional(
    "help_all",
    Annotated[bool, in_output("--help-all", is_eager=True, callback=text.show_all, help="Show every option")],
    False,
)


def _flat(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The function as typer takes it: a parameter for each option, where the function has one for each group."""
    groups = {parameter.name: _group_of(parameter) for parameter in _parameters(function)}

    def run(**given: Any) -> int | None:
        arguments = {
            name: group.read(**{option.name: given[option.name] for option in group.options})
            for name, group in groups.items()
        }
        return function(**arguments)

    run.__doc__ = function.__doc__
    every = [option for group in groups.values() for option in group.options]
    has_more = any(option in every for option in (_NAMES, _MODULE))
    run.__signature__ = inspect.Signature([*every, _HELP_ALL] if has_more else every)  # type: ignore[attr-defined]
    return run


def _group_of(parameter: inspect.Parameter) -> OptionGroup:
    made: Any = parameter.annotation
    for said in get_args(made):
        if isinstance(said, OptionGroup):
            return said
    if is_dataclass(parameter.annotation):
        return OptionGroup(_parameters(made), made)
    return OptionGroup([parameter], lambda **given: given[parameter.name])


def _parameters(function: Callable[..., Any]) -> Options:
    """The parameters, with types for annotations in place of text; keyword-only, so that groups can be joined."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
    ]
