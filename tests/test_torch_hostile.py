"""Hostile PyTorch files: each refused by name, quickly, and nothing runs, opens or is imported."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from rnnengine.errors import (
    ModelFormatError,
    RNNEngineError,
    UnsafeFileError,
    UnsupportedModelError,
)
from rnnengine.importers.torch import read_checkpoint, recognises

WATCHED: list[str] = []
SEEN: list[str] = []
HARMLESS = ("builtins.id", "object.__", "sys._getframe", "gc.", "time.")


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if WATCHED and not event.startswith(HARMLESS):
        SEEN.append(f"{event} {args!r:.120}")


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[None]:
    """Collect every import, exec, open, process, socket ... of what happens inside."""
    SEEN.clear()
    WATCHED.append("on")
    try:
        yield
    finally:
        WATCHED.clear()


# Opcodes by hand: what no honest pickler writes.
P2 = b"\x80\x02"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(dotted: str) -> bytes:
    module, _, attribute = dotted.rpartition(".")
    return b"c" + f"{module}\n{attribute}\n".encode()


def whole(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tup(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(function: bytes, *parts: bytes) -> bytes:
    return function + tup(*parts) + b"R"


def entry(key: str, value: bytes) -> bytes:
    return b"}" + text(key) + value + b"s"


def storage(numel: bytes, key: bytes | None = None, kind: str = "torch.FloatStorage") -> bytes:
    parts = (text("storage"), name(kind), key or text("0"), text("cpu"), numel)
    return tup(*parts) + b"Q"


def tensor(
    numel: int = 4, offset: int = 0, size: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,)
) -> bytes:
    return call(
        name("torch._utils._rebuild_tensor_v2"),
        storage(whole(numel)),
        whole(offset),
        tup(*map(whole, size)),
        tup(*map(whole, stride)),
        b"\x89",
        call(name("collections.OrderedDict")),
    )


def archive(body: bytes, members: dict[str, bytes] | None = None, method: int = 0) -> bytes:
    """A zip container around a pickle; storage 0 has four float32."""
    file = io.BytesIO()
    contents = {"a/data.pkl": P2 + body + b".", "a/data/0": bytes(16)} | (members or {})
    with zipfile.ZipFile(file, "w", method) as target:
        for member, data in contents.items():
            target.writestr(member, data)
    return file.getvalue()


def legacy(body: bytes, tail: bytes | None = None) -> bytes:
    keys = P2 + b"]" + text("0") + b"a."
    data = keys + (4).to_bytes(8, "little") + bytes(16) if tail is None else tail
    magic = P2 + b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    return (
        magic
        + pickle.dumps(1001, 2)
        + pickle.dumps({"little_endian": True}, 2)
        + P2
        + (body + b"." + data)
    )


def beside(payload: bytes) -> bytes:
    """A payload that stands beside honest weights."""
    weights = b"}" + text("w") + tensor() + b"s"
    return b"}(" + text("model") + weights + text("x") + payload + b"u"


GADGETS = (
    "os.system", "posix.system", "nt.system", "os.popen", "os.execv", "os.remove", "os.spawnl",
    "subprocess.Popen", "subprocess.check_output", "builtins.eval", "builtins.exec",
    "builtins.getattr", "builtins.__import__", "builtins.compile", "builtins.open",
    "builtins.globals", "builtins.type", "builtins.map", "__builtin__.eval", "__builtin__.apply",
    "importlib.import_module", "runpy.run_path", "pkgutil.resolve_name", "operator.attrgetter",
    "operator.methodcaller", "functools.reduce", "ctypes.CDLL", "socket.socket", "shutil.rmtree",
    "pty.spawn", "webbrowser.open", "code.InteractiveInterpreter", "timeit.timeit",
    "cProfile.run", "pickle.loads", "marshal.loads", "types.FunctionType", "types.CodeType",
    "asyncio.run", "multiprocessing.Process", "urllib.request.urlopen", "tempfile.mktemp",
    "pdb.run", "bdb.Bdb.run", "imaplib.IMAP4_stream", "sys.exit", "io.open",
    "logging.config.listen",
    "pip._internal.main", "pip.main", "setuptools.setup", "IPython.get_ipython", "dill.loads",
    "numpy.load", "numpy.testing._private.utils.runstring", "numpy.f2py.crackfortran.getlincoef",
)  # fmt: skip
CALLED = (
    "torch.load", "torch.hub.load", "torch.jit.load", "torch.utils.cpp_extension.load",
    "torch._dynamo.guards.GuardBuilder.get", "torch.nn.Linear", "mylib.helpers.run",
    "transformers.AutoModel.from_pretrained", "__main__.run", "yaml.load", "evil.run",
)  # fmt: skip


@pytest.mark.parametrize("place", ["root", "beside", "nested", "legacy", "protocol4", "plain"])
@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets(gadget: str, place: str) -> None:
    function = name(gadget)
    if place == "protocol4":
        module, _, attribute = gadget.rpartition(".")
        function = text(module) + text(attribute) + b"\x93"
    payload = call(function, text("echo hacked"))
    if place == "nested":
        payload = b"]" + tup(b"]" + payload + b"a") + b"a"
    whole_body = payload if place == "root" else beside(payload)
    contents = {"legacy": legacy(whole_body), "plain": P2 + payload + b"."}
    content = contents.get(place) or archive(whole_body)
    named = gadget.replace("__builtin__", "builtins")
    refuse(content, UnsafeFileError, rf"x\.pt: the pickle names {named}")


@pytest.mark.parametrize("function", CALLED)
def test_unknown_functions(function: str) -> None:
    payload = beside(call(name(function), text("a")))
    refuse(archive(payload), UnsafeFileError, rf"the pickle calls {function}, which is not among")


def refuse(content: bytes, error: type[RNNEngineError], message: str) -> None:
    begin = time.process_time()
    with watched():
        recognises(content)
        try:
            read_checkpoint(content, "x.pt")
            raised: Exception | None = None
        except RNNEngineError as caught:
            raised = caught
    took = time.process_time() - begin
    assert SEEN == []
    with pytest.raises(error, match=message):
        if raised is not None:
            raise raised
    assert took < 1, f"{took:.2f} s"


def spam(unit: bytes, count: int) -> bytes:
    return archive(unit * count + b"}")


def duplicated(member: str) -> bytes:
    """An archive with two members of one name; zipfile itself refuses to write it."""
    content = archive(entry("w", tensor()), {member[:-1] + "~": b"\x80\x02}."})
    return content.replace((member[:-1] + "~").encode(), member.encode())


def inflating(member: str, size: int, claimed: int | None = None) -> bytes:
    """An archive whose member inflates to much more than it says, or than is sane."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(bytes(size)) + packer.flush()
    content = archive(entry("w", tensor()), {member: data})
    said = struct.pack("<II", len(data), claimed if claimed is not None else size)
    method = struct.pack("<H", 8)
    for head, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.index(head)
        while content[place + (30 if at == 8 else 46) :][: len(member)] != member.encode():
            place = content.index(head, place + 1)
        content = content[: place + at] + method + content[place + at + 2 :]
        content = content[: place + at + 6] + b"\0\0\0\0" + said + content[place + at + 18 :]
    return content


