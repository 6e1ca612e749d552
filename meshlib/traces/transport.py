"""How the client reaches Jaeger: through the API server's service proxy (given from outside), or by a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

import requests

from meshlib.errors import ClusterError


class Transport(Protocol):
    """One GET of a path below Jaeger's root → (status, body)."""

    def get(self, path: str, params: Mapping[str, object] | None = None) -> tuple[int, bytes]: ...


class UrlTransport:
    """Jaeger at a URL of its own. `verify` is a CA file or True, the system's authorities."""

    def __init__(self, url: str, *, verify: str | bool = True, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.verify = verify
        host = urlsplit(url).hostname or ""
        if host == "localhost" or host.startswith("127."):
            self._session.trust_env = False  # a proxy of the environment is for other machines

    def get(self, path: str, params: Mapping[str, object] | None = None) -> tuple[int, bytes]:
        """Raises `ClusterError` when nothing answers there."""
        try:
            answer = self._session.get(
                self.url + path,
                params=[(name, str(value)) for name, value in (params or {}).items()],
                timeout=self._timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise ClusterError(f"cannot reach Jaeger at {self.url}: {error}") from error
        return answer.status_code, answer.content
