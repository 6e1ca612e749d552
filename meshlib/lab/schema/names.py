"""The forms of names, label keys and values, ports: each function gives what is wrong with a value, [] for
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
MAX_LABEL, MAX_SUBDOMAIN, MAX_PORT_NAME = 63, 253, 15

Check = Callable[[str], list[str]]


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value, re.ASCII) is not None


def _form(message: str, pattern: str, *examples: str) -> str:
    shown = "  or ".join(f"'{each}'," for each in examples)
    return f"{message} (e.g. {shown} regex used for validation is '{pattern}')"


def dns_label(value: str) -> list[str]:
    found = [f"must be no more than {MAX_LABEL} characters"] if len(value) > MAX_LABEL else []
    if not _matches(LABEL, value):
        if _matches(SUBDOMAIN, value):
            return [*found, "must not contain dots"]
        message = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
            "must start and end with an alphanumeric character"
        )
        found.append(_form(message, LABEL, "my-name", "123-abc"))
    return found


def dns_subdomain(value: str) -> list[str]:
    found = [f"must be no more than {MAX_SUBDOMAIN} characters"] if len(value) > MAX_SUBDOMAIN else []
    if not _matches(SUBDOMAIN, value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
            "'.', and must start and end with an alphanumeric character"
        )
        found.append(_form(message, SUBDOMAIN, "example.com"))
    return found


def path_segment(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{each}'" for each in "/%" if each in value]


def qualified_name(value: str) -> list[str]:
    """What is wrong with a label key, an annotation key or the name of a finalizer."""
    message = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character"
    )
    form = _form(message, QUALIFIED, "MyName", "my.name", "123-abc")
    parts = value.split("/")
    found: list[str] = []
    if len(parts) > 2:
        optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {form} {optional}"]
    if len(parts) == 2 and not parts[0]:
        found.append("prefix part must be non-empty")
    elif len(parts) == 2:
        found += [f"prefix part {each}" for each in dns_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > MAX_LABEL:
        found.append(f"name part must be no more than {MAX_LABEL} bytes")
    if not _matches(QUALIFIED, name):
        found.append(f"name part {form}")
    return found


def label_value(value: str) -> list[str]:
    found = [f"must be no more than {MAX_LABEL} bytes"] if len(value) > MAX_LABEL else []
    if not _matches(rf"({QUALIFIED})?", value):
        message = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
            "'.', and must start and end with an alphanumeric character"
        )
        found.append(_form(message, f"({QUALIFIED})?", "MyValue", "my_value", "12345"))
    return found


def port_name(value: str) -> list[str]:
    found = [f"must be no more than {MAX_PORT_NAME} characters"] if len(value) > MAX_PORT_NAME else []
    if not _matches(r"[-a-z0-9]+", value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value[:1] == "-" or value[-1:] == "-":
        found.append("must not begin or end with a hyphen")
    return found


def environment_variable(value: str) -> list[str]:
    if not value:
        return ["environment variable name must be non-empty"]
    if any(not " " <= each <= "~" or each == "=" for each in value):
        return [
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        ]
    return []


def config_key(value: str) -> list[str]:
    """What is wrong with a key of a ConfigMap or Secret."""
    found = [f"must be no more than {MAX_SUBDOMAIN} characters"] if len(value) > MAX_SUBDOMAIN else []
    if not _matches(r"[-._a-zA-Z0-9]+", value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        found.append(_form(message, "[-._a-zA-Z0-9]+", "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        found.append(f"must not be '{value}'")
    elif value.startswith(".."):
        found.append("must not start with '..'")
    return found


def percent(value: str) -> list[str]:
    if _matches(r"[0-9]+%", value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [_form(message, "[0-9]+%", "1%", "93%")]


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]
