"""Pickles with other constants, read opcode by opcode and never run.

A pickle is a program: its opcodes push constants, and some of them call. Here texts, bytes and small numbers
among the constants are exchanged, all else stays as it was, in its order. Only frames go, since their lengths
would be wrong: they are a reader's convenience, and a pickle without them means the same.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from inductory_client.contract.errors import Malformed

DEPTH_MAX = 8
"""Pickles lie in the bytes of pickles; vLLM's go four deep."""


@dataclass(frozen=True)
class Changes:
    """What a pickle's constants become; those of pickles in its bytes, too."""

    text: Callable[[str, str], str] = lambda before, value: value
    """Takes the text that was pushed just before it, empty where something else was, and the text."""
    data: Callable[[str, bytes], bytes] = lambda named, value: value
    """Takes the name that a file's bytes follow, empty where they follow none, and the bytes."""
    number: Callable[[str, tuple[str, ...], int], int] | None = None
    """Takes the text that came last before a number from 0 to 255, the opcodes between the two that
    aren't about remembering, and the number.
    """
    concerns: Callable[[bytes], bool] = lambda data: True
    """Whether a pickle may hold anything that is to change: a quick look, as reading opcodes isn't."""


_FIELD = "payload"
"""What torch calls the bytes of a file, after the file's name."""

_OPCODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
_NAMES = {code: name for name, code in _OPCODES.items()}
_COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
"""How many bytes say how many more an argument has."""


def _sizes() -> list[tuple[int, int] | None]:
    """Return, by opcode, how many bytes its argument has, and how many of these say how many more follow."""
    sizes: list[tuple[int, int] | None] = [None] * 256
    for opcode in pickletools.opcodes:
        size = 0 if opcode.arg is None else opcode.arg.n
        counted = _COUNTED.get(size, 0)
        # An argument that ends with its line is of protocols long gone.
        if size >= 0 or counted:
            sizes[ord(opcode.code)] = (counted or size, counted)
    return sizes


_SIZES = _sizes()
_TEXTS = frozenset(_OPCODES[name] for name in ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"))
_BYTES = frozenset(_OPCODES[name] for name in ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"))
_PUTS = frozenset(_OPCODES[name] for name in ("BINPUT", "LONG_BINPUT"))
_GETS = frozenset(_OPCODES[name] for name in ("BINGET", "LONG_BINGET"))
_MEMOIZE, _FRAME, _STOP, _NUMBER = (_OPCODES[name] for name in ("MEMOIZE", "FRAME", "STOP", "BININT1"))
_SINCE_MAX = 8
"""More opcodes than that aren't kept in mind."""


def is_pickle(data: bytes) -> bool:
    """Whether `data` begins as a pickle of protocol 4 or 5 does."""
    return data[:2] in (b"\x80\x04", b"\x80\x05")


def rewrite_pickle(data: bytes, changes: Changes, depth: int = 0) -> bytes:
    """Return the pickle with changed constants, those of pickles in its bytes included; `data` itself where
    nothing changes. Raises Malformed where it isn't one whole pickle of protocol 4 or newer.
    """
    if depth > DEPTH_MAX or not changes.concerns(data):
        return data
    pieces: list[bytes] = []
    done, named, text, remembered = 0, "", "", 0
    since: list[int] = []
    memo: dict[int, str] = {}
    at = 0
    for code, begin, end in _opcodes(data):
        replacement = None
        if code == _MEMOIZE:
            if not since:
                memo[remembered] = text
            remembered += 1
        elif code in _GETS:
            recalled = memo.get(int.from_bytes(data[begin:end], "little"))
            if recalled is not None:
                text, since = recalled, []
            elif len(since) < _SINCE_MAX:
                since.append(code)
        elif code in _TEXTS:
            value = _decoded(data[begin:end])
            changed = changes.text("" if since else text, value)
            replacement = None if changed == value else _text(changed)
            named = named if value == _FIELD else value
            text, since = value, []
        elif code in _BYTES:
            replacement = _replacement(data[begin:end], named, changes, depth)
            named = ""
            if len(since) < _SINCE_MAX:
                since.append(code)
        elif code in _PUTS:
            if not since:
                memo[int.from_bytes(data[begin:end], "little")] = text
            remembered += 1
        elif code == _FRAME:
            replacement = b""
        else:
            if code == _NUMBER and changes.number is not None:
                number = changes.number(text, tuple(_NAMES[each] for each in since), data[begin])
                replacement = None if number == data[begin] else bytes((_NUMBER, number))
            named = ""
            if len(since) < _SINCE_MAX:
                since.append(code)
        if replacement is not None:
            pieces += [data[done:at], replacement]
            done = end
        at = end
    rewritten = b"".join([*pieces, data[done:]])
    return rewritten if any(pieces[1::2]) else data  # where only frames went, nothing has changed


def _opcodes(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each opcode, and where its argument begins, behind its length, and ends. Raises Malformed.

    By hand: `pickletools.genops` takes five times as long, and a start waits for it.
    """
    at, size = 0, len(data)
    while at < size:
        code = data[at]
        sizes = _SIZES[code]
        if sizes is None:
            raise Malformed("what should be a pickle has an opcode that isn't known")
        length, counted = sizes
        begin = end = at + 1 + length
        if counted:
            end += int.from_bytes(data[at + 1 : begin], "little")
        else:
            begin = at + 1
        if end > size:
            raise Malformed("a pickle is cut short")
        yield code, begin, end
        at = end
        if code == _STOP:
            break
    else:
        raise Malformed("a pickle is cut short")
    if at != size:
        raise Malformed("something follows the end of a pickle")


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise Malformed(f"a pickle has a text that is none: {error}") from error


def _replacement(data: bytes, named: str, changes: Changes, depth: int) -> bytes | None:
    changed = changes.data(named, data)
    if changed == data and is_pickle(data):
        try:
            changed = rewrite_pickle(data, changes, depth + 1)
        except Malformed:
            return None  # bytes that begin like one by chance
    return None if changed == data else _bytes(changed)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    if len(data) < 1 << 8:
        return b"\x8c" + len(data).to_bytes(1, "little") + data
    return b"X" + len(data).to_bytes(4, "little") + data


def _bytes(data: bytes) -> bytes:
    if len(data) < 1 << 8:
        return b"C" + len(data).to_bytes(1, "little") + data
    if len(data) < 1 << 32:
        return b"B" + len(data).to_bytes(4, "little") + data
    return b"\x8e" + len(data).to_bytes(8, "little") + data
