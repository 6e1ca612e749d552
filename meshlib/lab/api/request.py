"""What a request asks for: its path, its query and the forms it accepts, read without any I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from .errors import StatusError, bad_request, invalid, no_such_resource, not_found
from .kind_table import KINDS
from .kinds import Kind

META = "meta.k8s.io"
INT64 = 1 << 63  # what Go and SQLite have room for


@dataclass(frozen=True, slots=True)
class Target:
    """The resource that a path names; `name` is None for a collection, `rest` is what follows a proxy."""

    kind: Kind
    version: str
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    rest: str = ""
    watch: bool = False


def parse_path(path: str) -> Target | None:
    """The target of a path below /api or /apis, None for other paths; raises StatusError 404."""
    parts = path.split("/")[1:]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if rest and rest[-1] == "" and "proxy" not in rest:
        rest = rest[:-1]
    if not rest:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2 and not _is_namespace_part(group, version, rest):
        namespace, rest = rest[1], rest[2:]
    kind = KINDS.find(group, version, rest[0])
    if kind is None or (namespace is not None and not kind.namespaced) or "" in rest[:2]:
        raise no_such_resource()
    name = rest[1] if len(rest) > 1 else None
    subresource = rest[2] if len(rest) > 2 else None
    if name is not None and kind.namespaced and namespace is None:
        raise no_such_resource()
    if subresource is not None and kind.subresource(subresource) is None:
        raise not_found(kind.plural, kind.group, name or "") if kind.custom else no_such_resource()
    if len(rest) > 3 and subresource != "proxy":
        raise no_such_resource()
    return Target(kind, version, namespace, name, subresource, "/".join(rest[3:]), watch)


def _is_namespace_part(group: str, version: str, rest: list[str]) -> bool:
    """`namespaces/x/status` is a part of the namespace itself."""
    kind = KINDS.find(group, version, "namespaces")
    return kind is not None and len(rest) == 3 and kind.subresource(rest[2]) is not None


class Query:
    """The query of a request, read as Kubernetes reads it: booleans are true unless they say otherwise."""

    def __init__(self, text: str) -> None:
        """Raises StatusError 400 for a query of more than a thousand fields."""
        try:
            self._values = parse_qs(text, keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise bad_request("the query has more than 1000 fields") from error

    def text(self, name: str) -> str:
        return self._values.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def flag(self, name: str) -> bool:
        values = self._values.get(name)
        return values is not None and values[0].lower() not in ("false", "0")

    def number(self, name: str) -> int | None:
        """Raises StatusError 400 in the words of Go's strconv."""
        text = self.text(name)
        if not text:
            return None
        if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        if len(text) > 20 or not -INT64 <= int(text) < INT64:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
        return int(text)

    def version(self) -> int | None:
        """`resourceVersion`, None where there is none; raises ValueError for what is no version."""
        text = self.text("resourceVersion")
        if not text:
            return None
        if not re.fullmatch(r"\d+", text, re.ASCII):
            raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
        if len(text) > 20 or int(text) >= 2 * INT64:
            raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
        return int(text)

    def pairs(self) -> Mapping[str, list[str]]:
        return self._values


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What create, update and patch take from the query."""

    dry_run: bool = False
    manager: str = ""
    validation: str = "Warn"
    force: bool | None = None


@dataclass(slots=True)
class _Causes:
    found: list[tuple[str, str, str]] = field(default_factory=list)

    def unsupported(self, where: str, value: str, allowed: list[str]) -> None:
        shown = ", ".join(f'"{each}"' for each in allowed)
        message = f'Unsupported value: "{value}": supported values: {shown}'
        self.found.append((where, "FieldValueNotSupported", message))


def write_options(query: Query, kind: str, *, apply: bool = False) -> WriteOptions:
    """Options of a write; `kind` is CreateOptions, UpdateOptions or PatchOptions.  Raises StatusError 422."""
    causes = _Causes()
    dry_run = query.all("dryRun")
    if any(value != "All" for value in dry_run):
        message = f'Unsupported value: {json.dumps(dry_run)}: supported values: "All"'
        causes.found.append(("dryRun", "FieldValueNotSupported", message))
    manager = query.text("fieldManager")
    if len(manager) > 128:
        causes.found.append(("fieldManager", "FieldValueTooLong", "Too long: may not be more than 128 bytes"))
    if apply and not manager:
        message = "Required value: is required for apply patch"
        causes.found.append(("fieldManager", "FieldValueRequired", message))
    validation = query.text("fieldValidation")
    if validation not in ("", "Ignore", "Warn", "Strict"):
        causes.unsupported("fieldValidation", validation, ["", "Ignore", "Strict", "Warn"])
    force = query.flag("force") if query.all("force") else None
    if force is not None and kind == "PatchOptions" and not apply:
        message = "Forbidden: may not be specified for non-apply patch"
        causes.found.append(("force", "FieldValueForbidden", message))
    if causes.found:
        raise invalid(META, kind, "", causes.found)
    return WriteOptions(bool(dry_run), manager, validation or "Warn", force)


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is rendered: `as_` is "", Table, PartialObjectMetadata or …List; `media` json or yaml."""

    media: str = "json"
    as_: str = ""
    as_version: str = "v1"


