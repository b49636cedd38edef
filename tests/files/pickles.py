"""Pickles written by hand, instruction by instruction, as no library would write them."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile


def text(content: str) -> bytes:
    data = content.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def called(module: str, name: str, args: bytes = b")") -> bytes:
    """A call of that function with a tuple of arguments."""
    return f"c{module}\n{name}\n".encode() + args + b"R"


def integers(*values: int) -> bytes:
    """A tuple of numbers."""
    return b"(" + b"".join(pickle.dumps(value, 2)[2:-1] for value in values) + b"t"


def tensor(offset: int, shape: bytes, strides: bytes, view: bytes = b"", kind: str = "Float", count: int = 6) -> bytes:
    """A tensor of a storage with the key 7."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text("7") + text("cpu") + b"K%c" % count
    inside = b"(" + storage + view + b"tQ" + b"J" + struct.pack("<i", offset) + shape + strides + b"\x89}t"
    return called("torch._utils", "_rebuild_tensor_v2", inside)


def legacy(content: bytes, numbers: bytes, little_endian: bool = True) -> bytes:
    """A file of torch.save up to 1.5 with one storage of four-byte numbers, whose key is 7."""
    begin = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    begin += pickle.dumps({"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {}}, 2)
    return (
        begin + b"\x80\x02" + content + b"." + pickle.dumps(["7"], 2) + struct.pack("<q", len(numbers) // 4) + numbers
    )


def zipped(content: bytes, numbers: bytes, order: str = "little") -> bytes:
    """A file of torch.save since 1.6 with one storage, whose key is 7."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + content + b".")
        archive.writestr("x/byteorder", order)
        archive.writestr("x/data/7", numbers)
    return file.getvalue()


def tar() -> bytes:
    """What torch 0.1 wrote for {"w": …, "v": …}: a storage, a view into it, and a tensor in each."""
    members = {
        "sys_info": pickle.dumps({"little_endian": True}, 2),
        "storages": pickle.dumps(1, 2)
        + b"\x80\x02(K\x07U\x03cpuctorch\nFloatStorage\nt."
        + struct.pack("<q6f", 6, *range(6))
        + pickle.dumps([(8, 7, 2, 4)], 2),
        "tensors": pickle.dumps(2, 2)
        + b"\x80\x02(K\x01K\x07ctorch\nFloatTensor\nt."
        + struct.pack("<iiqqqqq", 2, 0, 2, 3, 3, 1, 0)
        + b"\x80\x02(K\x02K\x08ctorch\nFloatTensor\nt."
        + struct.pack("<iiqqq", 1, 0, 2, 2, 1),
        "pickle": b"\x80\x02}(U\x01wU\x011QU\x01vU\x012Qu.",
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


MANY = 100_000
ORDERED = b"ccollections\nOrderedDict\n"
DAMAGED: dict[str, bytes] = {
    "nothing but the end": b".",
    "no end": b"\x80\x02N",
    "an unknown instruction": b"\x00.",
    "a stack that is too short": b"N\x87.",
    "two values": b"NN.",
    "a mark alone": b"(.",
    "nothing to take": b"0.",
    "nothing remembered": b"h\x00.",
    "a key without a value": b"}(Nu.",
    "no class to call": b"(o.",
    "a class by its number": b"\x82\x01.",
    "a buffer outside the file": b"\x80\x05\x97.",
    "bytes of 4 EiB": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "bytes of 16 GiB": b"\x80\x04\x8e" + struct.pack("<Q", 2**34) + b"abc.",
    "a bytearray of 16 GiB": b"\x80\x05\x96" + struct.pack("<Q", 2**34) + b"abc.",
    "a number of 2 GiB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a name of a million characters": b"c" + b"a" * 1_000_000 + b"\nb\n.",
    "a shape of many sizes, many times": b"\x80\x02(" + b"K\x00" * MANY + b"tq\x010}q\x02("
    + text("shape") + b"h\x01" + text("dtype") + b"cnumpy\ndtype\n(" + text("f4") + b"K\x00K\x01tRu0"
    + b"cjoblib.numpy_pickle\nNumpyArrayWrapper\nq\x030(" + b"h\x03)Rh\x02b" * MANY + b"l.",
    "names that grow": b"\x80\x02" + text("a" * 999) + b"q\x000(" + b"}h\x00}h\x00}h\x00]Nasss" * MANY + b"l.",
    "too many instructions": b"\x80\x02(" + b"N" * 5_100_000 + b"l.",
}  # fmt: skip
"""Each of them is refused."""
UNUSUAL: dict[str, bytes] = {
    "a place of four billion": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a frame longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "tuples in one another": b"\x80\x02)" + b"\x85" * MANY + b".",
    "lists in one another": b"\x80\x02" + b"]" * MANY + b"a" * (MANY - 1) + b".",
    "a key that doubles two hundred times": b"\x80\x02})" + b"2\x86" * 200 + b"Ns.",
    "a key of tuples in one another": b"\x80\x02})" + b"\x85" * MANY + b"Ns.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a dict in itself": b"\x80\x02}q\x00K\x01h\x00s.",
    "an object whose state it is itself": b"\x80\x02cx\ny\n)Rq\x00h\x00b.",
    "objects in states of one another": b"\x80\x02" + b"cx\ny\n)R" * MANY + b"b" * (MANY - 1) + b".",
    "a text of ten million bytes, many times": b"\x80\x02c_codecs\nencode\nq\x000" + text("a" * 10_000_000)
    + text("latin1") + b"\x86q\x010(" + b"h\x00h\x01R" * MANY + b"l.",
    "a long key, many times": b"\x80\x02" + text("a" * 10_000_000) + b"q\x000" + text("a" * 10_000_000)
    + b"q\x010}h\x00Ns(" + b"h\x01N" * (4 * MANY) + b"u.",
    "a long number as a key, many times": b"\x80\x02\x8b" + struct.pack("<i", 1_000_000) + b"\x01" * 1_000_000
    + b"q\x000}(" + b"h\x00N" * MANY + b"u.",
    "many pairs, many times": b"\x80\x02" + ORDERED + b"q\x000](" + b"K\x01K\x02\x86" * MANY + b"e\x85q\x030("
    + b"h\x00h\x03R" * MANY + b"l.",
    "many modules that share many parameters": b"\x80\x02}(" + b"".join(
        b"J" + struct.pack("<i", n) + b"]N\x85a" for n in range(MANY)) + b"uq\x010cx\nM\nq\x000("
    + (b"h\x00)R}(" + text("_parameters") + b"h\x01" + text("_modules") + b"}ub") * (MANY // 10) + b"l.",
    "modules that are the list of modules of one another": b"\x80\x02" + (b"cx\nM\n)R}(" + text("_parameters") + b"}"
    + text("_modules")) * 400 + b"}" + b"ub" * 400 + b".",
    "many modules that share a large state": b"\x80\x02}(" + text("_parameters") + b"}" + text("_modules") + b"}"
    + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(MANY)) + b"uq\x010cx\nM\nq\x000("
    + b"h\x00)Rh\x01b" * MANY + b"l.",
    "many TorchScript modules that share a large state": b"\x80\x02}(" + b"".join(
        b"J" + struct.pack("<i", n) + b"N" for n in range(MANY)) + b"uq\x010c__torch__.a\nM\nq\x000("
    + b"h\x00)Rh\x01b" * MANY + b"l.",
}  # fmt: skip
"""Each of them is read at once, and holds no array."""
