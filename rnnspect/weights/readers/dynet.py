"""DyNet's files of parameters. Its VanillaLSTMBuilder has _0, _1 and _2: the layout `dynet`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files import dynet_file
from rnnspect.weights.readers.named_tensors import of_tensors

if TYPE_CHECKING:
    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return seen.head.startswith(dynet_file.BEGINS)


READER = of_tensors("a file of DyNet", _recognises, dynet_file.tensors)
