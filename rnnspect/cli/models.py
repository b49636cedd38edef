"""Models as sources of a command. A live model, path/to/model.py:build, runs once on the input, and what its recurrent
modules received and returned is checked or shown; so does an .onnx model in a check."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.cli.describing import Described, Given
from rnnspect.cli.output import Output, checking, working
from rnnspect.cli.values import flag
from rnnspect.engines.own.loading import FORM, load_model, names_in
from rnnspect.errors import InputError, Problem, SpecError, listed
from rnnspect.files.reading import named_alike
from rnnspect.files.silenced import printing_to_stderr
from rnnspect.files.sources import Generator, parse
from rnnspect.judging.verdict import EXIT_STATUS, Identity, Skipped, Verdict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnnspect.checking.check import CheckTerms
    from rnnspect.checking.live.watch import WatchedCalls
    from rnnspect.judging.declared import Declared
    from rnnspect.network.shapes import ModelShapes
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared


MOST_LISTED = 12
"""Nodes that a note names before it counts the rest."""
_OF_ITS_INPUT = {"input", "batch", "input_size", "seed", "device", "names"}
"""Options that may be given beside a live model; `names` is refused where files of weights are looked for."""


@dataclass(frozen=True)
class CheckRow:
    """One source, or one call of a live model's module: its verdict, or why there is none."""

    source: str
    found: Verdict | Skipped | str
    status: int
    subject: str = ""
    """What was checked, where that is not its engine: a recording, or a call in a model."""
    then: str = ""
    """The next command to type."""


def refuse_8_bits(source: str, given: Given) -> None:
    """Raises `InputError` where recorded numbers are to be held against a node of an ONNX model with 8-bit weights."""
    from rnnspect.weights.readers.onnx import check_is_of_floats

    check_is_of_floats(Path(source), given.options["module"])


def onnx_rows(source: str, flags: Mapping[str, Any], terms: CheckTerms, output: Output) -> list[CheckRow]:
    """A row for each call of each recurrent node of an ONNX model; `flags` are the options of the command."""
    from rnnspect.checking.onnx.check import check_model

    beyond = [name for name in flags if flags[name] is not None and name not in ("module", "input", "batch", "seed")]
    if beyond:
        said = "cannot be used with an ONNX model, which defines its network"
        advice = "it takes --module, --input, --batch and --seed"
        raise InputError(said, advice=advice, where=flag(beyond[0]))
    seed = 1 if flags["seed"] is None else flags["seed"]
    found = check_model(Path(source), flags["input"], flags["module"], flags["batch"], seed, terms)
    for warning in found.warnings:
        output.note(warning)
    if found.never_ran:
        output.note(f"note: {source} {listed(found.never_ran, MOST_LISTED)} never ran")
    if not found.calls:
        raise InputError("no recurrent node ran on this input", where=source)
    return [
        row_of_call(f"{source} {one.node}" + ("" if one.index is None else f", call {one.index}"), one.found)
        for one in found.calls
    ]


def row_of_call(label: str, found: Verdict | str) -> CheckRow:
    return CheckRow(label, found, EXIT_STATUS["cannot tell"] if isinstance(found, str) else found.exit_status, label)


def or_unchecked(rows: list[CheckRow], output: Output) -> list[CheckRow]:
    """The rows of a source; where no engine could run it, with the status of what cannot be told."""
    if not all(isinstance(row.found, Skipped) for row in rows):
        return rows
    output.note("note: no engine can run this, so nothing was checked")
    return [replace(row, status=EXIT_STATUS["cannot tell"]) for row in rows]


def refuse_no_name(sources: list[str] | None) -> None:
    """A variable of CI that was never set would pass, with nothing checked."""
    if sources and not all(sources):
        raise InputError("the name of a source is empty", advice=f"say what to check, such as {_SOURCES}", where="FILE")


def tell_of_no_network(output: Output) -> None:
    """A note; an error where the answer is a file for CI, which would pass."""
    if output.writes("junit"):
        raise InputError(
            "no network was given: nothing of yours would be checked", advice=f"say what to check, such as {_SOURCES}"
        )
    output.note(f"note: no network was given; this is the built-in example. Check yours: rnnspect check {_SOURCES}")


