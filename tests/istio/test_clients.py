"""The exercise's certificate and a right one, as two kinds of client see them."""

from meshlib import tls
from meshlib.istio import clients

HOST = "gohttpserver.io"


def test_only_curl_takes_a_common_name() -> None:
    seed = tls.common_name_only(f"*.{HOST}", 365)
    table = clients.trials(seed, trust=seed.certificate, hosts=[HOST, f"www.{HOST}"])
    accepted = table[table["Verdict"] == "accepted"]
    assert accepted[["Client", "Host"]].values.tolist() == [["curl", f"www.{HOST}"]]
    assert table["Says"].str.contains("self-signed certificate").any()


def test_a_leaf_with_names_is_taken_by_both() -> None:
    ca = tls.authority("lab CA", 30)
    table = clients.trials(tls.leaf(ca, [HOST], 30), trust=ca.certificate, hosts=[HOST])
    with_ca = table[table["Trusts"] == "its CA"]
    assert with_ca["Verdict"].tolist() == ["accepted", "accepted"]
    assert table[table["Trusts"] == clients.NOBODY]["Verdict"].tolist() == ["refused", "refused"]
