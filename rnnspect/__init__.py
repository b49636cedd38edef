"""Open up a recurrent network: its shapes, every gate of every step, and the framework's numbers beside them."""

import importlib
from typing import TYPE_CHECKING, Any

from rnnspect.version import __version__ as __version__

if TYPE_CHECKING:
    from rnnspect.api import check as check
    from rnnspect.api import derive as derive
    from rnnspect.api import shapes as shapes
    from rnnspect.api import trace as trace
    from rnnspect.asserting import assert_agrees as assert_agrees
    from rnnspect.checking.live.watch import watch as watch
    from rnnspect.errors import DeviceError as DeviceError
    from rnnspect.errors import FileError as FileError
    from rnnspect.errors import InputError as InputError
    from rnnspect.errors import ResourceError as ResourceError
    from rnnspect.errors import RnnspectError as RnnspectError
    from rnnspect.errors import SequenceError as SequenceError
    from rnnspect.errors import SpecError as SpecError
    from rnnspect.errors import WeightsError as WeightsError
    from rnnspect.judging.verdict import GateResolution as GateResolution
    from rnnspect.judging.verdict import Point as Point
    from rnnspect.judging.verdict import Verdict as Verdict
    from rnnspect.network.parameters import Shapes as Shapes
    from rnnspect.network.spec import Head as Head
    from rnnspect.network.spec import Spec as Spec
    from rnnspect.reporting.data import Report as Report
    from rnnspect.reporting.derivation import Derivation as Derivation
    from rnnspect.reports import report as report
    from rnnspect.tracing.trace import LayerTrace as LayerTrace
    from rnnspect.tracing.trace import Pair as Pair
    from rnnspect.tracing.trace import Trace as Trace

_HOMES = {
    "api": ("check", "derive", "shapes", "trace"),
    "asserting": ("assert_agrees",),
    "reporting.derivation": ("Derivation",),
    "errors": (
        "DeviceError",
        "FileError",
        "InputError",
        "ResourceError",
        "RnnspectError",
        "SequenceError",
        "SpecError",
        "WeightsError",
    ),
    "network.parameters": ("Shapes",),
    "reporting.data": ("Report",),
    "reports": ("report",),
    "network.spec": ("Head", "Spec"),
    "tracing.trace": ("LayerTrace", "Pair", "Trace"),
    "judging.verdict": ("GateResolution", "Point", "Verdict"),
    "checking.live.watch": ("watch",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, with what it needs, when it is first asked for: a command line that only helps needs none."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
