"""What is no plain file: text and arrays come through a pipe, all else is refused with what to do; nothing hangs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn


@pytest.fixture
def pipe(tmp_path):
    """A named pipe that is written once, as `cat file > pipe &` does."""
    made = []

    def through(data: bytes, name: str = "pipe"):
        path = tmp_path / name
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
        writer.start()
        made.append((path, writer))
        return path

    yield through
    for path, writer in made:
        if writer.is_alive():  # nobody has opened it: the writer waits
            path.read_bytes()


def fresh(*argv: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rnnspect", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL)


SPEC = b"cell: gru\ninput_size: 3\nhidden_size: 4\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["shapes"], ["check", "--explain", "0"], ["trace"], ["run"], ["about"]])
def test_a_spec_comes_through_a_pipe(pipe, command):
    result = fresh(command[0], pipe(SPEC), *command[1:])
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.slow
def test_numbers_come_through_a_pipe(pipe, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 5), np.float32))
    assert fresh("run", "--cell", "rnn", "-i", pipe((tmp_path / "x.npy").read_bytes())).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pipe", "pipe.pt", "pipe.npz", "pipe.h5", "pipe.keras"])
@pytest.mark.parametrize("command", ["shapes", "check", "about"])
def test_weights_do_not_and_that_is_said(pipe, tmp_path, name, command):
    torch.save(nn.LSTM(3, 4).state_dict(), tmp_path / "m")
    path = pipe((tmp_path / "m").read_bytes(), name)
    result = fresh(command, path)
    assert result.returncode == 2
    assert f"cat {path} > FILE" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_devices_and_sockets_are_no_files(tmp_path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        for path in ("/dev/zero", "/dev/null", tmp_path / "s"):
            for argv in (["shapes", path], ["run", "--cell", "rnn", "-i", path]):
                result = fresh(*argv)
                assert result.returncode == 2
                assert len(result.stderr.splitlines()) == 1
                assert "did you mean" not in result.stderr


def test_closed_standard_input_is_said():
    command = f"{sys.executable} -m rnnspect run -i - <&-"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 2
    assert "standard input is closed" in result.stderr
