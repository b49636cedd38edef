"""TorchScript archives, which torch.jit.save writes: parameters by the names of their modules. Its code is not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.weights.readers.pickles import of_pickles

if TYPE_CHECKING:
    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return seen.has("/data.pkl", "/constants.pkl") and not seen.is_folder


READER = of_pickles("a TorchScript archive", _recognises, ".jit", ".ts")
