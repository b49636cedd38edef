"""Who computed the numbers beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnspect.network.recording import EngineInfo


def engine_lines(engine: EngineInfo, stack_difference: float) -> Iterator[Text]:
    made = f" {engine.version} on {engine.device}" if engine.version else ""
    yield Text(f"{engine.name}{made}, {engine.dtype}")
    if engine.precision:
        yield Text("in force: " + ", ".join(f"{name} = {value}" for name, value in engine.precision.items()))
    if stack_difference:
        yield Text(f"the stack as a whole differs from its layers one by one by up to {stack_difference:.2e}")
