"""One request with its evidence, against a real TLS server."""

from meshlib import probe, tls
from meshlib.trust import trust_file


def test_evidence_of_a_verified_request() -> None:
    ca = tls.authority("lab CA", 30)
    leaf = tls.leaf(ca, ["gohttpserver.io"], 90)
    with probe.tls_server(leaf) as address:
        seen = probe.fetch(
            "https://gohttpserver.io/healthz", address=address, cacert=trust_file(ca.certificate)
        )
    assert (seen.status, seen.text, seen.error) == (200, "ok\n", "")
    assert seen.tls_version == "TLSv1.3"
    assert seen.address == address
    assert seen.fingerprint == tls.fingerprint(leaf.certificate)
    assert 89 < seen.days_left < 91
    facts = dict(seen.table().itertuples(index=False))
    assert facts["verified"] == "yes"
    assert facts["answer"] == "HTTP/1.1 200"
    assert facts["subject"] == "CN=gohttpserver.io"


def test_a_refused_certificate_is_a_result() -> None:
    seed = tls.common_name_only("*.gohttpserver.io", 365)
    with probe.tls_server(seed) as address:
        unknown = probe.fetch("https://www.gohttpserver.io/", address=address)
        apex = probe.fetch("https://gohttpserver.io/", address=address, cacert=trust_file(seed.certificate))
    assert (unknown.status, unknown.error_code) == (0, 60)
    assert "self-signed certificate" in unknown.error
    assert "does not match target hostname 'gohttpserver.io'" in apex.error
    assert "no: " in dict(apex.table().itertuples(index=False))["verified"]


def test_no_listener_is_a_result() -> None:
    seen = probe.fetch("https://gohttpserver.io/", address="127.0.0.1:9", timeout_s=2)
    assert (seen.status, seen.error_code) == (0, 7)


def test_connect_to() -> None:
    assert probe.connect_to("https://a.io/x", "127.0.0.1:8443") == "a.io:443:127.0.0.1:8443"
    assert probe.connect_to("http://a.io/x", "10.0.0.1") == "a.io:80:10.0.0.1:80"
    assert probe.connect_to("https://a.io:444/x", "[::1]:9") == "a.io:444:[::1]:9"
