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
    call. `began` is also told whether the hook was the last one before `forward`, so that these arguments are what that
    gets.

    A module may call itself, several threads may call it, and a call may raise: so a call is known by the frame of
    torch's that runs the hooks before and after `forward`, which is one and the same frame. A shallow copy of the
    module shares its hooks, and has parameters of its own: `began` and `returned` get the module that was called.
    """

    def __init__(
        self,
        module: nn.Module,
        began: Callable[[nn.Module, tuple[Any, ...], dict[str, Any], bool], Any],
        returned: Callable[[nn.Module, Any, Any], None],
    ) -> None:
        self._module, self._began, self._returned = module, began, returned
        self._open, self._lock, self._is_on = _Open(), threading.RLock(), True
        self._last = self._put_last()  # first, as another thread may be calling the module
        self._first = self._put_first()

    def remove(self) -> None:
        with self._lock:
            self._is_on = False
            self._first.remove()
            self._last.remove()

    def _before(
        self, frame: FrameType, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> None:
        if kwargs is None:  # torch calls a hook so for a moment, in another thread, after it is registered
            return
        was_last = self._come_last()
        calls = self._open.calls
        if calls:
            _drop_those_that_raised(calls, frame)
        calls[id(frame)] = self._began(module, args, kwargs, was_last)

    def _after(self, frame: FrameType, module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        calls, call = self._open.calls, id(frame)
        if call in calls:  # else it began before the module had hooks
            self._returned(module, calls.pop(call), output)

    def _come_last(self) -> bool:
        """Puts both hooks behind those of others, so that their changes are seen, and says whether the one before
        `forward` was there. For a moment each is there twice, so that no call of another thread misses it."""
        with self._lock:
            if not self._is_on:
                return True
            if not _is_last(self._module._forward_hooks, self._last):
                before, self._last = self._last, self._put_last()
                before.remove()
            if _is_last(self._module._forward_pre_hooks, self._first):
                return True
            before, self._first = self._first, self._put_first()
            before.remove()
            return False

    def _put_first(self) -> RemovableHandle:
        first = _Hook(self._before)
        first.handle = self._module.register_forward_pre_hook(first, with_kwargs=True)
        return first.handle

    def _put_last(self) -> RemovableHandle:
        last = _Hook(self._after)
        last.handle = self._module.register_forward_hook(last)
        return last.handle


def _is_last(hooks: dict[int, Any], own: RemovableHandle) -> bool:
    """Whether none but hooks of this file stand behind it: else two watchers would each come behind the other."""
    places = [*hooks]
    if own.id not in places:  # somebody took all hooks away
        return False
    behind = places[places.index(own.id) + 1 :]
    return all(isinstance(hooks.get(place), _Hook) for place in behind)


def _drop_those_that_raised(calls: dict[int, Any], frame: FrameType | None) -> None:
    """Leaves only the calls whose frames still run: those that this one was made in."""
    running = set()
    while frame is not None:
        running.add(id(frame))
        frame = frame.f_back
    for call in calls.keys() - running:
        del calls[call]
