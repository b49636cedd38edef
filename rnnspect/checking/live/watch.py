"""Every recurrent module of a live model, checked on what it really received and returned."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rnnspect.checking.live.calls import Call, CallVerdict, CapturedCall
from rnnspect.errors import listed
from rnnspect.network.shown import Shown, counted, in_brief

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.checking.live.capture import Listener
    from rnnspect.judging.finding import Progress
    from rnnspect.judging.verdict import Answer

_ADDING = threading.RLock()
"""Held while a call is added: a model may be called from several threads."""


class WatchedCalls(Shown):
    """What `watch` has seen. It grows while the model is watched."""

    def __init__(self, names: tuple[str, ...], memory: int, unwatched: dict[str, str] | None = None) -> None:
        self.modules = names
        """Every recurrent module by its name in the model, in the model's order."""
        self.unwatched = unwatched or {}
        """What each recurrent module is that is not watched, by its name in the model: "quantized LSTM"."""
        self._left = memory
        self._counts: Counter[str] = Counter()
        self._calls: list[Call] = []
        self._judged: list[CallVerdict] = []

    @property
    def calls(self) -> tuple[Call, ...]:
        """In the order in which they returned."""
        return tuple(self._calls)

    @property
    def never_called(self) -> tuple[str, ...]:
        called = {call.module for call in self._calls}
        return tuple(name for name in self.modules if name not in called)

    def of(self, names: Container[str]) -> WatchedCalls:
        """What was seen so far of some modules alone.

        Args:
            names: Their names in the model, such as {"encoder"}.
        """
        found = WatchedCalls(tuple(name for name in self.modules if name in names), 0)
        found._calls = [call for call in self._calls if call.module in names]
        return found

    @property
    def agrees(self) -> bool:
        """Whether every call does."""
        return self.verdict == "agree"

    def __bool__(self) -> bool:
        return self.agrees

    @property
    def steps(self) -> int:
        """The steps of all calls that were kept, in all their layers and directions together."""
        return sum(call.steps for call in self._calls)

    def check(self, explain: float | None = None, progress: Progress | None = None) -> tuple[CallVerdict, ...]:
        """Checks every call on its own, in their order; what was checked before is not checked again.

        Of a stack only the top layer is seen at each step; the layers below are estimated. One step alone can leave a
        gate untested: f, where the step begins with c = 0. Where one call alone cannot tell, all calls of its module
        together are checked.

        Args:
            explain: For how many seconds to look for the mistake in each call that differs. If left out: about 10 s of
                work.
            progress: Is told what was found so far, and how many steps more were checked.

        Returns:
            The verdict on each call. It is true where the call agrees.
        """
        from rnnspect.checking.check import CheckTerms
        from rnnspect.checking.live.judged import judged, judged_together
        from rnnspect.judging.finding import silent

        CheckTerms(explain=explain)  # refuses what is no number of seconds, also where no call differs
        for call in self._calls[len(self._judged) :]:
            self._judged.append(judged(call, explain, progress or silent))
        return judged_together(self._judged)

    @property
    def worst(self) -> CallVerdict | None:
        """The first call that differs, else the first that cannot be told, else the one nearest to its bound."""
        checked = self.check()
        for answer in ("differ", "cannot tell"):
            if found := [one for one in checked if one.answer == answer]:
                return found[0]
        return max(checked, key=_ratio, default=None)

    @property
    def verdict(self) -> Answer:
        """The worst of all calls; `cannot tell` where there were none."""
        worst = self.worst
        return "cannot tell" if worst is None else worst.answer

    def __repr__(self) -> str:
        """<WatchedCalls 3 calls of 2 modules: encoder, decoder>. Judges nothing."""
        called = list(dict.fromkeys(call.module or "the model" for call in self._calls))
        count = f"{counted(len(self._calls), 'call')} of {counted(len(called), 'module')}"
        return in_brief(self, f"{count}{': ' if called else ''}{listed(called, 6)}")

    def _reserve(self, size: int) -> bool:
        """Whether so many bytes may still be kept; they then are."""
        with _ADDING:
            if size > self._left:
                return False
            self._left -= size
            return True

    def _add(self, name: str, kind: str, shape: tuple[int, ...], packed: bool, kept: CapturedCall | str) -> None:
        with _ADDING:
            self._calls.append(Call(name, kind, self._counts[name], shape, packed, kept))
            self._counts[name] += 1


@contextmanager
def watch(model: nn.Module, memory: int = 2**30) -> Iterator[WatchedCalls]:
    """Watches every RNN, LSTM, GRU and cell of torch.nn in a model while the model runs, to check each call afterwards.

    The model runs as it would: nothing is checked inside of the `with` block. The hooks go when the block is left,
    however it is left. A module whose `forward` is called by hand, or that was scripted or quantised, is not seen. Of a
    call of a subclass that is given more than x and a state, the verdict is "cannot tell". torch.jit.script does not
    compile hooks: script the model before the block or after it, and no copy that was made within it.

    Args:
        model: The model, or one such module itself.
        memory: How many bytes of what the calls received and returned, and of the parameters that they ran with, are
            kept, as copies on the CPU. A call beyond that is listed, and its verdict is "cannot tell".

    Yields:
        The calls. They grow while the model runs; `check` gives the verdict on each, and the whole is true if all
            agree: `assert seen`.

    Examples:
        >>> import rnnspect, torch
        >>> model = torch.nn.ModuleDict({"encoder": torch.nn.LSTM(3, 4), "decoder": torch.nn.GRUCell(4, 5)})
        >>> with rnnspect.watch(model) as seen:
        ...     last = model["decoder"](model["encoder"](torch.randn(20, 2, 3))[0][-1])
        >>> [(one.name, one.answer) for one in seen.check()]
        [('encoder', 'agree'), ('decoder', 'agree')]
    """
    from rnnspect.checking.live.capture import Listener
    from rnnspect.network.torch_modules import is_cell, is_stack, kind_of, unwatched_in

    chosen = [(name, module) for name, module in model.named_modules() if is_stack(module) or is_cell(module)]
    seen = WatchedCalls(tuple(name for name, _ in chosen), memory, unwatched_in(model))
    listeners: list[Listener] = []
    try:
        for name, module in chosen:
            listeners.append(Listener(module, seen._reserve, partial(seen._add, name, kind_of(module))))
        yield seen
    finally:
        for listener in listeners:
            listener.remove()


def _ratio(one: CallVerdict) -> float:
    return one.verdict.worst.ratio if one.verdict is not None and one.verdict.worst else 0.0