_MEDIA = {"application/json": "json", "application/yaml": "yaml", "*/*": "json", "application/*": "json"}
_AS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


def accepted_form(accept: str, kinds: tuple[str, ...] = _AS) -> Form | None:
    """The first form of an Accept header that the server can give; None when there is none."""
    if not accept.strip():
        return Form()
    for clause in _by_quality(accept):
        media, *parameters = [part.strip() for part in clause.split(";")]
        if media.lower() not in _MEDIA:
            continue
        given = dict(part.partition("=")[::2] for part in parameters)
        asked = given.get("as", "")
        if not asked:
            return Form(_MEDIA[media.lower()])
        if asked in _AS and asked not in kinds and given.get("g") == META:
            return None  # the metadata of a list, or of one object, where it is the other
        if asked in kinds and given.get("g") == META and given.get("v") in ("v1", "v1beta1"):
            return Form(_MEDIA[media.lower()], asked, given["v"])
    return None


def _by_quality(accept: str) -> list[str]:
    clauses = [each for each in accept.split(",") if each.strip()]

    def quality(clause: str) -> float:
        found = re.search(r";\s*q=([0-9.]+)\s*(;|$)", clause)
        try:
            return float(found[1]) if found else 1.0
        except ValueError:
            return 0.0

    return [each for each in sorted(clauses, key=quality, reverse=True) if quality(each) > 0]


_JSON_YAML_PROTOBUF = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_STREAMS = ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"


def not_acceptable(kind: Kind | None, accept: str = "", *, listing: bool = False) -> StatusError:
    """406: custom resources, and forms that this server does not make, are worded differently."""
    clauses = [[part.strip() for part in each.split(";")] for each in _by_quality(accept)]
    asked = next((part[3:] for parts in clauses for part in parts if part.startswith("as=")), "")
    if kind is not None and asked in _AS[1:] and listing != asked.endswith("List"):
        article = "a list" if listing else "not a list"
        shown = f"*core.{kind.kind}List" if listing else f"*core.{kind.kind}"
        message = f"you requested {asked}, but the requested object is {article} ({shown})"
        return StatusError(406, "NotAcceptable", message)
    if (kind is not None and kind.custom) or any(parts[0].lower() in _MEDIA for parts in clauses):
        message = f"only the following media types are accepted: {_JSON_YAML_PROTOBUF}"
        return StatusError(406, "NotAcceptable", message)
    shown = _JSON_YAML_PROTOBUF + (_STREAMS if listing else "")
    message = f"406: Not Acceptable\n\nAvailable representations: {shown}"
    return StatusError(406, "NotAcceptable", message, {})


def unsupported_body() -> StatusError:
    """415 for a body in a form that cannot be read."""
    return unsupported_media(_JSON_YAML_PROTOBUF)


def unsupported_media(accepted: str) -> StatusError:
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return StatusError(415, "UnsupportedMediaType", message)
