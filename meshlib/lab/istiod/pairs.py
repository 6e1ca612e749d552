"""Certificates and keys that are in memory, given to OpenSSL."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path


def load_pair(context: ssl.SSLContext, chain_pem: str, key_pem: str) -> None:
    """Give a context a certificate; connections from now on see it.  OpenSSL reads files only, so there are
    two for a moment, in a folder of this user's own."""
    with tempfile.TemporaryDirectory(prefix="istiod-") as folder:
        chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        chain.write_text(chain_pem)
        key.touch(mode=0o600)
        key.write_text(key_pem)
        context.load_cert_chain(chain, key)
