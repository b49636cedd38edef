"""What torch.save writes: a state dict, perhaps in dictionaries, or a module, whose class is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files.pickle_file import TORCH_MAGIC
from rnnspect.files.torch_tar import is_torch_tar
from rnnspect.weights.readers.pickles import of_pickles

if TYPE_CHECKING:
    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    if seen.is_folder:
        return False
    return seen.has("data.pkl") or seen.head.startswith(TORCH_MAGIC) or is_torch_tar(seen.head)


READER = of_pickles("a file of torch.save", _recognises, ".pt", ".pth")
