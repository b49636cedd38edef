"""Hooks on a live module that tell which call it is that returns."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import FrameType
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle


class _Open(threading.local):
    """The calls of each thread that have begun and not yet returned, by the frame in which torch makes the call."""

    def __init__(self) -> None:
        self.calls: dict[int, Any] = {}


class _Hook:
    """A hook that stays with its module: in a deep copy or a saved file of that, one of the standard library that does
    nothing takes its place. So nobody watches the copy, and the file can be loaded without rnnspect. The handle goes
    along: it keeps torch from giving the number of the hook to another one."""

    def __init__(self, called: Callable[..., None]) -> None:
        self._called = called
        self.handle: RemovableHandle | None = None

    def __call__(self, *given: Any) -> None:
        self._called(sys._getframe(1), *given)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(self.handle), "__exit__")  # takes anything, and returns None


class CallHooks:
    """Hooks on one module. What `began` makes of the arguments of a call, `returned` gets with the output of the same
    call.

    A module may call itself, several threads may call it, and a call may raise: so a call is known by the frame of
    torch's that runs the hooks before and after `forward`, which is one and the same frame.
    """

    def __init__(
        self,
        module: nn.Module,
        began: Callable[[tuple[Any, ...], dict[str, Any]], Any],
        returned: Callable[[Any, Any], None],
    ) -> None:
        self._module, self._began, self._returned = module, began, returned
        self._open, self._lock, self._is_on = _Open(), threading.RLock(), True
        first = _Hook(self._before)
        self._first = first.handle = module.register_forward_pre_hook(first, with_kwargs=True)
        self._last = self._put_last()

    def remove(self) -> None:
        with self._lock:
            self._is_on = False
            self._first.remove()
            self._last.remove()

    def _before(self, frame: FrameType, _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._come_last()
        calls = self._open.calls
        if calls:
            _drop_those_that_raised(calls, frame)
        calls[id(frame)] = self._began(args, kwargs)

    def _after(self, frame: FrameType, _module: object, _args: tuple[Any, ...], output: Any) -> None:
        calls, call = self._open.calls, id(frame)
        if call in calls:  # else it began before the module had hooks
            self._returned(calls.pop(call), output)

    def _come_last(self) -> None:
        """Puts the hook behind all others, so that their changes are seen. For a moment it is there twice, so that no
        call of another thread misses it; the second one of these finds no open call."""
        with self._lock:
            if self._is_on and [*self._module._forward_hooks][-1:] != [self._last.id]:
                before = self._last
                self._last = self._put_last()
                before.remove()

    def _put_last(self) -> RemovableHandle:
        last = _Hook(self._after)
        last.handle = self._module.register_forward_hook(last)
        return last.handle


def _drop_those_that_raised(calls: dict[int, Any], frame: FrameType | None) -> None:
    """Leaves only the calls whose frames still run: those that this one was made in."""
    running = set()
    while frame is not None:
        running.add(id(frame))
        frame = frame.f_back
    for call in calls.keys() - running:
        del calls[call]
