"""What a user's engine does wrong is told as theirs: one message that says what and where, exit status 2, and never a
verdict by accident."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.marks import sampled

HERE = Path(__file__).parent
SPEC = ["--cell", "gru", "--input-size", "3", "--hidden-size", "4", "--explain", "0"]
AT = "misbehaving.py:"

WRONG = {
    "raises_value": ["raises_value(x_t, h) failed with ValueError: yyy", AT],
    "raises_base": ["failed with BaseException: base", AT],
    "raises_generator_exit": ["failed with GeneratorExit", AT],
    "raises_memory": ["failed with MemoryError", AT],
    "raises_broken_pipe": ["failed with BrokenPipeError", AT],
    "raises_stop": ["failed with StopIteration", AT],
    "raises_recursion": ["failed with RecursionError", AT],
    "raises_unreadable": ["failed with UnreadableError: (its message cannot be read)", AT],
    "exits": ["failed with SystemExit: 0", AT],
    "nothing": ["returns a NoneType for h; expected a tensor or an array", AT],
    "text": ["returns a str for h", AT],
    "narrow": ["returns h with shape (1, 3); expected (1, 4)", AT],
    "pair": ["returns a tuple of 2 for h", AT],
    "integers": ["returns h with dtype int32; expected floating-point numbers", AT],
    "complex_numbers": ["returns h with dtype complex64", AT],
    "objects": ["returns h with dtype object", AT],
    "strings": ["returns h with dtype <U", AT],
    "masked": ["returns h with masked values", AT],
    "no_array": ["reading h that no_array returns failed with RuntimeError: Could not infer dtype of NoArray"],
    "shapeless": ["reading h that shapeless returns failed with RuntimeError: no shape", AT],
    "generator": ["returns a generator for h", AT],
    "coroutine": ["returns a coroutine for h", AT],
    "sequence_list": ["returns a list for a sequence; expected (output, h_n)", AT],
    "sequence_wrong": ["returns output with shape (1, 64, 3); expected (1, 64, 4)", AT],
    "asks": ["asks for weigth_ih", "did you mean 'weight_ih'?"],
    "any_arguments": ["any_arguments() returns a int; expected a function of (x, state)"],
    "number": ["a int; expected a function or a class", AT],
    "Uncallable": ["Uncallable() failed with RuntimeError: no instance", AT],
    "Broken": ["Broken() failed with RuntimeError: no building", AT],
    "no_such_name": ["this file has no 'no_such_name'"],
}
OF_TORCH = {
    "sparse": ["returns h with layout torch.sparse_coo"],
    "meta": ["returns h with the device meta, which has no values"],
    "quantised": ["returns h with dtype torch.qint8"],
    "complex_numbers": ["returns h with dtype torch.complex64"],
    "booleans": ["returns h with dtype torch.bool"],
    "nested": ["reading h that nested returns failed with RuntimeError"],
    "Lazy": ["setting the parameters of Lazy failed with RuntimeError"],
}
RIGHT = ["right", "writes_into_what_it_got", "one_buffer", "backwards_in_memory", "read_only"]
ENDS = {
    "ends_with_0": "with exit status 0, as by os._exit",
    "ends_with_1": "with exit status 1, as by os._exit",
    "crashes": "by signal 11 (Segmentation fault, at {at})",
    "kills_itself": "by signal 9 (Killed)",
}


def fresh(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rnnspect", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)


def check(name: str, *more: str) -> list[str]:
    return ["check", *SPEC, "--engine", str(HERE / name), *more]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantize:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "expected"),
    [(f"misbehaving.py:{name}", said) for name, said in WRONG.items()]
    + [(f"misbehaving_torch.py:{name}", said) for name, said in OF_TORCH.items()],
)
def test_what_is_wrong_is_told_as_theirs(rnnspect, name, expected):
    result = rnnspect(*check(name))
    assert (result.status, result.out) == (2, "")
    assert len(result.err) < 1500
    assert len(result.err.splitlines()) == 1
    for part in expected:
        assert part in result.err


@pytest.mark.parametrize(
    "name",
    [
        *(f"misbehaving.py:{name}" for name in RIGHT),
        "misbehaving_torch.py:with_gradients",
        "misbehaving_torch.py:changes_torch",
    ],
)
def test_a_right_one_agrees_whatever_it_does_beside(rnnspect, name):
    result = rnnspect(*check(name))
    assert (result.status, result.err) == (0, "")
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_an_interrupt_of_its_own_ends_as_one(rnnspect):
    assert rnnspect(*check("misbehaving.py:raises_interrupt")).status == 130


def test_a_source_that_is_not_in_utf8(rnnspect, tmp_path):
    (tmp_path / "lat.py").write_bytes(
        "# -*- coding: latin-1 -*-\ndef step(x_t, h):\n    'é'\n    return h\n".encode("latin-1")
    )
    assert rnnspect("check", *SPEC, "--engine", tmp_path / "lat.py:step").status == 1


def test_a_module_that_answers_no_name(rnnspect, tmp_path):
    (tmp_path / "ga.py").write_text("def __getattr__(name):\n    raise RuntimeError(name)\n")
    result = rnnspect("check", *SPEC, "--engine", tmp_path / "ga.py:step")
    assert result.status == 2
    assert "ga.py:2: loading this file failed with RuntimeError: step" in result.err


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(["crashes", "ends_with_0", "ends_with_1", "kills_itself"], 4))
def test_code_that_ends_the_process_is_seen(name):
    result = fresh(*check(f"misbehaving.py:{name}"))
    lines = (HERE / "misbehaving.py").read_text().splitlines()
    at = f"{HERE / 'misbehaving.py'}:{lines.index('    ctypes.string_at(0)') + 1}"
    assert (result.returncode, result.stdout) == (2, "")
    said, help_line = result.stderr.splitlines()[-2:]
    assert f"misbehaving.py:{name}: the process that ran it ended {ENDS[name].format(at=at)}, before" in said
    assert help_line.startswith("help: ")


@pytest.mark.slow
def test_so_it_is_where_there_is_no_fork():
    """As on Windows: the same command is run again, and tells its status in a file."""
    code = "import os, sys; del os.fork; from rnnspect.cli import entry_point; entry_point()"
    for name, status in (("ends_with_0", 2), ("right", 0), ("narrow", 2)):
        argv = [sys.executable, "-c", code, *check(f"misbehaving.py:{name}", "-q")]
        result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
        assert result.returncode == status, result.stderr
        assert ("the process that ran it ended" in result.stderr) == (name == "ends_with_0")


@pytest.mark.slow
def test_a_model_whose_code_ends_the_process(tmp_path):
    (tmp_path / "model.py").write_text("import os\ndef build():\n    os._exit(0)\n")
    for command in ("check", "shapes", "about"):
        result = fresh(command, str(tmp_path / "model.py:build"))
        assert result.returncode == 2
        assert "model.py:build: the process that ran it ended with exit status 0" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forks", "prints", "closes_stdout", "fails_in_a_thread"])
def test_the_result_is_told_once_and_alone(name):
    result = fresh(*check(f"misbehaving.py:{name}", "-f", "json"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('{"format": "rnnspect.check"')
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.slow
def test_paths_are_relative_to_where_the_command_began(tmp_path):
    argv = check("misbehaving.py:changes_folder", "-o", "verdict.json", "-q")
    assert fresh(*argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(HERE.parents[2])}).returncode == 0
    assert (tmp_path / "verdict.json").exists()
