"""What the API server checks in webhook configurations: where a webhook is, and how long it is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from . import findings as say
from .model import Finding, Obj

_FORM = "; desired format: https://host[/path]"


def validate_webhooks(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    """Objects, Secrets among them, are sent to a webhook: by https, to a place that is named in full."""
    for index, webhook in enumerate(obj.get("webhooks") or ()):
        at = f"webhooks[{index}]"
        timeout_s = webhook.get("timeoutSeconds")
        if timeout_s is not None and not 1 <= timeout_s <= 30:
            detail = "the timeout value must be between 1 and 30 seconds"
            yield say.invalid(f"{at}.timeoutSeconds", timeout_s, detail)
        client = webhook.get("clientConfig") or {}
        url, service = client.get("url"), client.get("service")
        if (url is None) is (service is None):
            yield say.required(f"{at}.clientConfig", "exactly one of url or service is required")
        elif url is not None:
            yield from _url(url, f"{at}.clientConfig.url")
        else:
            yield from _service(service or {}, f"{at}.clientConfig.service")


def _url(text: str, path: str) -> Iterator[Finding]:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        yield say.required(path, f"url must be a valid URL: {error}{_FORM}")
        return
    if parts.scheme != "https":
        yield say.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}")
    if not parts.hostname:
        yield say.invalid(path, parts.netloc, f"host must be specified{_FORM}")
    if "@" in parts.netloc:
        # A real server quotes the user and the password here.
        yield say.forbidden(path, "user information is not permitted in the URL")
    if parts.fragment:
        yield say.invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield say.invalid(path, parts.query, "query parameters are not permitted in the URL")


def _service(service: Obj, path: str) -> Iterator[Finding]:
    if not service.get("name"):
        yield say.required(f"{path}.name", "service name is required")
    if not service.get("namespace"):
        yield say.required(f"{path}.namespace", "service namespace is required")
    port = service.get("port")
    if port is not None and not 1 <= port <= 65535:
        detail = "port is not valid: must be between 1 and 65535, inclusive"
        yield say.invalid(f"{path}.port", port, detail)
    place = service.get("path") or ""
    if place and not place.startswith("/"):
        yield say.invalid(f"{path}.path", place, "must start with a '/'")