def note_no_comparison(sources: list[str], output: Output) -> None:
    """Whoever names a checkpoint and an .onnx file may mean the one against the other."""
    onnx = [source for source in sources if source.endswith(".onnx")]
    weights = [source for source in sources if source.endswith((".pt", ".pth", ".bin", ".safetensors", ".npz"))]
    if onnx and weights:
        how = f"rnnspect check {weights[0]} --engine {onnx[0]}"
        output.note(f"note: each file is checked by itself; to compare them: {how}")


SEQUENCE = {"input", "h0", "c0", "lengths", "batch"}
"""Keys of a spec that say nothing of the network."""
_SOURCES = "model.pt, model.py:build, net.yaml, or options such as --cell lstm"
_SAY_AN_INPUT = "--input x.npy, or a random one: --input randn:20 --input-size 40, --input randint:20:5000"


@dataclass(frozen=True)
class LiveRun:
    """A model that ran on x."""

    model: nn.Module
    x: Tensor
    seen: WatchedCalls
    described: Described
    """What the options say of its input."""


def unnamed(source: str) -> InputError:
    """The error for a Python file without the name of a function or class in it. The file is read, never run."""
    path = Path(source)
    if not path.is_file():
        return InputError("no such file", allowed=FORM, nearest=named_alike(path), where=source)
    names = names_in(path)
    choices = listed(f"{source}:{name}" for name in names) if names else f"{source}:build, a function that gives it"
    return InputError("names no function or class that gives the model", allowed=choices, where=source)


def shapes(source: str, given: Given, output: Output) -> ModelShapes:
    """The modules of the model with their sizes, and the shapes of its recurrent ones, or of those that --module
    chooses. The model does not run."""
    from rnnspect.network.torch_modules import shapes_of_model
    from rnnspect.weights.readers.interface import matching

    model, _ = _loaded(source, given, output)
    found = shapes_of_model(model)
    if not found.recurrent and not found.refused:
        output.note(f"note: {source} has no RNN, LSTM, GRU or cell in it")
    if (name := given.options["module"]) is None:
        return found
    chosen = matching(found.recurrent, name, source, "recurrent module", lambda one: f"({one.module})")
    return replace(found, recurrent=chosen)


def run_once(source: str, given: Given, output: Output) -> LiveRun:
    """The model that the source names, run once on the input that the options say, or on one that is drawn for it,
    which a note says. Raises `InputError` where no recurrent module was called."""
    from rnnspect.checking.live.inputs import check_one_input, drawn_for, inputs_for
    from rnnspect.checking.live.runs import advice_without, run_first

    model, described = _loaded(source, given, output)
    check_one_input(model)
    spec, sized, is_said = described.spec, "input_size" in described.given, "input" in described.given
    with printing_to_stderr():  # what the model prints is no part of the result
        drawn = [] if sized or is_said else drawn_for(model, spec.batch, spec.seed)
        try:
            with working(f"running {source}", output.quiet):
                one, seen = run_first(model, drawn or inputs_for(model, spec, described.where, sized))
        except InputError as error:
            if is_said:
                raise
            said = [replace(problem, allowed=problem.allowed or _SAY_AN_INPUT) for problem in error.problems]
            raise InputError(said) from None
    if one.said:
        output.note(f"note: {one.said}; {'--input chooses another' if drawn else '--batch sets how many'}")
    if not seen.calls:
        raise InputError("the model called no RNN, LSTM, GRU or cell", where=source, advice=advice_without(seen))
    return LiveRun(model, one.x, seen, described)


def _loaded(source: str, given: Given, output: Output) -> tuple[nn.Module, Described]:
    """The model on its device, and what the options say of its input."""
    from rnnspect.network.device import resolve

    asked = replace(given, path=None, options={**given.options, "module": None})
    if its_own := sorted(set(asked.typed) - _OF_ITS_INPUT):
        said = "cannot be used with a live model, which has its own"
        raise SpecError([Problem(said, where=flag(key)) for key in its_own])
    described = asked.describe(output)
    _refuse_what_is_ignored(described)
    place = resolve(described.spec, "--device") if "device" in described.given else None
    model = load_model(source)
    return (model if place is None else model.to(place)), described


