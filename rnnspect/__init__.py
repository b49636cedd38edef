"""See inside an RNN, LSTM or GRU, and prove that an implementation of it computes its equations.

    shapes         every parameter and the rows of each gate in it
    trace          every gate of every step, with the framework's numbers beside it
    gradients      the gradient of a loss by every gate of every step, with the framework's beside it
    derive         one number or one gradient as arithmetic
    report         a run as an HTML page
    check          whether a run is what the equations give, and if not, where and why
    sweep          the same at the lengths, splits and batches at which fast forms break
    assert_agrees  the same for a test suite
    watch          every recurrent module of a model, while the model runs

`help(rnnspect.check)` explains each parameter, with its shape.

PYTEST_DONT_REWRITE: pytest, which loads `rnnspect.pytest_plugin`, would else warn where this was imported before it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnspect.api import *  # noqa: F403

    __version__: str
else:  # a type checker knows every name from above, and tells one that is none of them

    def __getattr__(name: str) -> object:
        """A public name, loaded when it is first asked for: `rnnspect --help` needs none of them."""
        from importlib import import_module

        if name == "__version__":
            return import_module(f"{__name__}.version").version()
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.api"), name)
        return value


__all__ = [  # noqa: F405
    "Call", "CallVerdict", "Derivation", "DeviceError", "EngineError", "Explanation", "FileError", "GateResolution",
    "GradientDerivation", "GradientPath", "Gradients", "Head", "Identity", "InputError", "LayerGradient", "LayerTrace",
    "ModelShapes", "PackageError", "Pair", "ParameterGradient", "Point", "Reach", "Report", "ResourceError",
    "RnnspectError", "SequenceError", "Shapes", "Spec", "SpecError", "Sweep", "Trace", "Verdict", "WatchedCalls",
    "WeightsError", "assert_agrees", "check", "derive", "gradients", "report", "shapes", "sweep", "trace", "watch",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})
