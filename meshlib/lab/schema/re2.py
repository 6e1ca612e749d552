"""Whether RE2, which Envoy and Istio match with, takes a regular expression.

Python's syntax is nearly a superset, so an expression must compile here and use nothing that RE2 lacks.
Source: https://github.com/google/re2/wiki/Syntax (the rows marked NOT SUPPORTED).
"""

from __future__ import annotations

import re

_MAX_REPEAT = 1000
_ESCAPES = re.compile(r"\\(?:p\{\^?\w+\}|P\{\^?\w+\}|[pP]\w|[zAC])")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]", re.DOTALL)
#: What RE2 lacks: the pattern that finds it, outside of classes and escaped characters, and its name.
_LACKING = (
    (re.compile(r"\(\?(?:=|!)"), "invalid or unsupported Perl syntax: look-ahead"),
    (re.compile(r"\(\?<(?:=|!)"), "invalid or unsupported Perl syntax: look-behind"),
    (re.compile(r"\(\?>"), "invalid or unsupported Perl syntax: atomic group"),
    (re.compile(r"\(\?P?[(#]"), "invalid or unsupported Perl syntax: condition or comment"),
    (re.compile(r"\(\?P="), "invalid or unsupported Perl syntax: backreference"),
    (re.compile(r"\(\?[a-zA-Z]*[xaLu]"), "invalid or unsupported Perl syntax: flag"),
    (re.compile(r"[*+?}]\+|[*+?}][*]|[*+?}]\?[*+?]"), "invalid nested repetition operator"),
)


def refusal(pattern: str) -> str | None:
    """Why RE2 would not take a pattern, None where it would."""
    # RE2's own escapes and named groups, which this Python does not know, stand for one character here.
    known = re.sub(r"\\Q.*?(?:\\E|$)|\[:\^?\w+:\]", "a", pattern, flags=re.DOTALL)
    known = _ESCAPES.sub("a", re.sub(r"\(\?<(?=\w)", "(?P<", known))
    try:
        re.compile(known)
    except re.error as error:
        return error.msg
    if re.search(r"(?<!\\)(?:\\\\)*\\(?:[1-9]|Z|N\{|u[0-9a-fA-F]{4})", pattern):
        return "invalid escape sequence"
    plain = re.sub(r"\\.", "a", _CLASS.sub("a", known), flags=re.DOTALL)
    for construct, name in _LACKING:
        if construct.search(plain):
            return name
    for numbers in re.findall(r"\{(\d+)(?:,(\d*))?\}", plain):
        if any(number and int(number) > _MAX_REPEAT for number in numbers):
            return "invalid repeat count"
    return None
