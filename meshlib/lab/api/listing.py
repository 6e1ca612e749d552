"""GET of one object and of lists: selectors, pages, versions and the forms of the answer."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from . import fields, tables
from .codec import decode, encode, typed_json, whole
from .errors import bad_request, expired, invalid, not_found, too_large_version
from .gojson import syntax_error
from .kinds import Kind
from .request import META, Form, Query, Target
from .responses import json_response, raw_response
from .selectors import FieldTerm, LabelSelector, parse_labels
from .store import Gone, Obj, Row, Store, key_of

_TOO_OLD_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without the continue parameter, or use the continue token in this response to retrieve the "
    "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
    "that were created, modified, or deleted between the time the first chunk was returned and now may show "
    "up in the list."
)


MOST = 1 << 31  # a limit that is none


class _Meta(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct):
    metadata: _Meta


_labels_of = msgspec.json.Decoder(_Labelled).decode


@dataclass(frozen=True, slots=True)
class Selection:
    """The selectors of a request on one kind."""

    kind: Kind
    labels: LabelSelector
    terms: tuple[FieldTerm, ...]

    @classmethod
    def of(cls, kind: Kind, query: Query) -> Selection:
        """Raises StatusError 400."""
        terms = fields.parse_for(kind, query.text("fieldSelector"))
        return cls(kind, parse_labels(query.text("labelSelector")), tuple(terms))

    @property
    def everything(self) -> bool:
        return not self.labels.requirements and not self.terms

    def holds(self, body: bytes) -> bool:
        """Whether a stored object is selected; only what the selectors need is decoded."""
        if self.labels.requirements and not self.labels.holds(_labels_of(body).metadata.labels or {}):
            return False
        return not self.terms or fields.holds(list(self.terms), decode(body))


class _Token(msgspec.Struct):
    """A continue token, in a real server's form: the version (-1: any) and the last key that was given."""

    v: str
    rv: int
    start: str


@dataclass(frozen=True, slots=True)
class _Page:
    rows: list[Row]
    version: int
    next: str = ""
    remaining: int | None = None


def get_object(store: Store, target: Target, query: Query, form: Form) -> Response:
    """Raises StatusError 404, or 504 for a version that is not there yet."""
    kind = target.kind
    _check_version(store, kind, query)
    row = store.get(kind.stored, key_of(target.namespace, target.name or ""))
    if row is None:
        raise not_found(kind.plural, kind.group, target.name or "")
    if form.as_ in ("Table", "PartialObjectMetadata"):
        return json_response(render(target, [row], form, query, single=True), form=form)
    if form.media == "json" and kind.stored == kind.resource:
        return raw_response(typed_json(kind, row.body, target.version) + b"\n")
    return json_response(whole(kind, row.body, target.version), form=form)


def list_objects(store: Store, target: Target, query: Query, form: Form) -> Response:
    """Raises StatusError 400, 410, 422, 504."""
    kind = target.kind
    selection = Selection.of(kind, query)
    page = _page(store, target, query, selection)
    metadata: Obj = {"resourceVersion": str(page.version)}
    if page.next or kind.custom:
        metadata["continue"] = page.next
    if page.next and page.remaining and selection.everything:
        metadata["remainingItemCount"] = page.remaining
    if form.as_ == "Table":
        value = tables.table(kind, _objects(target, page.rows), form, _include(query), metadata)
        return json_response(value, form=form)
    if form.as_:
        return json_response(tables.partial_list(_objects(target, page.rows), form, metadata), form=form)
    ref = kind.at(target.version)
    head = {"kind": f"{kind.kind}List", "apiVersion": ref.api_version, "metadata": metadata}
    if form.media == "yaml" or kind.stored != kind.resource:
        items = _objects(target, page.rows)
        if not kind.custom:
            items = [{k: v for k, v in each.items() if k not in ("apiVersion", "kind")} for each in items]
        return json_response({**head, "items": items}, form=form)
    bodies = [typed_json(kind, row.body, target.version) if kind.custom else row.body for row in page.rows]
    return raw_response(encode(head)[:-1] + b',"items":[' + b",".join(bodies) + b"]}\n")


def render(
    target: Target, rows: list[Row], form: Form, query: Query, *, single: bool, columns: bool = True
) -> Obj:
    """Objects as a Table or, one object, as its metadata."""
    objects = _objects(target, rows)
    if form.as_ == "Table":
        metadata: Obj = {}
        if single:
            metadata = {"resourceVersion": objects[0]["metadata"].get("resourceVersion", "")}
        return tables.table(target.kind, objects, form, _include(query), metadata, columns=columns)
    return tables.partial(objects[0], form)


def _objects(target: Target, rows: list[Row]) -> list[Obj]:
    return [whole(target.kind, row.body, target.version) for row in rows]


def _include(query: Query) -> str:
    include = query.text("includeObject") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        message = f"Invalid value: \"{include}\": must be 'Metadata', 'Object', 'None', or empty"
        raise bad_request(f"Unable to convert to Table as requested: includeObject: {message}")
    return include


