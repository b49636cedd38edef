"""Files that TensorFlow wrote, held against the numbers that TensorFlow computed with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rnnspect.cli import main
from tests.tensorflow_files import names_in, unpacked

NPZ = [name.removesuffix(".npz") for name in names_in() if name.endswith(".npz")]
ENDS = (".pb", "", "_saved", "_weights", "_frozen.pb", "_frozen_while.pb")
TOPS = {name.partition("/")[0] for name in names_in()}
FILES = [(name, name + end) for name in NPZ for end in ENDS if name + end in TOPS]
UNTOLD = {
    "keras_lstm_hard_weights": ["--activations", "hard_sigmoid(0.2,0.5),tanh,tanh"],
    "keras_gru_before_weights": ["--activations", "sigmoid,relu"],
}
"""What weights alone do not say."""
ANOTHER = {"lstm_peepholes_projection", "lstm_clip", "block_cell_clip", "lstm_and_dense", "keras_deep", "both_deep_gru"}
"""What no spec says, or the output is of more than one module."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tensorflow")
    for name in names_in():
        unpacked(made, name)
    for name in NPZ:
        with np.load(made / f"{name}.npz") as run:
            np.save(made / f"{name}.x.npy", run["x"])
            np.save(made / f"{name}.y.npy", run["y"])
    return made


@pytest.mark.parametrize(("name", "file"), [pair for pair in FILES if pair[0] not in ANOTHER])
def test_its_numbers_are_those_of_tensorflow(folder: Path, name: str, file: str, capsys: pytest.CaptureFixture[str]):
    """The recorded numbers are float32; the check's own bound says what that allows, on any machine."""
    given = [
        "-i",
        folder / f"{name}.x.npy",
        "--recorded",
        folder / f"{name}.y.npy",
        "--explain",
        "0",
        "--format",
        "json",
    ]
    status = main(["check", str(folder / file), *map(str, given), *UNTOLD.get(file, [])])
    assert (status, json.loads(capsys.readouterr().out)["verdict"]) == (0, "agree")
