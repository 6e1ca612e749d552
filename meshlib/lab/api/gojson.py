"""The words in which Go's JSON decoder refuses a body; clients and users know them.  Pure."""

from __future__ import annotations

from typing import NoReturn

_SPACE = b" \t\r\n"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_ESCAPES = b'bfnrt\\/"'
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
MAX_DEPTH = 10_000


class _Bad(Exception):
    """What is wrong; the text is Go's."""


def syntax_error(body: bytes) -> str:
    """Go's text for a body that is no JSON, "" for one whose syntax is right."""
    try:
        _Scanner(body).document()
    except _Bad as error:
        return str(error)
    return ""


def summary(body: bytes) -> str:
    """The start of a body as the server shows it in an error."""
    if not body:
        return "<empty>"
    text = body[:30].decode("utf-8", "replace") if body[:1] == b"{" else body[:30].hex()
    return f"{text} ..." if len(body) > 30 else text


def _quote(byte: int) -> str:
    """A byte as Go's scanner quotes it."""
    if byte == ord("'"):
        return r"'\''"
    character = chr(byte)
    if character.isprintable():
        return f"'{character}'"
    short = {7: "a", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t", 11: "v"}.get(byte)
    if short:
        return f"'\\{short}'"
    return f"'\\x{byte:02x}'" if byte < 0x80 else f"'\\u{byte:04x}'"


class _Scanner:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def document(self) -> None:
        """One value and nothing after it; open containers are on a stack, so that depth is no recursion."""
        stack: list[int] = []
        state = "value"
        while state != "end":
            self._skip_space()
            if state == "value":
                state = self._value(stack)
            elif state in ("first key", "key"):
                state = self._key(stack, first=state == "first key")
            elif state == "first item" and self._peek() != ord("]"):
                state = "value"
            else:
                state = self._after(stack)
        self._skip_space()
        if self._at < len(self._body):
            self._bad("after top-level value")

    def _value(self, stack: list[int]) -> str:
        byte = self._peek()
        if byte in b"{[":
            self._at += 1
            stack.append(byte)
            if len(stack) > MAX_DEPTH:
                raise _Bad("exceeded max depth")
            return "first key" if byte == ord("{") else "first item"
        if byte == ord('"'):
            self._string()
        elif byte in _LITERALS:
            self._literal(_LITERALS[byte])
        elif byte == ord("-") or byte in _DIGITS:
            self._number()
        else:
            self._bad("looking for beginning of value")
        return "after" if stack else "end"

    def _key(self, stack: list[int], *, first: bool) -> str:
        if first and self._peek() == ord("}"):
            return self._after(stack)
        if self._peek() != ord('"'):
            self._bad("looking for beginning of object key string")
        self._string()
        self._skip_space()
        if self._peek() != ord(":"):
            self._bad("after object key")
        self._at += 1
        return "value"

    def _after(self, stack: list[int]) -> str:
        """After a value inside a container: a comma or the container's end."""
        in_object = stack[-1] == ord("{")
        byte = self._peek()
        if byte == ord(","):
            self._at += 1
            return "key" if in_object else "value"
        if byte != (ord("}") if in_object else ord("]")):
            self._bad("after object key:value pair" if in_object else "after array element")
        self._at += 1
        stack.pop()
        return "after" if stack else "end"

    def _string(self) -> None:
        self._at += 1
        while (byte := self._peek()) != ord('"'):
            if byte == ord("\\"):
                self._at += 1
                if self._peek() == ord("u"):
                    for _ in range(4):
                        self._at += 1
                        if self._peek() not in _HEX:
                            self._bad("in \\u hexadecimal character escape")
                elif self._peek() not in _ESCAPES:
                    self._bad("in string escape code")
            elif byte < 0x20:
                self._bad("in string literal")
            self._at += 1
        self._at += 1

    def _literal(self, word: bytes) -> None:
        for expected in word[1:]:
            self._at += 1
            if self._peek() != expected:
                self._bad(f"in literal {word.decode()} (expecting {_quote(expected)})")
        self._at += 1

    def _number(self) -> None:
        if self._peek() == ord("-"):
            self._at += 1
            if self._peek() not in _DIGITS:
                self._bad("in numeric literal")
        if self._peek() == ord("0"):
            self._at += 1
        else:
            self._digits()
        if self._here() == ord("."):
            self._at += 1
            if self._peek() not in _DIGITS:
                self._bad("after decimal point in numeric literal")
            self._digits()
        if self._here() in b"eE" and self._here():
            self._at += 1
            if self._peek() in b"+-":
                self._at += 1
            if self._peek() not in _DIGITS:
                self._bad("in exponent of numeric literal")
            self._digits()

    def _digits(self) -> None:
        while self._here() in _DIGITS and self._here():
            self._at += 1

    def _skip_space(self) -> None:
        while self._here() in _SPACE and self._here():
            self._at += 1

    def _here(self) -> int:
        """The byte at this place, 0 at the end."""
        return self._body[self._at] if self._at < len(self._body) else 0

    def _peek(self) -> int:
        if self._at >= len(self._body):
            raise _Bad("unexpected end of JSON input")
        return self._body[self._at]

    def _bad(self, where: str) -> NoReturn:
        raise _Bad(f"invalid character {_quote(self._peek())} {where}")
