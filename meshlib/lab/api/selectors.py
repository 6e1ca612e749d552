"""Label and field selectors: read as a real server reads them, with its error texts.  Pure.

The grammar is the one of k8s.io/apimachinery/pkg/labels; a selector is the sequence of its requirements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .errors import bad_request

_SPECIAL = "=!(),><"
_TOKENS = {")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "("}
_OPERATORS = {"=": "=", "==": "=", "in": "in", "!=": "!=", "notin": "notin", ">": "gt", "<": "lt"}
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_MAX_NAME = 63


class Requirement(NamedTuple):
    """`operator` is =, !=, in, notin, exists, !, gt or lt."""

    key: str
    operator: str
    values: frozenset[str]

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "!=" | "notin":
                return value is None or value not in self.values
            case "gt" | "lt":
                return _compare(value, self.operator, next(iter(self.values)))
        return value is not None and value in self.values


@dataclass(frozen=True, slots=True)
class LabelSelector:
    requirements: tuple[Requirement, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        return all(each.holds(labels) for each in self.requirements)


def parse_labels(text: str) -> LabelSelector:
    """Raises StatusError 400."""
    try:
        return LabelSelector(tuple(_Parser(_scan(text)).requirements()))
    except ValueError as error:
        raise bad_request(str(error)) from error


def from_object(selector: Mapping[str, object] | None) -> LabelSelector:
    """A `metav1.LabelSelector` (matchLabels, matchExpressions); an empty one takes everything."""
    found: list[Requirement] = []
    labels = (selector or {}).get("matchLabels") or {}
    if isinstance(labels, Mapping):
        found += [Requirement(key, "=", frozenset([value])) for key, value in labels.items()]
    expressions = (selector or {}).get("matchExpressions") or []
    words = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    if isinstance(expressions, list):
        for each in expressions:
            values = frozenset(each.get("values") or [])
            found.append(Requirement(each["key"], words[each["operator"]], values))
    return LabelSelector(tuple(found))


def _compare(value: str | None, operator: str, limit: str) -> bool:
    try:
        number = int(value or "")
    except ValueError:
        return False
    return number > int(limit) if operator == "gt" else number < int(limit)


def _scan(text: str) -> list[tuple[str, str]]:
    """(token, literal) pairs; the token of an identifier is "id", of what is no operator "error"."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text[at] in _SPECIAL:
            length = 2 if text[at : at + 2] in _TOKENS else 1
            literal = text[at : at + length]
            found.append((literal if literal in _TOKENS else "error", literal))
            at += length
        else:
            end = at
            while end < len(text) and text[end] not in _SPECIAL and not text[end].isspace():
                end += 1
            literal = text[at:end]
            found.append((literal if literal in ("in", "notin") else "id", literal))
            at = end
    return found


class _Parser:
    """Reads requirements; raises ValueError with the server's text."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            token, literal = self._look()
            if token == "end":
                return found
            if token not in ("id", "!"):
                raise ValueError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from error
            token, literal = self._take()
            if token == "end":
                return found
            if token != ",":
                raise ValueError(f"found '{literal}', expected: ',' or 'end of string'")
            token, literal = self._look()
            if token not in ("id", "!"):
                raise ValueError(f"found '{literal}', expected: identifier after ','")

    def _look(self, *, words: bool = False) -> tuple[str, str]:
        """The next token; `in` and `notin` are operators only where `words` says so."""
        if self._at >= len(self._tokens):
            return ("end", "")
        token, literal = self._tokens[self._at]
        return ("id", literal) if token in ("in", "notin") and not words else (token, literal)

    def _take(self, *, words: bool = False) -> tuple[str, str]:
        found = self._look(words=words)
        self._at += 1
        return found

    def _requirement(self) -> Requirement:
        token, key = self._take()
        absent = token == "!"
        if absent:
            token, key = self._take()
        if token != "id":
            raise ValueError(f"found '{key}', expected: identifier")
        if problem := key_problem(key):
            raise ValueError(f'<nil>: Invalid value: "{key}": {problem}')
        if absent or self._look()[0] in ("end", ","):
            return Requirement(key, "!" if absent else "exists", frozenset())
        token, literal = self._take(words=True)
        if token not in _OPERATORS:
            raise ValueError(f"found '{literal}', expected: in, notin, =, ==, !=, gt, lt")
        operator = _OPERATORS[token]
        values = self._values() if operator in ("in", "notin") else self._exact()
        return _checked(key, operator, values)

    def _values(self) -> list[str]:
        token, literal = self._take()
        if token != "(":
            raise ValueError(f"found '{literal}' expected: '('")
        token, literal = self._look()
        if token == ")":
            self._take()
            return [""]
        if token not in ("id", ","):
            raise ValueError(f"found '{literal}', expected: ',', ')' or identifier")
        found: list[str] = []
        while True:
            token, literal = self._take()
            if token == "id":
                found.append(literal)
                token, literal = self._look()
                if token not in (",", ")"):
                    raise ValueError(f"found '{literal}', expected: ',' or ')'")
                if token == ")":
                    break
            elif token == ",":
                if not found:
                    found.append("")
                if self._look()[0] in (")", ","):
                    found.append("")
                if self._look()[0] == ")":
                    break
            else:
                raise ValueError(f"found '{literal}', expected: ',', or identifier")
        self._take()
        return found

    def _exact(self) -> list[str]:
        if self._look()[0] in ("end", ","):
            return [""]
        token, literal = self._take()
        if token != "id":
            raise ValueError(f"found '{literal}', expected: identifier")
        return [literal]


def _checked(key: str, operator: str, values: list[str]) -> Requirement:
    if operator in ("in", "notin") and not values:
        raise ValueError("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty")
    for index, value in enumerate(sorted(set(values))):
        if operator in ("gt", "lt") and not re.fullmatch(r"[+-]?\d+", value):
            why = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise ValueError(f'values[{index}]: Invalid value: "{value}": {why}')
        if problem := value_problem(value):
            raise ValueError(f'values[{index}][{key}]: Invalid value: "{value}": {problem}')
    return Requirement(key, operator, frozenset(values))


def key_problem(key: str) -> str:
    """What is wrong with a label key, "" for nothing."""
    prefix, slash, name = key.rpartition("/")
    if slash and not prefix:
        return "prefix part must be non-empty"
    if "/" in prefix:
        optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return f"a valid label key {_NAME_RULE} {optional}"
    if slash and not _PREFIX.fullmatch(prefix):
        return (
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex "
            f"used for validation is '{_PREFIX.pattern}')"
        )
    if not name:
        return f"name part must be non-empty; name part {_NAME_RULE}"
    if len(name) > _MAX_NAME:
        return f"name part must be no more than {_MAX_NAME} bytes"
    return "" if _NAME.fullmatch(name) else f"name part {_NAME_RULE}"


def value_problem(value: str) -> str:
    """What is wrong with a label value, "" for nothing."""
    if len(value) > _MAX_NAME:
        return f"must be no more than {_MAX_NAME} bytes"
    return "" if not value or _NAME.fullmatch(value) else _VALUE_RULE


class FieldTerm(NamedTuple):
    field: str
    negated: bool
    value: str


def parse_fields(text: str) -> list[FieldTerm]:
    """The terms of a field selector; raises StatusError 400.  Backslash escapes `\\`, `,` and `=`."""
    found = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        parts = re.match(r"((?:[^=!\\]|\\.)*)(!=|==|=)(.*)", term, re.DOTALL)
        if not parts:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        value = re.sub(r"\\([\\,=])", r"\1", parts[3])
        found.append(FieldTerm(parts[1], parts[2] == "!=", value))
    return found
