"""Archives of torch.export (.pt2): parameters by the names that they had in the module. Its graph is not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.files import torch_export
from rnnspect.weights.readers.interface import Module, Reader
from rnnspect.weights.readers.named_tensors import modules_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    marks = (*torch_export.CONFIGS, *torch_export.STATE_DICTS, "/archive_format")
    return not seen.is_folder and any(seen.has(mark) for mark in marks)


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    return modules_of(torch_export.tensors(path), path, flags)


READER = Reader("an archive of torch.export", _recognises, _modules, (".pt2",))
