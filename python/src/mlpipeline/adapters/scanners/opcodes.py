"""What a pickle would import and call, found by walking its opcodes. Nothing is ever unpickled.

The walk keeps the unpickler's stack and memo as far as constants go: names of imports that are put together on the stack are
known, and whatever cannot be known is said to be so. It also follows the arrays that joblib writes between the opcodes.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import IO, Any

JOBLIB_ARRAY = ("joblib.numpy_pickle", "NumpyArrayWrapper")
LEGACY_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_KEPT_ITEMS = 16
_KEPT_BYTES = 256
_ITEM = re.compile(r"[<>|=]?([?bBiufcmMSaUV])(\d+)")


class Malformed(Exception):
    """The bytes are no complete pickle; the text says what was found. What was seen before may have run already."""


@dataclass(frozen=True)
class Import:
    """A name the unpickler looks up.

    Args:
        module: Its module.
        name: Its name there, with dots for an attribute of it.
        at: Byte offset of the opcode.
    """

    module: str
    name: str
    at: int

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Oddity:
    """Something an ordinary pickle never does: what and where (byte offset)."""

    what: str
    at: int


@dataclass
class Seen:
    """What the walk of a file met.

    Args:
        imports: Every name that is looked up, once.
        oddities: What hides its effect.
        opcodes: How many were walked.
        calls: How often something that was imported, or made from it, is called or changed.
        magic: What the first pickle of the stream is, when it is a plain number (old PyTorch files begin so).
    """

    imports: dict[str, Import] = field(default_factory=dict)
    oddities: list[Oddity] = field(default_factory=list)
    opcodes: int = 0
    calls: int = 0
    magic: int = 0

    def add(self, module: str, name: str, at: int) -> None:
        self.imports.setdefault(f"{module}.{name}", Import(module, name, at))


class _Unknown:
    """A value that the walk does not follow."""


@dataclass(eq=False)
class _Made:
    """What calling an import gave."""

    what: Any
    arguments: Any
    state: Any = None


_UNKNOWN = _Unknown()
_MARK = object()


def walk(file: IO[bytes], seen: Seen, *, joblib: bool, tick: Callable[[], None] = lambda: None) -> None:
    """Walks one pickle from the file's position to behind its STOP.

    Args:
        joblib: Whether arrays that joblib wrote between the opcodes are passed over, as joblib's own loader does.
        tick: Called now and then; may raise to end a walk that takes too long.

    Raises Malformed.
    """
    _Walk(file, seen, joblib, tick).run()


class _Walk:
    def __init__(self, file: IO[bytes], seen: Seen, joblib: bool, tick: Callable[[], None]) -> None:
        self._file = file
        self._seen = seen
        self._joblib = joblib
        self._tick = tick
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._at = 0

    def run(self) -> None:
        first = self._seen.opcodes == 0
        for opcode, argument, position in self._opcodes():
            self._at = position or 0
            self._seen.opcodes += 1
            if not self._seen.opcodes & 0xFFF:
                self._tick()
            try:
                self._step(opcode, argument)
            except (IndexError, KeyError, TypeError) as error:
                raise Malformed(f"{opcode.name} at byte {self._at} finds nothing on the stack or in the memo") from error
            if opcode.name == "STOP":
                last = self._stack[-1] if self._stack else None
                if first and type(last) is int:
                    self._seen.magic = last
                return
        raise Malformed("it ends without STOP")

    def _opcodes(self) -> Iterator[tuple[Any, Any, int | None]]:
        try:
            yield from pickletools.genops(self._file)
        except (ValueError, IndexError, UnicodeDecodeError, OverflowError, MemoryError, RecursionError) as error:
            raise Malformed(f"its opcodes cannot be read: {str(error)[:160]}") from error

    def _step(self, opcode: Any, argument: Any) -> None:
        handler = getattr(self, f"_do_{opcode.name.lower()}", None)
        if handler is not None:
            handler(argument)
        elif opcode.name in _CONSTANTS:
            self._stack.append(_kept(argument))
        else:
            self._generic(opcode)

    def _generic(self, opcode: Any) -> None:
        """By the stack effect that the standard library documents for the opcode; the results are not followed."""
        if any(kind is pickletools.markobject for kind in opcode.stack_before):
            self._to_mark()
            # What lies below the mark in the documentation is taken too.
            below = opcode.stack_before.index(pickletools.markobject)
            self._drop(below)
        else:
            self._drop(len(opcode.stack_before))
        self._stack.extend(_UNKNOWN for _ in opcode.stack_after)

    def _drop(self, number: int) -> None:
        for _ in range(number):
            self._stack.pop()

    def _to_mark(self) -> list[Any]:
        taken = []
        while (top := self._stack.pop()) is not _MARK:
            taken.append(top)
        return taken[::-1]

    # --- constants and containers -----------------------------------------------------------------------------------

    def _do_stop(self, _: Any) -> None:
        """What lies on top is the result."""

    def _do_mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _do_none(self, _: Any) -> None:
        self._stack.append(None)

    def _do_newtrue(self, _: Any) -> None:
        self._stack.append(True)

    def _do_newfalse(self, _: Any) -> None:
        self._stack.append(False)

    def _do_empty_tuple(self, _: Any) -> None:
        self._stack.append(())

    def _do_tuple(self, _: Any) -> None:
        self._stack.append(_tuple(self._to_mark()))

    def _do_tuple1(self, _: Any) -> None:
        self._last_as_tuple(1)

    def _do_tuple2(self, _: Any) -> None:
        self._last_as_tuple(2)

    def _do_tuple3(self, _: Any) -> None:
        self._last_as_tuple(3)

    def _last_as_tuple(self, number: int) -> None:
        self._stack.append(_tuple([self._stack.pop() for _ in range(number)][::-1]))

    def _do_empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _do_setitem(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set(self._stack[-1], [key, value])

    def _do_setitems(self, _: Any) -> None:
        pairs = self._to_mark()
        self._set(self._stack[-1], pairs)

    def _set(self, container: Any, pairs: list[Any]) -> None:
        if isinstance(container, Import):
            self._odd(f"writes into {container.full}")
        if type(container) is dict and len(container) < _KEPT_ITEMS:
            for key, value in zip(pairs[::2], pairs[1::2], strict=False):
                if isinstance(key, str):
                    container[key] = value

    def _do_append(self, _: Any) -> None:
        self._stack.pop()
        self._not_into_an_import()

    def _do_appends(self, _: Any) -> None:
        self._to_mark()
        self._not_into_an_import()

    def _do_additems(self, _: Any) -> None:
        self._to_mark()
        self._not_into_an_import()

    def _not_into_an_import(self) -> None:
        if isinstance(self._stack[-1], Import):
            self._odd(f"writes into {self._stack[-1].full}")

    def _do_pop(self, _: Any) -> None:
        self._stack.pop()

    def _do_pop_mark(self, _: Any) -> None:
        self._to_mark()

    def _do_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    # --- memo -------------------------------------------------------------------------------------------------------

    def _do_put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    _do_binput = _do_long_binput = _do_put

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    _do_binget = _do_long_binget = _do_get

    # --- imports and calls ------------------------------------------------------------------------------------------

    def _do_global(self, argument: str) -> None:
        self._import(*_split(argument))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if isinstance(module, str) and isinstance(name, str):
            self._import(module, name)
        else:
            self._odd("imports a name that it puts together while it is loaded")
            self._stack.append(_UNKNOWN)

    def _import(self, module: str, name: str) -> None:
        if not _MODULE.fullmatch(module):
            raise Malformed(f"at byte {self._at} it imports from {module[:60]!r}, which is no module")
        self._seen.add(module, name, self._at)
        self._stack.append(Import(module, name, self._at))

    def _do_inst(self, argument: str) -> None:
        arguments = self._to_mark()
        self._import(*_split(argument))
        self._seen.calls += 1
        self._stack.append(_Made(self._stack.pop(), _tuple(arguments)))

    def _do_obj(self, _: Any) -> None:
        what, *arguments = self._to_mark()
        self._call(what, _tuple(arguments))

    def _do_reduce(self, _: Any) -> None:
        arguments, what = self._stack.pop(), self._stack.pop()
        self._call(what, arguments)

    def _do_newobj(self, _: Any) -> None:
        arguments, what = self._stack.pop(), self._stack.pop()
        self._call(what, arguments)

    def _do_newobj_ex(self, _: Any) -> None:
        self._stack.pop()
        self._do_newobj(_)

    def _call(self, what: Any, arguments: Any) -> None:
        self._seen.calls += 1
        if not isinstance(what, Import):
            self._odd("calls something that it makes while it is loaded")
        elif what.module.startswith("cloudpickle") and what.name in {"subimport", "dynamic_subimport"}:
            self._subimport(arguments)
        self._stack.append(_Made(what, arguments))

    def _subimport(self, arguments: Any) -> None:
        if isinstance(arguments, tuple) and arguments and isinstance(arguments[0], str) and _MODULE.fullmatch(arguments[0]):
            self._seen.add(arguments[0], "*", self._at)
        else:
            self._odd("imports a module whose name it puts together while it is loaded")

    def _do_build(self, _: Any) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Import):
            self._seen.calls += 1
            self._odd(f"changes {target.full} itself")
        if isinstance(target, _Made):
            target.state = state
            if self._joblib and isinstance(target.what, Import) and (target.what.module, target.what.name) == JOBLIB_ARRAY:
                self._pass_over_array(state)

    def _do_ext1(self, code: int) -> None:
        self._odd(f"imports what is registered under the number {code}")
        self._stack.append(_UNKNOWN)

    _do_ext2 = _do_ext4 = _do_ext1

    def _odd(self, what: str) -> None:
        if len(self._seen.oddities) < 100:
            self._seen.oddities.append(Oddity(what, self._at))

    # --- joblib -----------------------------------------------------------------------------------------------------

    def _pass_over_array(self, state: Any) -> None:
        if type(state) is not dict or not isinstance(state.get("shape"), tuple):
            raise Malformed(f"the array of joblib at byte {self._at} does not say how long it is")
        shape, kind = state["shape"], _dtype(state.get("dtype"))
        if not all(type(length) is int and length >= 0 for length in shape):
            raise Malformed(f"the array of joblib at byte {self._at} does not say how long it is")
        if kind.startswith("O"):
            walk(self._file, self._seen, joblib=False, tick=self._tick)
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = self._file.read(1)
            self._skip(padding[0] if padding else 0)
        self._skip(_item_bytes(kind, self._at) * prod(shape))

    def _skip(self, number: int) -> None:
        left = number
        while left:
            block = self._file.read(min(left, 1 << 20))
            if not block:
                raise Malformed(f"the array of joblib at byte {self._at} is cut off")
            left -= len(block)
            self._tick()


def _split(argument: str) -> tuple[str, str]:
    module, _, name = argument.partition(" ")
    return module, name


def _kept(value: Any) -> Any:
    """Constants that are worth following; long ones only cost memory."""
    if isinstance(value, (str, bytes)) and len(value) > _KEPT_BYTES:
        return _UNKNOWN
    return value if isinstance(value, (str, bytes, int, float)) else _UNKNOWN


def _tuple(items: list[Any]) -> Any:
    return tuple(items) if len(items) <= _KEPT_ITEMS else _UNKNOWN


def _dtype(value: Any) -> str:
    """The type code that a pickled ``numpy.dtype`` was made with, such as ``f8``."""
    made = value if isinstance(value, _Made) else None
    if made is None or not isinstance(made.arguments, tuple) or not made.arguments or not isinstance(made.arguments[0], str):
        return ""
    return str(made.arguments[0])


def _item_bytes(kind: str, at: int) -> int:
    found = _ITEM.fullmatch(kind)
    if found is None:
        raise Malformed(f"the array of joblib at byte {at} has a type that is not followed: {kind or 'unknown'}")
    letter, size = found.group(1), int(found.group(2))
    return size * 4 if letter == "U" else size


_CONSTANTS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    }
)
