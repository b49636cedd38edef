"""The signals that end a command: Ctrl-C, SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
received: list[int] = []
"""The one that came, if one did."""


class StoppedBySignal(KeyboardInterrupt):
    """A signal that ends the process, raised wherever the main thread is."""


def status_when_stopped() -> int:
    """The exit status after a KeyboardInterrupt: 128 and the signal's number, as in a shell."""
    return 128 + (received[0] if received else signal.SIGINT)


def on_signals(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    """What is ignored, as under nohup, stays so."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def interrupt(number: int, _frame: object) -> None:
    """Only the first signal counts: a second one would disturb the tidying up."""
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    received.append(number)
    raise StoppedBySignal


@contextmanager
def ended_at_once() -> Iterator[None]:
    """While libraries are loaded a signal ends the process without `interrupt`, which would wait until the system has
    loaded them. There is nothing to tidy up, and a shell shows the same exit status."""
    answered = [number for number in SIGNALS if signal.getsignal(number) is interrupt]
    for number in answered:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in answered:
            signal.signal(number, interrupt)
