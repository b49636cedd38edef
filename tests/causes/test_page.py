"""docs/causes.md has every id that a cause can have, and no other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import rnnspect
from rnnspect import Spec
from rnnspect.arithmetic.unroll import unroll
from rnnspect.causes.known import catalogue
from rnnspect.causes.search import final_states
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.final_states import Lookalike
from rnnspect.judging.observation import Observation
from rnnspect.judging.stack import judge_stack
from rnnspect.network.recording import EngineInfo
from rnnspect.tracing.prepare import prepare
from tests.causes.carried import carried
from tests.causes.chunked import chunked
from tests.causes.elementwise import along, exchanged
from tests.causes.own_cells import CARRYING, DECAYING, MAMBA, MINGRU, NORMED
from tests.cells.test_norms import HEADED

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "causes.md"
ROW = re.compile(r"\| `(?P<id>[^`]+)` \|(?P<words>.+)\|")
FUNCTIONS = ["hard_sigmoid(0.3)", "leaky_relu(0.3)", "softsign"]
CELLS: list[dict[str, Any]] = [
    {"cell": "rnn"},
    {"cell": "gru"},
    {"cell": "gru", "reset": "before"},
    {"cell": "lstm"},
    {"cell": "lstm", "proj_size": 2},
    {"cell": "lstm", "input_forget": True, "peepholes": True, "clip": 0.5, "activations": FUNCTIONS},
    *({"cell": cell} for cell in (MINGRU, DECAYING, CARRYING, NORMED, HEADED)),
]
FORMS = (
    *(carried("carrying", 3, mistake) for mistake in ("every", "added", "itself", "earlier")),
    *(chunked("carrying", 3, mistake) for mistake in ("h is used as c", "zeros", "doubled", "earlier")),
    along("carrying", 3, 2, "decays"),
    exchanged("carrying", 8),
)
IN_CHUNKS = Spec(cell=CARRYING, input_size=3, hidden_size=3, input="randn:8")
"""Whose mistakes are looked for where the run shows them."""
KINDS = (
    "elsewhere",
    "items",
    "padding",
    "padded",
    "twice",
    "begun",
    "earlier",
    "squashed",
    "zeros",
    "initial",
    "exchanged",
)


def ids_of(
    keys: dict[str, Any], lengths: list[int] | None, dropout: float = 0, off: float = 0, scaled: float = 1
) -> Iterator[str]:
    """Of two layers and both directions with as many steps as items, blocks that are square and blocks that are not.
    h is `off` at a step in the middle, and that of the lowest layer `scaled`."""
    size = {"input_size": 3, "hidden_size": 3, "num_layers": 2, "bidirectional": True, "batch_first": False}
    given = {"input": "randn:4", "batch": 4, "h0": "randn", "lengths": lengths}
    spec = Spec(**keys, **size, **given, seed=0)
    made = prepare(spec)
    torch.manual_seed(0)
    layers = {}
    for run in unroll(spec, made.parameters, made.sequence):
        dropped = torch.nn.functional.dropout(run.quantities["h"], dropout)
        dropped[2] += off
        dropped = dropped * (scaled if run.layer == 0 else 1)  # the layer above goes on with h as it is
        layers[run.layer, run.direction] = {"h": dropped}
    seen = Observation(EngineInfo("equations", "", "", spec.dtype), layers, None, None)
    arithmetic = ARITHMETICS[spec.dtype]
    judged = judge_stack(Case(spec, made.parameters, made.sequence, seen, arithmetic))
    for assumed in judged.assumptions.values():
        yield from (cause.name for cause in catalogue(assumed))


@torch.no_grad()
def clipped(lstm: torch.nn.LSTM, x: torch.Tensor, limit: float) -> torch.Tensor:
    h = c = torch.zeros(1, x.shape[1], 3)
    given = []
    for row in x:
        _, (h, c) = lstm(row[None], (h, c))
        kept = c.clamp(-limit, limit)
        h, c = h / c.tanh() * kept.tanh(), kept
        given.append(h)
    return torch.cat(given)


def every_id() -> set[str]:
    found = {name for keys in CELLS for lengths in (None, [4, 1, 3, 2]) for name in ids_of(keys, lengths)}
    found |= {name for cell in (MINGRU, MAMBA) for name in ids_of({"cell": cell}, None, off=1.0)}
    found |= set(ids_of({"cell": "gru"}, None, dropout=0.5)) | set(ids_of({"cell": "gru"}, None, scaled=0.5))
    found |= {cause.name for form in FORMS for cause in rnnspect.check(IN_CHUNKS, engine=form).causes}
    gru, lstm, x = torch.nn.GRU(3, 3), torch.nn.LSTM(3, 3), torch.randn(4, 2, 3)
    found |= {cause.name for cause in rnnspect.check(gru, x, recorded={"output": gru(x)[0] + x}).causes}
    found |= {cause.name for cause in rnnspect.check(gru, x, recorded={"output": gru(x.tanh())[0].detach()}).causes}
    found |= {cause.name for cause in rnnspect.check(gru, x, recorded={"output": gru(x.flip(2))[0].detach()}).causes}
    c = torch.cat([lstm(x[:steps])[1][1] for steps in range(1, 5)])
    found |= {cause.name for cause in rnnspect.check(lstm, x, recorded={"output": c}).causes}
    output = gru(x)[0].detach()
    output[3, 0] = output[2:, 1] = 0
    found |= {cause.name for cause in rnnspect.check(gru, x, lengths=[4, 3], recorded={"output": output}).causes}
    found |= {cause.name for cause in rnnspect.check(lstm, x, recorded={"output": clipped(lstm, x, 0.1)}).causes}
    ends = ((Lookalike(kind, "", 0.0), way) for kind in KINDS for way in ("forward", "reverse"))
    return found | {final_states._cause(meaning, way)[0] for meaning, way in ends}


@pytest.mark.slow
def test_every_id_is_explained_once_and_no_other_is() -> None:
    rows = [match for line in PAGE.read_text().splitlines() if (match := ROW.fullmatch(line))]
    counts = Counter(row["id"] for row in rows)
    assert set(counts) == every_id()
    assert set(counts.values()) == {1}
    for row in rows:
        cells = [cell.strip() for cell in row["words"].split("|")]
        assert len(cells) == 3
        assert all(cell.endswith(".") for cell in cells), row["id"]
