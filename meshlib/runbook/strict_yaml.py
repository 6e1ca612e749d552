"""Reads a file of parameters so that nothing is bent: types come from the table, not from YAML's guesses.

A plain scalar that YAML 1.1 reads as something else than it looks (`NO`, `010`, `12:30`, `1.10` for a
version) is a finding even where its meaning could be guessed, because `papermill -f` reads the file that way.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from meshlib.parameters import TABLE, Parameter, Value, unknown

_TAG = "tag:yaml.org,2002:"
_READ_AS = {
    "bool": "a truth value",
    "int": "a whole number",
    "float": "a number",
    "null": "nothing",
    "timestamp": "a date",
}
_INT = re.compile(r"-?(0|[1-9]\d*)")
_FLOAT = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


def read(path: Path) -> tuple[dict[str, Value], list[str]]:
    """(the values that are good, all findings as `file:line: key: …`)."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        return {}, [f"{path}: cannot be read: {reason}"]
    return parse(text, str(path))


def parse(text: str, where: str) -> tuple[dict[str, Value], list[str]]:
    """As `read`, from text; `where` names the file in findings."""
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        return {}, [f"{where}{line}: not YAML: {problem}"]
    except RecursionError:
        return {}, [f"{where}: nested too deep; lines of the form `name: value` are accepted"]
    if len(documents) > 1:
        return {}, [f"{where}:{documents[1].start_mark.line + 1}: one document is accepted, this is a second"]
    if not documents or documents[0] is None:
        return {}, []
    root = documents[0]
    if not isinstance(root, yaml.MappingNode):
        return {}, [f"{where}:{root.start_mark.line + 1}: lines of the form `name: value` are accepted"]
    return _mapping(root, where)


def _mapping(root: yaml.MappingNode, where: str) -> tuple[dict[str, Value], list[str]]:
    values: dict[str, Value] = {}
    findings: list[str] = []
    first_line: dict[str, int] = {}
    for key, node in root.value:
        line = key.start_mark.line + 1
        at = f"{where}:{line}"
        name = str(key.value)
        if not isinstance(key, yaml.ScalarNode) or key.tag != _TAG + "str":
            kind = _READ_AS.get(key.tag.removeprefix(_TAG), "no name")
            findings.append(f"{at}: {name}: YAML reads this key as {kind}; a parameter's name is accepted")
        elif name in first_line:
            findings.append(f"{at}: {name}: given twice, first on line {first_line[name]}; one is accepted")
        elif name not in TABLE:
            first_line[name] = line
            findings.append(f"{at}: {unknown(name)}")
        else:
            first_line[name] = line
            problem, value = _scalar(TABLE[name], node)
            if problem:
                findings.append(f"{at}: {problem}")
            elif value is not None:
                values[name] = value
    return values, findings


def _scalar(row: Parameter, node: yaml.Node) -> tuple[str | None, Value | None]:
    if not isinstance(node, yaml.ScalarNode):
        shape = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        return f"{row.name}: this is {shape}; accepted: {row.accepts}", None
    text, plain = str(node.value), node.style is None
    tag = node.tag.removeprefix(_TAG)
    if tag not in ("str", *_READ_AS):
        return f"{row.name}: the tag {node.tag} is not accepted; accepted: {row.accepts}", None
    value: Value = text
    if row.type is str:
        if tag != "str":
            shown = f'write {row.name}: "{text}"' if text else 'write "" for an empty string'
            return f"{row.name}: YAML reads {text or 'an empty value'} as {_READ_AS[tag]}; {shown}", None
    elif not plain:
        return f"{row.name}: {text!r} in quotes is a string; accepted, without quotes: {row.accepts}", None
    elif row.type is bool:
        if text not in ("true", "false"):
            return f"{row.name}: {text or 'an empty value'} is not accepted; accepted: true or false", None
        value = text == "true"
    elif _INT.fullmatch(text):
        value = int(text)
    elif row.type is float and _FLOAT.fullmatch(text) and tag == "float":
        value = float(text)
    else:
        return (
            f"{row.name}: {text or 'an empty value'} {_trap(row, text, tag)}; accepted: {row.accepts}",
            None,
        )
    return row.check(value), value


def _trap(row: Parameter, text: str, tag: str) -> str:
    if row.type is int and _FLOAT.fullmatch(text):
        return "is not whole"
    if tag in ("int", "float"):
        return f"is read by YAML as {yaml.safe_load(text)!r}"
    return "is not a number to YAML 1.1" if _FLOAT.fullmatch(text) else "is not a number"
