"""Whether a run is what the equations give, as an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.errors import InputError
from rnnspect.judging.verdict import Verdict
from rnnspect.network.spec import Spec
from rnnspect.tracing.given import GivenInput

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.checking.check import CheckTerms
    from rnnspect.checking.recording import HowRecorded
    from rnnspect.tracing.prepare import Prepared

_FOR_GRADIENTS = ("loss", "module")
"""What only a check of gradients takes."""


@overload
def check(
    source: Spec | nn.RNNBase | nn.RNNCellBase,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    recorded: Any = None,
    recorded_as: str | None = None,
    engine: str | Callable[..., Any] = "torch",
    arithmetic: str | None = None,
    explain: float | None = None,
    recover: bool = False,
    other_weights: Any = None,
    backward: bool = False,
    loss: Any = None,
    module: str | None = None,
) -> Verdict: ...
@overload
def check(
    source: nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    recorded: Any = None,
    recorded_as: str | None = None,
    engine: str | Callable[..., Any] = "torch",
    arithmetic: str | None = None,
    explain: float | None = None,
    recover: bool = False,
    other_weights: Any = None,
    backward: bool = False,
    loss: Any = None,
    module: str | None = None,
) -> Verdict | WatchedCalls: ...
def check(
    source: Spec | nn.Module,
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
    *,
    lengths: Any = None,
    recorded: Any = None,
    recorded_as: str | None = None,
    engine: str | Callable[..., Any] = "torch",
    arithmetic: str | None = None,
    explain: float | None = None,
    recover: bool = False,
    other_weights: Any = None,
    backward: bool = False,
    loss: Any = None,
    module: str | None = None,
) -> Verdict | WatchedCalls:
    """Checks whether a run is what the equations give, at every step, unit and layer that can be seen.

    Shapes: T steps, B items of a batch, I input_size, H hidden_size, P proj_size or else H, L layers, D directions.

    Args:
        source: A `Spec`, an nn.RNN, nn.LSTM, nn.GRU or cell, or a model with such modules in it, which runs as it is.
        x: The input: (T, I), or of a batch (T, B, I), with `batch_first` (B, T, I). A tensor, an array, nested lists,
            or a source such as "randn:100" or "x.npy". Of a cell (I,) or (B, I), of a model what it takes, or a tuple
            of that. If left out: the spec's own, or one that is drawn, and a note says which.
        h0: h before the first step: (L·D, P), of a batch (L·D, B, P); or (h0, c0). If left out: the spec's, or zeros.
        c0: c before the first step, of an LSTM: (L·D, H), of a batch (L·D, B, H). If left out: as h0.
        lengths: The number of steps of each item of the batch, (B,). If left out: all have T.
        recorded: What somebody's implementation gave; it is checked, and nothing runs. The output, of the shape that
            torch.nn gives; what a torch.nn module returns; or a mapping such as {"output": y, "h_n": h}.
        recorded_as: How those were rounded, if that is not plain to see: "%.3e", "decimals:4", "digits:5", "float16", …
        engine: What runs a `Spec`: a name such as "torch-cell" or "onnxruntime", or a function or class of your own.
        arithmetic: How exactly it has to compute, if its dtype does not say it: "tf32", "bfloat16-products", …
        explain: For how many seconds to look for the mistake in a run that differs. If left out: about 10 s of work.
        recover: Whether to recover the engine's parameters from its numbers (`Verdict.recovered`), with what they are.
        other_weights: With which checkpoint to compare them, too: a file, a module or a state_dict, or a list of these.
        backward: Whether to check the gradients, too: of every gate at every step, of x, h0, c0 and each parameter.
            Of a model those of one recurrent module, `module`. Recorded are then "grad.output", "grad.weight_ih_l0" …
        loss: With `backward` the loss, as `gradients` takes it. If left out: dL/d output is drawn, or "grad.output".
        module: With `backward` the name of the recurrent module in a model. If left out: the first one that it calls.

    Returns:
        The verdict: "agree", "differ" or "cannot tell", true only for "agree". Of a model that makes several calls of
            its recurrent modules, all as `watch` gives them; true if all agree.

    Raises:
        RnnspectError: If the arguments do not fit together or cannot be run. A run that differs raises nothing.

    Examples:
        >>> import rnnspect, torch
        >>> rnnspect.check(torch.nn.GRU(3, 4, batch_first=True), torch.randn(2, 20, 3)).verdict
        'agree'
    """
    given = GivenInput(x, h0, c0, lengths)
    _refuse_beside(backward, loss=loss, module=module, recover=recover or None, other_weights=other_weights)
    asked = _Asked(source, given, recorded, recorded_as, engine, arithmetic, explain)
    return _checked_backward(asked, loss, module) if backward else _checked(asked, recover, other_weights)


def _refuse_beside(backward: bool, **given: Any) -> None:
    """Raises `InputError` for what only a check of gradients takes, or only one without them."""
    for name, of in given.items():
        if of is None or (name in _FOR_GRADIENTS) == backward:
            continue
        if backward:
            raise InputError("a check of gradients recovers no weights", advice="leave backward out", where=name)
        raise InputError(f"a {name} is for gradients", advice=f"pass backward=True, or leave {name} out", where=name)


@dataclass(frozen=True)
class _Asked:
    """The arguments of `check` that values and gradients have in common."""

    source: Spec | nn.Module
    given: GivenInput
    recorded: Any
    recorded_as: str | None
    engine: str | Callable[..., Any]
    arithmetic: str | None
    explain: float | None

    def __post_init__(self) -> None:
        if self.recorded_as is not None and self.recorded is None:
            found = "recorded_as says how a recording was kept, and there is none"
            raise InputError(found, advice="pass recorded=…, or leave recorded_as out", where="recorded_as")

    @property
    def is_run(self) -> bool:
        return self.recorded is None

    def terms(self) -> CheckTerms:
        from rnnspect.checking.check import CheckTerms
        from rnnspect.judging import declared

        return CheckTerms(declared.named(self.arithmetic, "arithmetic") if self.arithmetic else None, self.explain)

    def how(self) -> HowRecorded:
        from rnnspect.checking.recording import HowRecorded
        from rnnspect.judging import rounding

        return HowRecorded(rounding=rounding.named(self.recorded_as, "recorded_as"))


def _checked(asked: _Asked, recover: bool, other_weights: Any) -> Verdict | WatchedCalls:
    from rnnspect.checking.check import check_prepared, judge_recorded, judge_recording
    from rnnspect.checking.drawn_input import on_long_input
    from rnnspect.checking.other_checkpoints import checkpoints_of
    from rnnspect.network.torch_modules import is_model

    recover, terms = recover or other_weights is not None, asked.terms()
    if is_model(asked.source):
        from rnnspect.checking.live.runs import checked

        if recover:
            advice = "check its module: rnnspect.check(model.lstm, x, recover=True)"
            raise InputError("this is for a recurrent network, not for a whole model", advice=advice, where="recover")
        own = None if asked.engine == "torch" else asked.engine
        beside = {"recorded": asked.recorded, "arithmetic": asked.arithmetic, "recorded_as": asked.recorded_as}
        return checked(asked.source, vars(asked.given) | beside | {"engine": own}, asked.explain)
    prepared, draw = _prepared(asked, None)
    others = checkpoints_of(other_weights, prepared.spec, "other_weights")
    if asked.is_run and not recover:
        return check_prepared(prepared, terms, draw)
    if asked.is_run:
        prepared = on_long_input(prepared) if draw else prepared
        judged = judge_recording(prepared, prepared.run(), terms)
    else:
        judged = judge_recorded(prepared, _as_steps(asked.source, asked.recorded), terms, asked.how())
    return judged.with_recovery(checkpoints=others) if recover else judged.verdict


def _as_steps(source: Spec | nn.Module, recorded: Any) -> Any:
    """What a live cell returned for one step, h or (h, c), as a sequence of it has it."""
    from rnnspect.network.torch_modules import is_cell

    if not is_cell(source) or isinstance(recorded, Mapping):
        return recorded
    states = recorded if isinstance(recorded, tuple) else (recorded,)
    if not all(getattr(state, "ndim", 0) in (1, 2) for state in states):
        return recorded
    return dict(zip(("h_n", "c_n"), (state[None] for state in states), strict=False))


def _checked_backward(asked: _Asked, loss: Any, module: str | None) -> Verdict:
    from rnnspect.checking.backward import check_backward, judge_recorded_backward
    from rnnspect.checking.drawn_input import judged_on_drawn
    from rnnspect.network.losses import loss_of
    from rnnspect.network.torch_modules import is_model

    if is_model(asked.source) and (asked.recorded is not None or asked.engine != "torch"):
        found = "this is for a recurrent network, not for a whole model"
        where = "engine" if asked.is_run else "recorded"
        raise InputError(found, advice="check its module: rnnspect.check(model.lstm, x, backward=True)", where=where)
    terms = asked.terms()

    def judge(prepared: Prepared) -> Verdict:
        chosen = None if loss is None else loss_of(loss, prepared.spec, prepared.sequence, "loss")
        if asked.is_run:
            return check_backward(prepared, chosen, terms)
        return judge_recorded_backward(prepared, asked.recorded, chosen, terms, asked.how())

    prepared, draw = _prepared(asked, module)
    return judged_on_drawn(prepared, judge) if draw else judge(prepared)


def _prepared(asked: _Asked, module: str | None) -> tuple[Prepared, bool]:
    """The run, or what a recording is judged by; and whether its x is to be drawn, as nobody gave one."""
    from rnnspect.checking.drawn_input import is_missing
    from rnnspect.checking.live.called import prepare_source
    from rnnspect.network.torch_modules import is_model

    source, given = asked.source, asked.given
    draw = asked.is_run and given.x is None and given.lengths is None and not is_model(source)
    draw = draw and (not isinstance(source, Spec) or is_missing(source))
    if draw and not isinstance(source, Spec):
        given = GivenInput("zeros:1", given.h0, given.c0)  # a module says no input; a drawn one follows
    prepared = prepare_source(source, given, module, asked.engine if asked.is_run else "torch")
    return prepared.with_an_engine() if asked.is_run else prepared, draw
