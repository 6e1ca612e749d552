"""The trial's Gateway and Secret as built, and the bands of days left."""

import math

import pytest

from meshlib import parameters, tls
from meshlib.istio import edge

CFG = parameters.validate(
    {
        "target": "embedded", "kubeconfig": "", "context": "", "confirm_context": "", "read_only": False,
        "timeout_s": 60.0, "istio_namespace": "istio-system", "namespace": "shop", "host": "shop.example",
        "app": "till", "service_port": 80, "run_id": "",
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("days", "band"),
    [(-0.1, "expired"), (0.0, "replace now"), (6.9, "replace now"), (7.0, "replace soon"), (30.0, "fine")],
)
def test_band(days: float, band: str) -> None:
    assert edge.band(days) == band


def test_a_certificate_that_was_not_seen_is_in_no_band() -> None:
    assert edge.band(math.nan) == "not seen"


def test_the_gateway_takes_settings_and_redirects_only_when_asked() -> None:
    https, http = edge.gateway(CFG, minProtocolVersion="TLSV1_3")["spec"]["servers"]
    assert https["tls"] == {
        "mode": "SIMPLE",
        "credentialName": edge.NAME,
        "minProtocolVersion": "TLSV1_3",
    }
    assert "tls" not in http
    assert https["hosts"] == http["hosts"] == ["edge.shop.example"]
    assert edge.gateway(CFG, redirect=True)["spec"]["servers"][1]["tls"] == {"httpsRedirect": True}


def test_the_secret_holds_a_ca_only_for_mutual() -> None:
    ca = tls.authority("ca", 1)
    pair = tls.leaf(ca, ["edge.shop.example"], 1)
    assert set(edge.secret(CFG, pair)["data"]) == {"tls.crt", "tls.key"}
    assert set(edge.secret(CFG, pair, client_ca=ca.certificate)["data"]) == {"tls.crt", "tls.key", "ca.crt"}