def _check_version(store: Store, kind: Kind, query: Query, *, listing: bool = False) -> int | None:
    """The version that was asked for; raises StatusError 400 or 422 for no number, 504 for one of the
    future.  (A real server answers a GET with no number by a 500.)
    """
    try:
        version = query.version()
    except ValueError as error:
        message = f'Invalid value: "{query.text("resourceVersion")}": {error}'
        if listing:
            raise bad_request(f"invalid resource version: resourceVersion: {message}") from error
        cause = ("resourceVersion", "FieldValueInvalid", message)
        raise invalid(kind.group, kind.plural, "", [cause]) from error
    if version is not None and version > store.version:
        raise too_large_version(version, store.version)
    return version


def _page(store: Store, target: Target, query: Query, selection: Selection) -> _Page:
    kind, namespace = target.kind, target.namespace
    match = query.text("resourceVersionMatch")
    _check_match(query, match)
    limit = min(query.number("limit") or 0, MOST)
    query.number("timeoutSeconds")
    token = query.text("continue")
    if token and query.text("resourceVersion") not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    if token:
        return _later_page(store, target, selection, _read_token(token), limit)
    version = _check_version(store, kind, query, listing=True)
    if version == 0:
        limit = 0
    if match == "Exact" and version is not None:
        try:
            rows = store.list_at(kind.stored, namespace, version)
        except Gone as error:
            raise expired("The resourceVersion for the provided list is too old.") from error
        return _cut(rows, version, selection, limit, version)
    if limit > 0 and selection.everything:
        return _some(store, target, limit, store.version)
    return _cut(store.page(kind.stored, namespace), store.version, selection, limit, store.version)


def _some(store: Store, target: Target, limit: int, version: int, after: str = "") -> _Page:
    """The next `limit` objects as they are now, which is how they were at `version`."""
    kind, namespace = target.kind, target.namespace
    rows = store.page(kind.stored, namespace, after=after, limit=limit + 1)
    if len(rows) <= limit:
        return _Page(rows, version)
    rows = rows[:limit]
    left = store.count(kind.stored, namespace, after=rows[-1].key)
    return _Page(rows, version, _write_token(version, rows[-1].key), left)


def _later_page(store: Store, target: Target, selection: Selection, token: _Token, limit: int) -> _Page:
    kind, namespace = target.kind, target.namespace
    if token.rv < 0:
        rows = store.page(kind.stored, namespace, after=token.start)
        return _cut(rows, store.version, selection, limit, -1)
    if token.rv > store.version:
        raise too_large_version(token.rv, store.version)
    try:
        if limit > 0 and selection.everything and not any(store.changes(kind.stored, token.rv)):
            return _some(store, target, limit, token.rv, token.start)
        rows = store.list_at(kind.stored, namespace, token.rv, after=token.start)
    except Gone as error:
        gone = expired(_TOO_OLD_TOKEN)
        gone.metadata = {"continue": _write_token(-1, token.start)}
        raise gone from error
    return _cut(rows, token.rv, selection, limit, token.rv)


def _cut(rows: list[Row], version: int, selection: Selection, limit: int, token_version: int) -> _Page:
    last = rows[-1].key if rows else ""
    if not selection.everything:
        rows = [row for row in rows if selection.holds(row.body)]
    kept = rows[:limit] if limit > 0 else rows
    # A full page has a next one as soon as anything is left, be it selected or not.
    if limit <= 0 or len(kept) < limit or kept[-1].key == last:
        return _Page(kept, version)
    return _Page(kept, version, _write_token(token_version, kept[-1].key), len(rows) - limit)


def _check_match(query: Query, match: str) -> None:
    """Raises StatusError 422 for combinations that a real server forbids."""
    version, causes = query.text("resourceVersion"), []
    if match and query.text("continue"):
        message = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
        causes.append(("resourceVersionMatch", "FieldValueForbidden", message))
    if match and not version:
        message = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        causes.append(("resourceVersionMatch", "FieldValueForbidden", message))
    if match not in ("", "Exact", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        causes.append(("resourceVersionMatch", "FieldValueNotSupported", message))
    if match == "Exact" and version == "0":
        message = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        causes.append(("resourceVersionMatch", "FieldValueForbidden", message))
    if causes:
        raise invalid(META, "ListOptions", "", causes)


def _write_token(version: int, key: str) -> str:
    token = encode(_Token("meta.k8s.io/v1", version, key))
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def _read_token(text: str) -> _Token:
    raw = b""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        token = msgspec.json.decode(raw, type=_Token)
    except ValueError as error:
        why = syntax_error(raw) or str(error)
        raise bad_request(f"invalid continue token: continue key is not valid: {why}") from error
    if token.v != "meta.k8s.io/v1":
        raise bad_request(
            f'continue key is not valid: server does not recognize this encoded version "{token.v}"'
        )
    return token
