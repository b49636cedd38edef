"""Core ML and TensorFlow Lite models that are damaged, or made to take all memory or to never end: one message that
names the file, exit status 2, and little time and memory for it."""

from __future__ import annotations

import random
import resource
import shutil
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from rnnspect.cli import main
from rnnspect.errors import RnnspectError
from rnnspect.files import coreml_file
from rnnspect.network.spec import Spec
from rnnspect.weights import readers
from tests.weights.readers.coreml_files import FOLDER
from tests.wire_format import field, nested, varint

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
CASES = [(path.name, "") for path in sorted(FOLDER.glob("*.tflite")) + sorted(FOLDER.glob("*.mlmodel"))]
CASES += [(path.name, inner) for path in sorted(FOLDER.glob("*.mlpackage")) for inner in (MODEL, WEIGHTS)]


def number(of: int, value: int) -> bytes:
    return varint(of << 3) + varint(value)


def model(kind: int, body: bytes) -> bytes:
    """A Core ML model of a kind (500 a network, 502 a program, 202 a pipeline)."""
    return number(1, 4) + field(2, b"") + field(kind, body)


def program(operations: bytes) -> bytes:
    """An ML Program of one function with these operations."""
    function = field(3, field(1, b"CoreML5") + field(2, operations))
    return model(502, field(2, field(1, b"main") + field(2, function)))


def constant(name: bytes, shape: tuple[int, ...], value: bytes) -> bytes:
    """An operation const of float32; `value` is the field of the value that holds it."""
    axes = b"".join(field(3, field(1, number(1, size))) for size in shape)
    typed = field(2, field(1, number(1, 11) + number(2, len(shape)) + axes))
    return field(
        3, field(1, b"const") + field(3, field(1, name)) + field(5, field(1, b"val") + field(2, typed + value))
    )


def user(**inputs: bytes) -> bytes:
    """An operation rnn that takes these constants."""
    bound = (field(2, field(1, name.encode()) + field(2, field(1, field(1, one)))) for name, one in inputs.items())
    return field(3, field(1, b"rnn") + b"".join(bound))


def in_file(name: bytes, offset: int) -> bytes:
    return field(5, field(1, name) + number(2, offset))


HUGE = number(1, 2**31) + number(2, 2**31) + field(30, field(1, bytes(16)))
BOMBS = {
    "pipelines": (model(202, nested(3000, b"", (number(1, 1) + field(2, b""), 202), (b"", 1))), "nested"),
    "branches": (model(500, nested(20_000, b"", (b"", 1), (b"", 605), (b"", 1))), "nested too deeply"),
    "blocks": (program(nested(20_000, b"", (field(1, b"cond"), 4), (b"", 3))), "nested too deeply"),
    "sizes": (model(500, field(1, field(410, HUGE))), "4 values; expected 4611686018427387904"),
    "no sizes": (model(500, field(1, field(410, number(1, 0)))), "inputVectorSize is 0 and outputVectorSize is 0"),
    "layers": (model(500, field(1, b"") * 300_000), "the network has too many layers"),
    "fields": (model(500, field(7, b"") * 600_000), "too many fields"),
    "recurrent": (
        model(500, field(1, field(410, number(1, 1) + number(2, 1))) * 1001),
        "the model has too many recurrent layers",
    ),
    "outside": (
        program(constant(b"w", (2, 2), in_file(b"@model_path/../../../etc/passwd", 64)) + user(weight_ih=b"w")),
        "outside the model's folder",
    ),
    "absolute": (program(constant(b"w", (2, 2), in_file(b"/etc/passwd", 0)) + user(weight_ih=b"w")), "outside"),
    "zero byte": (
        program(constant(b"w", (2, 2), in_file(b"w\0", 0)) + user(weight_ih=b"w")),
        "outside the model's folder",
    ),
    "no file": (program(constant(b"w", (2, 2), in_file(b"@model_path/w", 0)) + user(weight_ih=b"w")), "no such file"),
    "itself": (program(constant(b"w", (2, 2), in_file(b"m", 0)) + user(weight_ih=b"w")), "no float32 of shape"),
    "type": (program(constant(b"w", (2**62, 2**62), field(3, b"")) + user(weight_ih=b"w")), "has no values"),
    "text": (model(500, number(1, 3)), "field 1 has the wrong type"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_of_core_ml(tmp_path: Path, capsys: Any, name: str):
    data, said = BOMBS[name]
    (tmp_path / "m").write_bytes(data)
    start = time.process_time()
    assert main(["shapes", str(tmp_path / "m")]) == 2
    assert time.process_time() - start < 30  # of the CPU: a few
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith(f"error: {tmp_path}/{'w' if name == 'no file' else 'm'}: ") or f"{tmp_path}/m:" in err


@pytest.mark.slow
def test_one_constant_for_many_operations_is_read_once(tmp_path: Path):
    """Its numbers are not packed: 300,000 fields. Read for each of 500 operations they would take minutes."""
    numbers = field(3, field(1, field(1, (varint(1 << 3 | 5) + bytes(4)) * 300_000)))
    names = ("weight_ih", "weight_hh", "bias", "activation")
    users = user(**dict.fromkeys(names, b"w")) * 500
    (tmp_path / "m").write_bytes(program(constant(b"w", (300, 1000), numbers) + users))
    start = time.process_time()
    assert len(coreml_file.read_operators(tmp_path / "m")) == 500
    assert time.process_time() - start < 30


def shared_tables(graphs: int, operators: int, kind: int = 44) -> bytes:
    """A .tflite of that many graphs, which are one table; of its operators, which are one table, too."""
    out = bytearray(struct.pack("<I4s", 0, b"TFL3"))

    def table(**fields: int) -> tuple[int, dict[str, int]]:
        """A table of 4-byte fields at these places; where it is, and where each field's value is."""
        size = max(int(name[1:]) for name in fields) + 1
        places = {name: 4 + 4 * at for at, name in enumerate(fields)}
        vtable = len(out)
        entries = [places.get(f"f{at}", 0) for at in range(size)]
        out.extend(struct.pack(f"<HH{size}H", 4 + 2 * size, 4 + 4 * len(fields), *entries))
        out.extend(bytes(-len(out) % 4))
        out.extend(struct.pack(f"<i{len(fields)}I", (start := len(out)) - vtable, *fields.values()))
        return start, {name: start + place for name, place in places.items()}

    def point(place: int, to: int) -> None:
        struct.pack_into("<I", out, place, to - place)

    def vector(count: int) -> int:
        start = len(out)
        out.extend(struct.pack("<I", count) + bytes(4 * count))
        return start

    root, fields = table(f1=0, f2=0)
    point(0, root)
    codes, subgraphs = vector(1), vector(graphs)
    point(fields["f1"], codes)
    point(fields["f2"], subgraphs)
    code, _ = table(f3=kind)
    point(codes + 4, code)
    graph, inside = table(f3=0)
    for at in range(graphs):
        point(subgraphs + 4 + 4 * at, graph)
    every = vector(operators)
    point(inside["f3"], every)
    operator, options = table(f0=0, f4=0)
    for at in range(operators):
        point(every + 4 + 4 * at, operator)
    point(options["f4"], table(f1=0)[0])  # of a WHILE: its body is graph 0
    return bytes(out)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((1, 2000), "the model has too many recurrent operators"),
        ((100_000, 100_000, 9), "the model has too many operators"),
        ((1, 100_000, 119), "too many operators"),
        pytest.param((300_000, 0), "the model has too many operators", marks=pytest.mark.slow),
    ],
)
def test_shared_tables_of_tflite(tmp_path: Path, capsys: Any, made: tuple[int, ...], said: str):
    (tmp_path / "m").write_bytes(shared_tables(*made))
    assert main(["shapes", str(tmp_path / "m")]) == 2
    assert said in capsys.readouterr().err


