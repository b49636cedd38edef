"""What was given on the command line of a network and its sequence, and what runs of it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from rnnspect.cli.describing import describe, flag
from rnnspect.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rnnspect.cli.describing import Described
    from rnnspect.cli.output import Output
    from rnnspect.network.spec import Spec
    from rnnspect.tracing.prepare import Prepared


@dataclass(frozen=True)
class Given:
    """A file, and the options that describe a network and its sequence, as they were typed."""

    path: Path | None
    options: Mapping[str, Any]
    """`module` and the keys of a spec by name; None for what was not typed."""

    @property
    def typed(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if value is not None}

    def describe(self, output: Output, path: Path | None = None) -> Described:
        """The spec that the file, or that at `path`, and the options describe together, with its notes on `output`.
        Options win over the file, but not over what a checkpoint's shapes say.

        Raises `SpecError` naming every key that is wrong, and `InputError` for an option that cannot be read.
        """
        keys = {name: _parsed(name, value) for name, value in self.typed.items() if name != "module"}
        described = describe(path or self.path, self.options["module"], keys)
        for note in described.notes:
            output.note(note)
        return described

    def as_typed(self, spec: Spec) -> str:
        """The same file and options for a shell."""
        parts = [str(self.path)] if self.path else []
        for name in sorted(self.typed, key=lambda name: (name != "module", name)):
            value = self.options[name] if name == "module" else getattr(spec, name)
            if isinstance(value, bool):
                parts.append(flag(name) if value else flag(f"no_{name}"))
            else:
                said = value.out_features if name == "head" else value
                parts += [flag(name), ",".join(map(str, said)) if isinstance(said, list) else str(said)]
        return shlex.join(parts)


def prepared(described: Described, needs: Callable[[Spec, int, int], int], engine: str | None = None) -> Prepared:
    """What runs, with the engine that was named, or the usual one. `needs` gives the bytes that the run takes."""
    from rnnspect import engines
    from rnnspect.tracing.prepare import by_its_own_node, prepare

    spec = described.spec
    made = prepare(spec, where=described.where, require_memory=needs)
    if spec.beyond_torch and isinstance(spec.weights, str):
        made = by_its_own_node(made)
    name = engine or described.engine
    return made if name == "torch" else replace(made, engine=engines.find(name, "--engine"))


def types_of(annotation: Any) -> list[Any]:
    """The types that a key may have, but for None: [int] of Annotated[int, …] | None."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return types_of(inner[0])
    if origin in (Union, UnionType):
        return [one for part in inner for one in types_of(part)]
    return [] if annotation is NoneType else [annotation]


def _parsed(name: str, value: Any) -> Any:
    """The value of a key as a spec has it, from what its option took."""
    from rnnspect.network.keys import Head, Keys

    kind = types_of(Keys.model_fields[name].annotation)[0]
    if kind is Head:
        return {"out_features": value}
    if get_origin(kind) is not list:
        return value
    text = value.strip("[] ")
    if types_of(get_args(kind)[0]) == [str]:
        return [part.strip() for part in re.split(r",(?![^()]*\))", text)]  # not at commas in parentheses
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{value!r} is no list of {name}", allowed="5,3,2", where=flag(name)) from None