def patched(content: bytes, signature: bytes, at: int, raw: bytes) -> bytes:
    place = content.rindex(signature) + at
    return content[:place] + raw + content[place + len(raw) :]


GOOD = archive(entry("w", tensor()))
BIG = 10**7

HOSTILE: dict[str, tuple[Callable[[], bytes], type[RNNEngineError], str]] = {
    # The pickle: what it calls, and on what.
    "call a string": (
        lambda: archive(text("os.system") + tup(text("id")) + b"R"), UnsafeFileError,
        "it calls a str; refused"),
    "call a result": (
        lambda: archive(call(call(name("collections.OrderedDict")), text("x"))), UnsafeFileError,
        "it calls a dict; refused"),
    "name from a dictionary": (
        lambda: archive(b"}" + text("x") + b"\x93"), ModelFormatError,
        "name of a class is no text"),
    "dotted attribute of an allowed module": (
        lambda: archive(b"ccollections\nOrderedDict.__init__.__globals__\n"), UnsafeFileError,
        r"names collections\.OrderedDict\.__init__"),
    "name that is none": (
        lambda: archive(b"cos; import sys\nx\n"), UnsafeFileError, "which is no name"),
    "endless name": (
        lambda: archive(b"c" + b"a" * 10**6 + b"\nx\n"), ModelFormatError, "line without an end"),
    "INST": (lambda: archive(b"(ios\nsystem\n"), UnsafeFileError, "opcode INST"),
    "OBJ": (lambda: archive(b"(" + name("mylib.A") + b"o"), UnsafeFileError, "opcode OBJ"),
    "EXT1": (lambda: archive(b"\x82\x01"), UnsafeFileError, "opcode EXT1"),
    "PERSID": (lambda: archive(b"Pabc\n"), UnsafeFileError, "opcode PERSID"),
    "NEXT_BUFFER": (lambda: archive(b"\x97"), UnsafeFileError, "opcode NEXT_BUFFER"),
    "protocol 9": (lambda: archive(b"\x80\x09}"), ModelFormatError, "protocol 9; expected 2 to 5"),
    "unknown opcode": (lambda: archive(b"\xff"), ModelFormatError, "byte 0xff is no opcode"),
    "rebuild through a gadget": (
        lambda: archive(entry("w", call(name("torch._tensor._rebuild_from_type_v2"),
                                        name("mylib.run"), b"N", tup(text("id")), b"}"))),
        UnsafeFileError, r"rebuilds a tensor by mylib\.run"),
    "weight made by a class of the file": (
        lambda: archive(entry("model", b"}(" + text("w") + tensor() + text("v") + call(
            name("mylib.Evil"), text("a")) + b"u")), UnsafeFileError, r"'v'.*made by mylib\.Evil"),
    "BUILD on a number": (
        lambda: archive(b"K\x01}b"), ModelFormatError, "BUILD on a int; expected an object"),
    "state of a class": (
        lambda: archive(name("collections.OrderedDict") + b"}b"), ModelFormatError,
        "BUILD on a Name"),
    "SETITEM on a tensor": (
        lambda: archive(tensor() + text("a") + b"K\x01s"), ModelFormatError,
        "items are set on a TensorRef; expected a dictionary"),
    "SETITEMS on a list": (
        lambda: archive(b"](" + text("a") + b"K\x01u"), ModelFormatError,
        "items are set on a list"),
    "APPEND to a dictionary": (
        lambda: archive(b"}K\x01a"), ModelFormatError, "appended to a dict; expected a list"),
    "odd items": (lambda: archive(b"}(K\x01u"), ModelFormatError, "items are set on a dict"),
    "key of nested tuples": (
        lambda: archive(b"}" + b")" + b"\x85" * 100_000 + b"K\x01s"), ModelFormatError,
        "a tuple as the key of a dictionary"),
    "key that is a list": (
        lambda: archive(b"}]K\x01s"), ModelFormatError, "a list as the key of a dictionary"),
    # The pickle: its limits.
    "10^7 operations": (lambda: spam(b"N0", BIG // 2), ModelFormatError, "more than 4000000 oper"),
    "10^7 empty lists": (lambda: spam(b"]0", BIG // 2), ModelFormatError, "more than 4000000 oper"),
    "10^7 duplicates": (
        lambda: archive(b"}" + b"2" * BIG), ModelFormatError, "more than 4000000 oper"),
    "marks": (lambda: spam(b"(", 100_000), ModelFormatError, "nested deeper than 2000"),
    "nested lists": (
        lambda: archive(b"]" * 300_000 + b"a" * 299_999), UnsupportedModelError,
        "no weights in it"),
    "nested tuples": (
        lambda: archive(b")" + b"\x85" * 300_000), UnsupportedModelError, "no weights in it"),
    "exponential sharing": (
        lambda: archive(b"]" + b"".join(b"q\x000]h\x00ah\x00a" for _ in range(50_000))),
        UnsupportedModelError, "no weights in it"),
    "list that holds itself": (
        lambda: archive(b"]q\x00h\x00a"), UnsupportedModelError, "no weights in it"),
    "memo index": (
        lambda: archive(b"}r\xff\xff\xff\x7f"), ModelFormatError, "memo entry 2147483647"),
    "memo before it is stored": (
        lambda: archive(b"h\x07"), ModelFormatError, "memo entry 7 is used before"),
    "text of 4 GB": (
        lambda: archive(b"X\xff\xff\xff\xffabc"), ModelFormatError,
        "4294967295 bytes are announced"),
    "bytes of 2^63": (
        lambda: archive(b"\x8e" + b"\xff" * 7 + b"\x7f"), ModelFormatError, "bytes are announced"),
    "integer of 1 MB": (
        lambda: archive(b"\x8b\x00\x00\x10\x00" + bytes(1 << 20)), ModelFormatError,
        "an integer of 1048576 bytes; expected at most 256"),
    "no end": (
        lambda: P2 + b"}" + text("a") + b"K\x01s", ModelFormatError, "it is truncated"),
    "empty stack": (lambda: archive(b"0"), ModelFormatError, "takes from an empty stack"),
    "no UTF-8": (lambda: archive(b"X\x01\x00\x00\x00\xff"), ModelFormatError, "no UTF-8"),
    "two objects": (lambda: archive(b"}}"), ModelFormatError, "ends with 2 objects"),
    # Tensors: every element inside its storage.
    "too many elements": (
        lambda: archive(entry("w", tensor(size=(5,)))), ModelFormatError,
        r"shape \[5\].*needs 20 bytes of storage '0', which has 16"),
    "offset": (lambda: archive(entry("w", tensor(offset=1))), ModelFormatError, "needs 20 bytes"),
    "stride": (
        lambda: archive(entry("w", tensor(size=(2, 2), stride=(3, 1)))), ModelFormatError,
        "needs 20 bytes"),
    "negative offset": (
        lambda: archive(entry("w", tensor(offset=-1))), ModelFormatError, "offset -1 of a tensor"),
    "negative stride": (
        lambda: archive(entry("w", tensor(stride=(-1,)))), ModelFormatError,
        "stride -1 of a tensor"),
    "negative size": (
        lambda: archive(entry("w", tensor(size=(-4,)))), ModelFormatError, "size -4 of a tensor"),
    "offset that wraps": (
        lambda: archive(entry("w", tensor(offset=2**62))), ModelFormatError, "offset 46116860184"),
    "product that wraps": (
        lambda: archive(entry("w", tensor(size=(2**32, 2**32), stride=(2**31, 1)))),
        ModelFormatError, "bytes of storage '0'"),
    "stride 0 out of nothing": (
        lambda: archive(entry("w", tensor(size=(2**40,), stride=(0,)))), ModelFormatError,
        "'w'.*over 16 times the bytes it stores"),
    "sizes without strides": (
        lambda: archive(entry("w", tensor(size=(2, 2)))), ModelFormatError,
        "2 sizes and 1 strides"),
    "10^3 axes": (
        lambda: archive(entry("w", tensor(size=(1,) * 1000, stride=(1,) * 1000))),
        ModelFormatError, "1000 sizes and 1000 strides"),
    "numel against the record": (
        lambda: archive(entry("w", tensor(numel=400, size=(400,)))), ModelFormatError,
        "storage '0' needs 1600 bytes; member 'a/data/0' has 16"),
    "numel below the record": (
        lambda: archive(entry("w", tensor(numel=2, size=(2,)))), ModelFormatError, "has 16"),
    "negative numel": (
        lambda: archive(entry("w", tensor(numel=-4))), ModelFormatError, "'0' of -4 elements"),
    "numel of another type": (
        lambda: archive(entry("w", storage(text("4")))), ModelFormatError, "'0' of 4 elements"),
    "storage of two types": (
        lambda: archive(b"](" + storage(whole(4)) + storage(whole(4), kind="torch.LongStorage")
                        + b"e"), ModelFormatError, "said to have 16 and 32 bytes"),
    "storage outside the archive": (
        lambda: archive(storage(whole(4), text("../../etc/passwd"))), ModelFormatError,
        r"a storage with the name '\.\./\.\./etc/passwd'"),
    "storage that is missing": (
        lambda: archive(storage(whole(4), text("7"))), ModelFormatError,
        "'a/data/7' is missing from the archive"),
    "storage of an unknown class": (
        lambda: archive(storage(whole(4), kind="torch.EvilStorage")), UnsupportedModelError,
        r"a storage of class torch\.EvilStorage"),
    "persistent id that is no storage": (
        lambda: archive(text("http://a") + b"Q"), ModelFormatError, "outside that is no storage"),
    "tensor over a string": (
        lambda: archive(call(name("torch._utils._rebuild_tensor_v2"), text("s"), b"K\x00", b")",
                             b")", b"\x89", b"}")), ModelFormatError, "arguments that fit it not"),
    # The zip container.
    "two data.pkl": (
        lambda: duplicated("a/data.pkl"), ModelFormatError, "two members are named 'a/data.pkl'"),
    "two storages": (
        lambda: duplicated("a/data/0"), ModelFormatError, "two members are named 'a/data/0'"),
    "data.pkl in two folders": (
        lambda: archive(b"}", {"b/data.pkl": b"\x80\x02}."}), ModelFormatError,
        r"ambiguous: the archive has the pickles \['a/data.pkl', 'b/data.pkl'\]"),
    "data.pkl in two cases": (
        lambda: archive(b"}", {"a/DATA.PKL": b"\x80\x02}."}), ModelFormatError, "ambiguous"),
    "data.pkl deep inside": (
        lambda: archive(b"}").replace(b"a/data.pkl", b"a/b/ta.pkl").replace(b"ta.pkl", b"data.pkl"),
        RNNEngineError, "x.pt: "),
    "zip bomb": (
        lambda: inflating("a/byteorder", 200 << 20), ModelFormatError, "decompression bomb"),
    "more than it says": (
        lambda: inflating("a/byteorder", 1 << 20, 6), ModelFormatError,
        "does not hold the 6 bytes it claims"),
    "encrypted": (
        lambda: patched(GOOD, b"PK\x01\x02", 8, b"\x01\x00"), UnsupportedModelError,
        "is encrypted"),
    "unknown compression": (
        lambda: patched(GOOD, b"PK\x01\x02", 10, b"\x0c\x00"), UnsupportedModelError, "method 12"),
    "directory outside": (
        lambda: patched(GOOD, b"PK\x05\x06", 16, b"\xff\xff\xff\x7f"), ModelFormatError,
        "the archive's directory claims"),
    "65535 members": (
        lambda: patched(GOOD, b"PK\x05\x06", 10, b"\xff\xff"), ModelFormatError, "claims 65535"),
    "member outside": (
        lambda: patched(GOOD, b"PK\x01\x02", 42, b"\xff\xff\xff\x7f"), ModelFormatError,
        "no member starts at byte"),
    "member of another name": (
        lambda: patched(GOOD, b"PK\x03\x04", 30, b"b"), ModelFormatError, "directory disagree"),
    "member longer than the file": (
        lambda: patched(GOOD, b"PK\x01\x02", 20, struct.pack("<II", 2**30, 2**30)),
        ModelFormatError, "needs 16 bytes; member 'a/data/0' has 1073741824"),
    "damaged data": (
        lambda: GOOD.replace(bytes(16), b"\x01" * 16, 1), ModelFormatError, "checksum mismatch"),
    "truncated archive": (lambda: GOOD[:-30], ModelFormatError, "file is truncated"),
    "byte order": (
        lambda: archive(b"}", {"a/byteorder": b"middle"}), ModelFormatError,
        "byte order b'middle'"),
    # The containers before it.
    "legacy: truncated": (
        lambda: legacy(entry("w", tensor()))[:-5], ModelFormatError,
        "11 are left, the file is trunc"),
    "legacy: numel": (
        lambda: legacy(entry("w", tensor()), P2 + b"]" + text("0") + b"a." + b"\xff" * 8),
        ModelFormatError, "has -1 elements; the pickle says 4"),
    "legacy: unknown storage": (
        lambda: legacy(entry("w", tensor()), P2 + b"]" + text("9") + b"a."), ModelFormatError,
        "storage '9' is unknown"),
    "legacy: absent storage": (
        lambda: legacy(entry("w", tensor()), P2 + b"]."), ModelFormatError,
        "'0' is not in the file"),
    "legacy: version": (
        lambda: legacy(b"}").replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)),
        ModelFormatError, "protocol version 1002"),
    "plain pickle with a storage": (
        lambda: P2 + storage(whole(4)) + b".", ModelFormatError, "there is nothing there"),
    "plain pickle and more": (lambda: P2 + b"}.}", ModelFormatError, "1 bytes after the end"),
    "file within a file within a file": (
        lambda: P2 + call(name("torch.storage._load_from_bytes"), b"B" + struct.pack(
            "<I", len(NESTED)) + NESTED) + b".", UnsafeFileError, "_load_from_bytes"),
    "tar: size": (
        lambda: tar(b"77777777777"), ModelFormatError, "member 'storages' is cut off"),
    "tar: no size": (lambda: tar(b"9z"), ModelFormatError, "has no size"),
    "tar: other members": (lambda: tar(b"0"), ModelFormatError, "without .'pickle', 'tensors'"),
}  # fmt: skip

NESTED = legacy(call(name("torch.storage._load_from_bytes"), b"C\x01a"))


def tar(size: bytes) -> bytes:
    head = b"storages".ljust(124, b"\0") + size.ljust(12, b"\0") + b"0" * 8 + b"0"
    return (head.ljust(257, b"\0") + b"ustar").ljust(512, b"\0") + bytes(512)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case: str) -> None:
    make, error, message = HOSTILE[case]
    refuse(make(), error, message)


def test_the_honest_file_opens() -> None:
    """The builder of these files is not what makes them fail."""
    for content in (GOOD, legacy(entry("w", tensor()))):
        with watched():
            read = read_checkpoint(content, "x.pt")
        assert SEEN == []
        np.testing.assert_array_equal(read.tensors["w"], np.zeros(4, np.float32))


def test_inert_records_beside_the_weights() -> None:
    """A class of the user's own stays a record: nothing of it is looked up."""
    for payload in (
        call(name("mylib.config.Mode"), text("fast")),
        name("mylib.config.Config") + b")\x81}" + text("a") + b"K\x01sb",
        name("mylib.helpers.run"),
    ):
        with watched():
            read = read_checkpoint(archive(beside(payload)), "x.pt")
        assert SEEN == []
        assert list(read.tensors) == ["w"]


@pytest.mark.parametrize("content", [GOOD, legacy(entry("w", tensor()))], ids=["zip", "legacy"])
def test_every_truncation(content: bytes) -> None:
    for length in range(len(content)):
        with pytest.raises(RNNEngineError):
            read_checkpoint(content[:length], "x.pt")


@pytest.mark.parametrize("content", [GOOD, legacy(entry("w", tensor()))], ids=["zip", "legacy"])
def test_every_flipped_bit(content: bytes) -> None:
    """Read all the same, or refused by a typed error: nothing else."""
    for position in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            try:
                read_checkpoint(bytes(changed), "x.pt")
            except RNNEngineError:
                continue


def test_dictionaries_of_python_2() -> None:
    """They are made from a list of pairs, with names of bytes."""
    key = b"U\x01w"
    body = call(name("collections.OrderedDict"), b"](](" + key + tensor() + b"ee")
    np.testing.assert_array_equal(
        read_checkpoint(archive(body), "x.pt").tensors["w"], np.zeros(4, np.float32)
    )