def live_rows(
    source: str, given: Given, held_to: Declared | None, explain: float | None, output: Output
) -> list[CheckRow]:
    """A row for each call of each recurrent module of a live model, or of those that --module chooses."""
    from rnnspect.checking.live.called import names_like
    from rnnspect.checking.live.runs import beside_the_calls

    if held_to:
        raise InputError("cannot be used with a live model, whose dtypes decide", where="--arithmetic")
    run = run_once(source, given, output)
    seen = run.seen.of(names_like(run.seen, given.options["module"], source))
    if not seen.calls:
        raise InputError(f"{listed(map(repr, seen.modules))} of this model was never called", where=source)
    found: list[CheckRow] = []
    with printing_to_stderr(), working(f"running {source} again", output.quiet):
        every = _identities(run, seen)
    with checking(seen.steps, output.quiet) as so_far:
        verdicts = seen.check(explain, so_far)
    for one, identities in zip(verdicts, every, strict=True):
        said: Verdict | str = f"cannot tell: {one.reason}"
        if one.verdict is not None:
            said = replace(one.verdict, identities=(*one.verdict.identities, *identities))
        row = row_of_call(f"{source} {one.name or 'itself'}, call {one.index}", said)
        if not found and one.verdict is not None and one.verdict.verdict == "differ":  # a report shows the first call
            typed = " ".join(filter(None, (shlex.quote(source), given.as_typed(run.described.spec))))
            row = replace(row, then=f"rnnspect report {typed} -o report.html")
        found.append(row)
    for said in beside_the_calls(seen):
        output.note(f"note: {source}: {said}")
    return found


def _identities(run: LiveRun, asked: WatchedCalls) -> list[tuple[Identity, ...]]:
    """What has to hold for each of the calls that are asked about, tried by running the model again. With other items
    in the batch only where the input was generated, as it is not known of any other which axis is the batch."""
    from rnnspect.checking.live.runs import beside_another, evaluated_twice, run_again

    model, x, every = run.model, run.x, run.seen.calls
    twice = evaluated_twice(model, x, every)
    found = [(*one, *alone) for one, alone in zip(twice, run_again(model, every), strict=True)]
    if run.described.spec.batch is not None and all(one.holds for call in twice for one in call):
        mixed = beside_another(model, x, every)
        found = [
            (*(one for one in of_call if one.name not in [mixes.name for mixes in worse]), *worse)
            for of_call, worse in zip(found, mixed, strict=True)
        ]
    return [one for call, one in zip(every, found, strict=True) if call.module in asked.modules]


def prepared_call(
    source: str, given: Given, output: Output, needs: Callable[[Spec, int, int], int]
) -> tuple[Prepared, Described]:
    """The first call of the first recurrent module of a live model, or of the first that --module chooses, as a run
    that is traced, derived or reported. A note says which it is, and how another is chosen."""
    from rnnspect.checking.live import called

    run = run_once(source, given, output)
    made, said = called.prepared_call(run.seen, given.options["module"], "--module", source, needs)
    output.note(f"note: {source}: {said}")
    return made, run.described


def _refuse_what_is_ignored(described: Described) -> None:
    """Raises `SpecError` for sizes and a seed that say nothing of an input that is not generated."""
    given = described.spec.input
    source = parse(given) if isinstance(given, str) else None
    used = {"input", "device"}
    if isinstance(source, Generator):
        used |= {"batch"} | (set() if source.kind == "randint" else {"input_size"})
        is_drawn = source.kind in ("randn", "randint") or "input" not in described.given
        used |= {"seed"} if is_drawn else set()
    advice = {"seed": "pass --input randn:100"}
    other = "pass a generator, such as --input randn:100"
    if ignored := sorted(described.given - used):
        said = "has no effect on this input"
        raise SpecError([Problem(said, advice=advice.get(key, other), where=flag(key)) for key in ignored])
