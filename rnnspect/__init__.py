"""Open up a recurrent network: its shapes, every gate of every step, and the framework's numbers beside them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from rnnspect.api import *  # noqa: F403  (its __all__ is the one list of public names)


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first asked for: `rnnspect --help` needs none of them."""
    if name == "__version__":
        return import_module(f"{__name__}.version").version()
    api = import_module(f"{__name__}.api")
    if name not in getattr(api, "__all__", ()):  # which a module that asks while api is being loaded does not see yet
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(api, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module(f"{__name__}.api").__all__})
