from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from rnnspect.cli import completion
from rnnspect.cli.describing import Given
from rnnspect.cli.options import DIRECTIONS, ENGINES, QUANTITIES, choice, command, formats, in_output, network
from rnnspect.cli.output import Output, loading, note_what_is_not_finite, progress_bar
from rnnspect.cli.running import prepared
from rnnspect.cli.values import flag
from rnnspect.errors import InputError

if TYPE_CHECKING:
    from rnnspect.tracing.prepare import Prepared

_which = functools.partial(typer.Option, rich_help_panel="Which number")


_GRADIENT = "dL/d weight_hh_l0[3,1], h0[1]; with --step: i[3], s_i[3], or that step's part of a weight's"
_LOSS = "sum (default), mean or last of the output, FILE with dL/d output, mse:FILE with a target, drawn (random)"


@dataclass(frozen=True)
class Which:
    """The options that say which number."""

    step: Annotated[int | None, _which(help="Step; -1 is the last")] = None
    unit: Annotated[int | None, _which(help="Unit")] = None
    quantity: Annotated[
        str | None,
        _which(help="h (default), c or a gate: f or forget", **(choice((), QUANTITIES) | {"metavar": "NAME"})),
    ] = None
    layer: Annotated[int, _which(help="Layer (default 0)")] = 0
    direction: Annotated[str | None, _which(help="Direction; default the first", **choice(DIRECTIONS))] = None
    batch_index: Annotated[int, _which(help="Which item of the batch (default 0)")] = 0
    gradient: Annotated[str | None, _which(help=_GRADIENT, metavar="NAME")] = None
    loss: Annotated[str | None, _which(help=_LOSS, metavar="LOSS")] = None

    def at(self) -> tuple[int, int]:
        """The step and the unit of a number that is no gradient."""
        if self.step is None or self.unit is None:
            missing = "step" if self.step is None else "unit"
            advice = "say which number: --step 0 --unit 0, or --gradient; rnnspect derive --help shows more"
            raise InputError(f"the {missing} is missing", advice=advice, where=flag(missing))
        if self.loss is not None:
            raise InputError("a loss has no effect on this number", advice="add --gradient", where="--loss")
        return self.step, self.unit

    def check_gradient(self) -> None:
        """Raises `InputError` for options that say nothing of a gradient."""
        for name in ("unit", "quantity"):
            if getattr(self, name) is not None:
                advice = "write it into the name: --gradient 'f[1]' is dL/df of unit 1"
                raise InputError("has no effect on a gradient", advice=advice, where=flag(name))


@command("rnnspect derive --cell lstm --input randn:100 --step 99 --unit 0")
def derive(
    given: Annotated[Given, network()],
    output: Annotated[Output, formats("table", "json", "markdown")],
    which: Which,
    engine: Annotated[
        str | None,
        _which(help=f"Engine to compare with: {ENGINES}", metavar="ENGINE", autocompletion=completion.engines),
    ] = None,
    every: Annotated[bool, in_output("--all", help="Every product of a sum, not only the largest")] = False,
    precision: Annotated[int, in_output(min=1, max=17, help="Digits in the table")] = 9,
) -> None:
    """One number or one gradient as arithmetic, down to the inputs.

    A gradient is written by the chain rule, or as the sum of what the steps add."""
    from rnnspect.network import memory

    if which.gradient is not None:
        which.check_gradient()
        made, _ = prepared(given, output, memory.derived_gradient_needs, engine, back=True)
        _derive_gradient(made, which, output, every, precision)
        return
    step, unit = which.at()
    made, _ = prepared(given, output, memory.run_needs, engine)
    with loading():
        from rnnspect.reporting.data import Address
        from rnnspect.reporting.deriving import derive_prepared, locate
        from rnnspect.views import derive as view
        from rnnspect.views import documents

    asked = Address(
        layer=which.layer,
        direction=which.direction or "",
        step=step,
        batch=which.batch_index,
        unit=unit,
        quantity=which.quantity or "h",
    )
    at = locate(made, asked, flag)
    note_what_is_not_finite(made.sequence, output)
    with progress_bar("stepping through the cell states", made.sequence.steps, output.quiet) as progress:
        found = derive_prepared(made, at, progress)
    output.emit(
        lambda _width: view.parts(found, precision, every),
        document=lambda: documents.derivation_document(found),
        markdown=lambda: view.as_markdown(found, every),
    )


def _derive_gradient(made: Prepared, which: Which, output: Output, every: bool, precision: int) -> None:
    with loading():
        from rnnspect.network.losses import loss_of
        from rnnspect.reporting.data import Address
        from rnnspect.reporting.gradients.deriving import derive_gradient
        from rnnspect.reporting.gradients.locating import located
        from rnnspect.views import derive_gradient as view

    place = Address(layer=which.layer, direction=which.direction or "", step=0, batch=which.batch_index, unit=0)
    at = located(made, which.gradient or "", place, which.step, flag)
    loss = loss_of(which.loss or "sum", made.spec, made.sequence, "--loss")
    note_what_is_not_finite(made.sequence, output)
    with progress_bar("computing the gradients", 2 * made.steps_of_layers, output.quiet) as progress:
        found = derive_gradient(made, at, loss, progress)
    output.emit(
        lambda _width: view.parts(found, precision, every),
        document=lambda: view.gradient_document(found),
        markdown=lambda: view.as_markdown(found, every),
    )
