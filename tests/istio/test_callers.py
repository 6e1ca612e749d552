"""What curl printed in a pod, taken apart; the pod's own description."""

import pytest

from meshlib.istio import callers
from meshlib.istio.callers import Answer


@pytest.mark.parametrize(
    ("out", "code", "err", "answer"),
    [
        ("ok\n\n#answer 200 0 0.012500 \n", 0, "", Answer(200, 0, 12.5, "", "ok\n")),
        (
            "\n#answer 000 56 0.001000 Recv failure: Connection reset by peer\n",
            56,
            "curl: (56) Recv failure",
            Answer(0, 56, 1.0, "Recv failure: Connection reset by peer", ""),
        ),
        ("", 2, "curl: option --x: is unknown\n", Answer(0, 2, 0.0, "curl: option --x: is unknown", "")),
    ],
)
def test_parsed(out: str, code: int, err: str, answer: Answer) -> None:
    assert callers.parsed(out, code, err) == [answer]


def test_each_url_has_its_answer() -> None:
    out = "ok\n\n#answer 200 0 0.001000 \n\n#answer 404 0 0.002000 \n"
    assert [(each.status, each.text) for each in callers.parsed(out, 0, "")] == [(200, "ok\n"), (404, "")]


def test_said() -> None:
    assert callers.said(Answer(200, 0, 1.0, "", "long body")) == "200"
    assert callers.said(Answer(403, 0, 1.0, "", "RBAC: access denied\n")) == "403 RBAC: access denied"
    assert callers.said(Answer(404, 0, 1.0, "", "")) == "404"
    assert callers.said(Answer(0, 7, 1.0, "refused", "")) == "curl: (7) refused"


@pytest.mark.parametrize("sidecar", [True, False])
def test_a_pod_says_itself_whether_it_is_injected(sidecar: bool) -> None:
    account, made = callers.deployment("till", "shop", image="curl:1", sidecar=sidecar)
    template = made["spec"]["template"]
    assert account["metadata"]["name"] == template["spec"]["serviceAccountName"] == "till"
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == str(sidecar).lower()
    assert ("annotations" in template["metadata"]) is sidecar