def test_a_table_that_refers_to_itself(tmp_path: Path, capsys: Any):
    data = bytearray(shared_tables(1, 1))
    data[:4] = bytes(4)
    (tmp_path / "m").write_bytes(data)
    assert main(["shapes", str(tmp_path / "m")]) == 2
    assert "a table lies outside it" in capsys.readouterr().err


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to eight changes: values, lengths, parts left out, put in, or moved, and the end cut."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, kind = rng.randrange(max(len(found), 1)), rng.random()
        if kind < 0.4:
            found[at : at + 1] = bytes([rng.randrange(256)])
        elif kind < 0.6:
            found[at : at + 1] = bytes([rng.choice((0, 1, 127, 128, 255))])
        elif kind < 0.7:
            found[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f", b"\0\0\0\x80"))
        elif kind < 0.8:
            del found[at : at + rng.choice((1, 4, 16, 100))]
        elif kind < 0.9:
            found[at:at] = rng.randbytes(rng.choice((1, 4, 16)))
        elif kind < 0.96:
            found[at : at + 16] = found[(start := rng.randrange(max(len(found), 1))) : start + 16]
        else:
            del found[at:]
    return bytes(found)


def refusal(path: Path) -> str | None:
    """Our error's message; None where every module is told and read. Any other exception is what we look for."""
    try:
        modules = readers.find("tflite" if path.suffix == ".tflite" else "coreml").modules(path, {})
        for module in modules.values():
            module.read(Spec.from_data(module.tell().keys | {"input": None}, lambda _keys: str(path)))
    except RnnspectError as error:
        return str(error)
    return None


@pytest.mark.parametrize("count", [400, pytest.param(100_000, marks=pytest.mark.campaign)])
def test_mutated_models(tmp_path: Path, count: int):
    rng = random.Random(13)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = 0
    for _ in range(count):
        name, inner = rng.choice(CASES)
        path = tmp_path / name
        if inner:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(FOLDER / name, path)
        data = mutated(((FOLDER / name / inner) if inner else FOLDER / name).read_bytes(), rng)
        ((path / inner) if inner else path).write_bytes(data)
        start = time.process_time()
        said = refusal(path)
        assert said is None or (str(tmp_path) in said and len(said) < 2000), said
        answers += said is None
        assert time.process_time() - start < 20
    assert 0.05 * count < answers < 0.95 * count
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10 < 1000  # KiB; 1000 MiB
