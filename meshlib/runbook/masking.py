"""Keeps secrets out of all that a run writes: values that are known, and shapes that are always secret."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

MASK = "•••masked•••"
SHORTEST = 6  # a shorter "secret" would blank out ordinary words

_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.*?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\Z)", re.S
)
_PEM_TAIL = re.compile(r"(?:[A-Za-z0-9+/=]{16,}(?:\\n|\s)+)+-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
_BEARER = re.compile(r"(?i)(\b(?:bearer|basic)\s+)(?=\S*\d)[A-Za-z0-9._~+/-]{16,}=*")
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:\"']*:[^\s/@\"']+@", re.I)  # user and password
_BASE64_PEM = re.compile(
    r"LS0tLS1CRUdJTi[A-Za-z0-9+/]{20,}={0,2}"
)  # base64 of "-----BEGIN ", as in a Secret's data


def _masked_if_key(match: re.Match[str]) -> str:
    text = match.group()
    try:
        head = base64.b64decode(text[: len(text) // 4 * 4])
    except binascii.Error:
        return MASK
    return MASK if b"PRIVATE KEY" in head else text


class Masker:
    """Masks `secrets` (also URL-quoted and base64), private keys, JSON web tokens, Authorization values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            if len(secret) >= SHORTEST:
                forms |= {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
        ordered = sorted(forms, key=len, reverse=True)
        self._exact = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """`text` with every secret replaced by `MASK`."""
        if self._exact:
            text = self._exact.sub(MASK, text)
        if "PRIVATE KEY" in text:
            text = _PEM_TAIL.sub(MASK, _PEM.sub(MASK, text))
        text = _BASE64_PEM.sub(_masked_if_key, text)
        if "@" in text:
            text = _IN_URL.sub(rf"\1{MASK}@", text)
        return _BEARER.sub(rf"\1{MASK}", _JWT.sub(MASK, text))

    def tree(self, value: Any) -> Any:
        """A copy of a JSON-like value with every string masked, keys included; images are left alone."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        if isinstance(value, dict):
            return {
                self.text(k): v if k in ("image/png", "image/jpeg") else self.tree(v)
                for k, v in value.items()
            }
        return value

    def file(self, path: Path) -> None:
        """Masks a text file in place; one that holds no secret is not written."""
        before = path.read_text(encoding="utf-8", errors="replace")
        after = self.text(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
