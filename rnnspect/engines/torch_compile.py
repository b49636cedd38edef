"""torch.compile's own code for torch.nn.RNN, LSTM and GRU, where this machine can compile.

The compiler unrolls the steps: compiling takes a while, more for a longer sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch._dynamo
from torch import nn

from rnnspect.engines.torch import TorchEngine
from rnnspect.errors import EngineError
from rnnspect.files.silenced import ignoring
from rnnspect.network.sequence import Sequence


class TorchCompileEngine(TorchEngine):
    name = "torch-compile"
    piece = None  # what it compiles holds all steps, and each piece would be compiled
    _runs = "compiled"

    def _call(self, module: nn.RNNBase, given: Any, *state: Any) -> Any:
        return torch.compile(module)(given, *state)

    @contextmanager
    def _around(self, sequence: Sequence) -> Iterator[None]:
        """Raises `EngineError` where nothing would be compiled, or the machine has no compiler."""
        if sequence.lengths is not None:
            raise EngineError(
                "torch-compile cannot run a packed batch: torch does not compile it", advice="use --engine torch"
            )
        if not hasattr(torch._dynamo.config, "allow_rnn"):
            raise EngineError(f"torch {torch.__version__} does not compile RNNs")
        torch._dynamo.reset()
        try:
            # Without allow_rnn it breaks the graph around an RNN. Its warnings are about torch's own parts.
            with torch._dynamo.config.patch(allow_rnn=True), ignoring():
                yield
        except torch._dynamo.exc.TorchDynamoException as error:
            first = str(error).partition("\n")[0]
            raise EngineError(
                f"this machine cannot compile: {first}", advice="install a C++ compiler, or use --engine torch"
            ) from None


ENGINE = TorchCompileEngine
