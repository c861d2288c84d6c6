"""Arrays, numbers, text and containers out of Python pickles; nothing in a pickle is ever called or imported.

A pickle is a program for a stack machine, and the machine of Python's own `pickle` may import and call anything.
Refusing names there (https://docs.python.org/3/library/pickle.html#restricting-globals) is not enough for numpy, whose
own functions trust the state that they are handed: `dtype.__setstate__` lets an array of objects pass for one of bytes,
which are then taken for pointers. So this is another machine for the same programs. It knows few instructions and few
names, and for each name it has a function of its own that checks what it is given. The instructions are told apart by
`pickletools`, which only looks.
"""

import io
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError

_DTYPE = re.compile(r"[<>|=]?(b1|i[1248]|u[1248]|f[248]|[?bBhHiIlLqQefd]|[SU]\d{1,4})")
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
# Instructions whose argument is the value.
_VALUES = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ]
)
_IGNORED = frozenset(("PROTO", "FRAME"))


def load_pickle(path: Path, max_bytes: int) -> Any:
    """What a pickle holds: None, booleans, numbers, text, bytes, lists, tuples, dicts, numpy arrays and numpy numbers.

    Args:
        path: The file.
        max_bytes: Larger files are refused.

    Raises:
        InputError: The file is too large or damaged, or asks for anything else; the message names it.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise InputError(
            f"{path} has {size / 1e9:.1f} GB, more than max_gb={max_bytes / 1e9:g}; allow more if you trust it."
        )
    try:
        return _Machine().run(path.read_bytes())
    except _RefusedError as error:
        raise InputError(f"{path} {error}; only arrays, numbers, text and containers are read.") from None
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is no pickle or is damaged ({reason}); copy it again.") from None


class _RefusedError(Exception):
    """The program asks for something that is not allowed."""


class _Pending:
    """A numpy object between being made and being given its state; `keys` is where the memo has it."""

    def __init__(self, kind: str, value: Any = None) -> None:
        self.kind = kind
        self.value = value
        self.keys: list[int] = []


class _Name:
    """An allowed global; it can be called by REDUCE if `call` is given, and else only be passed on."""

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self.call = call


class _Machine:
    """Runs one pickle."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """What it leaves on the stack."""
        for opcode, argument, _ in pickletools.genops(io.BytesIO(program)):
            name = opcode.name
            if name in _VALUES:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name == "STOP":
                break
            elif name not in _IGNORED:
                _INSTRUCTIONS.get(name, _unknown(name))(self, argument)
        result = self.pop()
        if self._stack:
            raise ValueError("more than one thing is left at the end")
        return result

    def since_mark(self) -> list[Any]:
        """Takes everything above the newest mark."""
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                taken = self._stack[index + 1 :]
                del self._stack[index:]
                return taken
        raise ValueError("a mark is missing")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value should be")
        return value

    def top(self, kind: type) -> Any:
        """The newest value, which must be of a kind."""
        value = self._stack[-1]
        if type(value) is not kind:
            raise ValueError(f"no {kind.__name__} where one should be")
        return value

    def remember(self, key: int) -> None:
        value = self._stack[-1]
        if isinstance(value, _Pending):
            value.keys.append(key)
        self._memo[key] = value

    def recall(self, key: int) -> None:
        self._stack.append(self._memo[key])

    def remember_next(self) -> None:
        self.remember(len(self._memo))

    def reduce(self) -> None:
        """Call an allowed name."""
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, _Name) or name.call is None or not isinstance(arguments, tuple):
            raise _RefusedError("calls something that is no function it may call")
        self._stack.append(name.call(*arguments))

    def build(self) -> None:
        """Give a numpy object its state, wherever it is referred to."""
        state, pending = self.pop(), self.pop()
        if not isinstance(pending, _Pending) or not isinstance(state, tuple):
            raise _RefusedError("gives a state to something that has none")
        value = _ordered_dtype(pending.value, state) if pending.kind == "dtype" else _array(*state)
        for key in pending.keys:
            self._memo[key] = value
        self._stack.append(value)


def _unknown(name: str) -> Callable[[_Machine, Any], None]:
    def refuse(machine: _Machine, argument: Any) -> NoReturn:
        raise _RefusedError(f"uses the instruction {name}")

    return refuse


def _find(module: str, name: str) -> _Name:
    """The stand-in for a global.

    Raises:
        _RefusedError: It is not allowed.
    """
    found = _NAMES.get(f"{module.replace('numpy._core', 'numpy.core')}.{name}")
    if found is None:
        raise _RefusedError(f"asks for {module}.{name}")
    return found


def _dtype(text: Any, align: Any = False, copy: Any = True) -> _Pending:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise _RefusedError(f"has an array of type {text!r}")
    return _Pending("dtype", np.dtype(text))


def _ordered_dtype(dtype: Any, state: tuple[Any, ...]) -> np.dtype[Any]:
    """A simple type with its byte order; the rest of the state is for structures, which are refused."""
    order = state[1]
    if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
        raise _RefusedError("has an array of structures")
    return dtype if order == "|" else dtype.newbyteorder(order)


def _array(version: Any, shape: Any, dtype: Any, fortran: Any, data: Any) -> NDArray[Any]:
    return _from_buffer(data, dtype, shape, "F" if fortran else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> NDArray[Any]:
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes | bytearray) or axes is not None:
        raise _RefusedError("has an array that is not made of bytes and a type")
    if (
        order not in ("C", "F")
        or not isinstance(shape, tuple)
        or not all(type(n) is int and n >= 0 for n in shape)
    ):
        raise ValueError(f"an array of shape {shape!r} in order {order!r}")
    # Checks that there are as many bytes as the shape says.
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _scalar(dtype: Any, data: Any) -> Any:
    return _from_buffer(data, dtype, (1,), "C")[0]


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError(f"encodes text as {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """How protocols 0 to 2 write no bytes; with an argument it would be asked for more."""
    return b""


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    return dict(zip(items[::2], items[1::2], strict=True))


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    return _pairs([part for pair in items for part in pair])


_NAMES = {
    "numpy.ndarray": _Name(),
    "numpy.dtype": _Name(_dtype),
    "numpy.core.multiarray._reconstruct": _Name(lambda *_: _Pending("array")),
    "numpy.core.multiarray.scalar": _Name(_scalar),
    "numpy.core.numeric._frombuffer": _Name(_from_buffer),
    "_codecs.encode": _Name(_encode),
    "__builtin__.bytes": _Name(_empty_bytes),
    "collections.OrderedDict": _Name(_ordered_dict),
}

_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda m, _: m.push(_MARK),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "DICT": lambda m, _: m.push(_pairs(m.since_mark())),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.push((m.pop(),)),
    "TUPLE2": lambda m, _: m.push((m.pop(), m.pop())[::-1]),
    "TUPLE3": lambda m, _: m.push((m.pop(), m.pop(), m.pop())[::-1]),
    "APPEND": lambda m, _: _append(m, [m.pop()]),
    "APPENDS": lambda m, _: _append(m, m.since_mark()),
    "SETITEM": lambda m, _: _set(m, [m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: _set(m, m.since_mark()),
    "PUT": lambda m, key: m.remember(key),
    "BINPUT": lambda m, key: m.remember(key),
    "LONG_BINPUT": lambda m, key: m.remember(key),
    "MEMOIZE": lambda m, _: m.remember_next(),
    "GET": lambda m, key: m.recall(key),
    "BINGET": lambda m, key: m.recall(key),
    "LONG_BINGET": lambda m, key: m.recall(key),
    "GLOBAL": lambda m, text: m.push(_find(*text.split(" ", 1))),
    "STACK_GLOBAL": lambda m, _: m.push(_find(*(str(part) for part in (m.pop(), m.pop())[::-1]))),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
}


def _append(machine: _Machine, items: list[Any]) -> None:
    machine.top(list).extend(items)


def _set(machine: _Machine, items: list[Any]) -> None:
    machine.top(dict).update(_pairs(items))
