"""Archives of torch.export (.pt2): parameters by the names that they had in the module. Its graph is not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files import torch_export
from rnnspect.weights.readers.named_tensors import of_tensors

if TYPE_CHECKING:
    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    marks = (*torch_export.CONFIGS, *torch_export.STATE_DICTS, "/archive_format")
    return not seen.is_folder and any(seen.has(mark) for mark in marks)


READER = of_tensors("an archive of torch.export", _recognises, torch_export.tensors, ".pt2")
