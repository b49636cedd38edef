"""HDF5 files read in a process apart: damaged bytes can crash the HDF5 library, or make it search without end.

The process writes JSON lines, and after the line of a dataset its bytes. Nothing that comes back is unpickled.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict
from threading import Event, Timer
from typing import IO, TYPE_CHECKING, Any

from rnnspect.errors import FileError, Problem, ResourceError, RnnspectError
from rnnspect.files import hdf5
from rnnspect.files.reading import is_pipe, size_of, why
from rnnspect.files.stored import Stored
from rnnspect.files.zip_members import Part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    Array = Any
    Source = Path | Part | io.BytesIO

SECONDS = 20.0
"""How long reading may take, and a second more for each BYTES_A_SECOND of the file."""
BYTES_A_SECOND = 50e6
MEMORY = 2**30
"""Bytes that the process may take besides the numbers that it reads."""
CODE = "import sys; sys.path[:] = sys.argv[1:]; from rnnspect.files import hdf5_process; hdf5_process.answer()"
_BROKEN = (OSError, EOFError, ValueError, KeyError, TypeError, MemoryError)
"""What an answer that is cut short or is none raises here."""


def read_tree(source: Source, where: str, attributes: Collection[str], skip: str) -> hdf5.Tree:
    """As `hdf5.read_tree`; a file on which the process dies or does not end is a `FileError`."""
    with _answering(source, where, {"attributes": sorted(attributes), "skip": skip}) as answers:
        told = _line(answers)
        datasets = {path: Stored(tuple(one["shape"]), one["dtype"]) for path, one in told["datasets"].items()}
        return hdf5.Tree(datasets, told["attributes"])


def read_datasets(source: Source, where: str, paths: Collection[str]) -> dict[str, Array]:
    """As `hdf5.read_datasets`, all of them; a file on which the process dies or does not end is a `FileError`."""
    with _answering(source, where, {"paths": list(paths)}) as answers:
        return {path: _array(answers) for path in paths}


@contextmanager
def _answering(source: Source, where: str, asked: dict[str, Any]) -> Iterator[IO[bytes]]:
    """The answers to what is asked. The process ends with this context, or earlier when its time is over."""
    content = b""
    match source:
        case io.BytesIO():
            content = source.getvalue()
            size = len(content)
        case Part():
            size = source.size
            asked = {**asked, "file": source.path, "start": source.start, "size": size}
        case _:
            size = size_of(source)
            if is_pipe(source):
                raise FileError("a pipe", allowed="a file", where=where)
            asked = {**asked, "file": str(source)}
    seconds = SECONDS + size / BYTES_A_SECOND
    command = [sys.executable, "-c", CODE, *sys.path]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)  # noqa: S603
    except OSError as error:
        raise FileError(f"reading it needs a process of its own: {why(error)}", where=where) from None
    late = Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = Timer(seconds, stop)
    timer.daemon = True
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        timer.start()
        try:
            with process.stdin as into:
                into.write(json.dumps({**asked, "where": where}).encode() + b"\n")
                into.write(content)
            yield process.stdout
        except _BROKEN:
            process.kill()
            reason = f"reading it takes more than {seconds:.0f} s" if late.is_set() else "the HDF5 library fails on it"
            raise FileError(f"not an HDF5 file, or broken: {reason}", where=where) from None
        finally:
            timer.cancel()
            process.kill()


def _line(answers: IO[bytes]) -> Any:
    """The next line. Raises the error that it tells, `EOFError` where there is none."""
    line = answers.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    told = json.loads(line)
    if "problems" in told:
        kind = ResourceError if told["kind"] == "ResourceError" else FileError
        raise kind([Problem(**problem) for problem in told["problems"]])
    return told


def _array(answers: IO[bytes]) -> Array:
    import numpy as np

    told = _line(answers)
    values = np.empty(told["shape"], told["dtype"])
    if values.dtype.hasobject:  # bytes from elsewhere must not become pointers
        raise ValueError
    if answers.readinto(values.reshape(-1).view("u1")) != values.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return values


def answer() -> None:
    """What the process does: reads what is asked from stdin, the file after it if it lies nowhere else."""
    asked = json.loads(sys.stdin.buffer.readline())
    out = sys.stdout.buffer
    with suppress(ImportError):  # hdf5 says it
        import h5py  # noqa: F401  # before the limit: the room that libraries reserve is not the file's
    try:
        source = _source(asked)
        _limit(MEMORY)
        if "paths" not in asked:
            tree = hdf5.read_tree(source, asked["where"], asked["attributes"], asked["skip"])
            _tell(out, asdict(tree))
            return
        for values in hdf5.read_datasets(source, asked["where"], asked["paths"], lambda more: _limit(MEMORY + more)):
            _tell(out, {"shape": values.shape, "dtype": values.dtype.str})
            out.write(values.reshape(-1).view("u1"))
        out.flush()
    except RnnspectError as error:
        problems = [asdict(problem) for problem in error.problems]
        _tell(out, {"kind": type(error).__name__, "problems": problems})


def _source(asked: dict[str, Any]) -> hdf5.Source:
    from pathlib import Path

    if "file" not in asked:
        return io.BytesIO(sys.stdin.buffer.read())
    path = Path(asked["file"])
    return Part(path.open("rb"), asked["start"], asked["size"]) if "start" in asked else path


def _tell(out: IO[bytes], answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer).encode() + b"\n")
    out.flush()


def _limit(more: int) -> None:
    """Lets this process take so many bytes more than it has, where the system can hold it to that; no core dump."""
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = psutil.Process().memory_info().vms + more
    with suppress(OSError, ValueError):  # macOS has the name, and refuses
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
