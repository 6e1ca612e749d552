"""The kinds of failure, as one table: libcurl's error code → kind."""

from __future__ import annotations

NONE = ""
KINDS: dict[int, str] = {  # numbers of curl/curl.h; pycurl does not name all of them
    1: "protocol",  # CURLE_UNSUPPORTED_PROTOCOL
    3: "url",
    5: "dns",  # a proxy's name
    6: "dns",
    7: "connect",
    8: "protocol",  # CURLE_WEIRD_SERVER_REPLY
    16: "http2",
    18: "short_body",
    28: "timeout",
    35: "tls_handshake",
    52: "empty_reply",
    55: "send",
    56: "receive",
    58: "client_certificate",
    59: "tls_handshake",
    60: "certificate_untrusted",
    77: "ca_file",
    92: "http2_stream",
}
PEER_FAILED_VERIFICATION = 60
EXPIRED, NAME, UNFINISHED, OTHER = "certificate_expired", "certificate_name", "unfinished", "other"
# A record holds the kind as its place in this list
ALL: tuple[str, ...] = (NONE, *dict.fromkeys(KINDS.values()), EXPIRED, NAME, UNFINISHED, OTHER)
NUMBER: dict[str, int] = {kind: number for number, kind in enumerate(ALL)}
X509_EXPIRED = 10  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED
X509_NAMES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def kind_of(code: int, message: str, verify_result: int) -> str:
    """The kind of a failed transfer, from libcurl's code and text and OpenSSL's verdict."""
    if code == PEER_FAILED_VERIFICATION:
        if verify_result == X509_EXPIRED or "expired" in message:
            return EXPIRED
        if verify_result in X509_NAMES or "subject name" in message or "subjectAltName" in message:
            return NAME
    return KINDS.get(code, OTHER)
