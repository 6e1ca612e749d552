"""What different clients say to a certificate, each by a real handshake with a throw-away server on this
machine."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from meshlib import tls
from meshlib.probe import fetch, tls_server
from meshlib.trust import trust_file

NOBODY = "nobody who signed it"


def trials(pair: tls.Pair, trust: str, hosts: Sequence[str]) -> pd.DataFrame:
    """Each host by each client, with and without `trust` (PEM) as root: Client, Host, Trusts, Verdict, Says.

    `curl` is libcurl, which falls back to the common name when there is no subjectAltName; `strict` never
    does.
    """
    stranger = tls.authority("somebody else's CA", 1).certificate
    itself = trust == pair.certificate
    rows = []
    with tls_server(pair) as address:
        for known, root in ((NOBODY, stranger), ("the certificate itself" if itself else "its CA", trust)):
            for host in hosts:
                curl = fetch(f"https://{host}/", address=address, cacert=trust_file(root)).error
                strict = tls.refusal(pair, host, root)
                rows += [("curl", host, known, *_verdict(curl)), ("strict", host, known, *_verdict(strict))]
    return pd.DataFrame(rows, columns=["Client", "Host", "Trusts", "Verdict", "Says"])


def _verdict(says: str) -> tuple[str, str]:
    return ("refused", says) if says else ("accepted", "")
