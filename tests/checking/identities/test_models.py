"""Identities of a model around recurrent modules, evaluated twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


MODEL = """
import torch
import torch.nn.functional as F
from torch import nn

class Right(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.GRU(5, 6, 2, bidirectional=True, batch_first=True)
        self.decoder = nn.LSTM(12, 4, batch_first=True)

    def forward(self, x):
        return self.decoder(self.encoder(x)[0])

class DropsOut(Right):
    def forward(self, x):
        return self.decoder(F.dropout(self.encoder(x)[0]))

class Keeps(Right):
    kept = None

    def forward(self, x):
        output, self.kept = self.decoder(self.encoder(x)[0], self.kept)
        return output

class Once(Right):
    ran = False

    def forward(self, x):
        if self.ran:
            raise ValueError("only once")
        self.ran = True
        return super().forward(x)

class Exchanges(Right):
    def __init__(self):
        super().__init__()
        self.decoder = nn.LSTM(12, 4)

class ExchangesBack(Exchanges):
    def forward(self, x):
        return self.decoder(self.encoder(x)[0].transpose(0, 1))

class Norms(Right):
    def __init__(self):
        super().__init__()
        self.decoder = Centred(12, 4, batch_first=True)

class Centred(nn.LSTM):
    def forward(self, x, hx=None):
        return super().forward(x - x.mean(0), hx)

class Writes(Right):
    def forward(self, x):
        return super().forward(x.mul_(2))
"""


@pytest.fixture
def identities(rnnspect, tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """Of the model of that name: by the module, and then by the identity."""
    path = tmp_path / "model.py"
    path.write_text(MODEL)

    def found(name: str, status: int = 0) -> dict[str, dict[str, Any]]:
        result = rnnspect("check", f"{path}:{name}", "-i", "randn:9", "--batch", "3", "--input-size", "5", "-f", "json")
        assert result.status == status
        documents = json.loads(result.out)
        return {
            document["source"].split()[1].rstrip(","): {one["name"]: one for one in document["identities"]}
            for document in documents
        }

    return found


@pytest.mark.parametrize("name", ["Right", "Writes", "ExchangesBack"])
def test_a_right_model_holds_them_all(identities: Any, name: str):
    found = identities(name)
    assert all(one["holds"] for module in found.values() for one in module.values())
    names = ["output and h_n", "two evaluations", "neighbours"]
    assert list(found["encoder"]) == [*names, "None and zeros"]
    assert list(found["decoder"]) == [*names, "chunks", "None and zeros"]


@pytest.mark.parametrize(
    ("name", "evidence", "usual"),
    [
        ("DropsOut", "another input", "dropout that eval() does not turn off"),
        ("Keeps", "another hx", "a state kept between calls: start each call from None or zeros"),
    ],
)
def test_a_model_of_which_two_evaluations_differ(identities: Any, name: str, evidence: str, usual: str):
    found = identities(name)
    assert found["encoder"]["two evaluations"]["holds"]
    failed = found["decoder"]["two evaluations"]
    assert not failed["holds"]
    assert evidence in failed["evidence"]
    assert usual in failed["usual"]


def test_a_model_that_runs_only_once(identities: Any):
    failed = identities("Once")["encoder"]["two evaluations"]
    assert not failed["holds"]
    assert "ValueError: only once" in failed["evidence"]


def test_a_module_that_takes_the_batch_for_time(identities: Any):
    """Its own run agrees: nothing in it tells which axis was meant."""
    found = identities("Exchanges")
    assert found["encoder"]["neighbours"]["holds"]
    failed = found["decoder"]["neighbours"]
    assert not failed["holds"]
    assert failed["evidence"].endswith("it processes axis 0, the batch, as time")
    assert failed["usual"].startswith("batch_first=True is missing")


@pytest.mark.slow
def test_a_module_that_mixes_the_batch(identities: Any):
    found = identities("Norms", status=1)
    assert found["encoder"]["neighbours"]["holds"]
    failed = found["decoder"]["neighbours"]
    assert not failed["holds"]
    assert "a norm over the batch" in failed["usual"]
