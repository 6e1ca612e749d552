from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from meshlib.lab.istiod.upkeep import bundle_patch, leader_record


def configuration(*webhooks: tuple[str, str]) -> dict[str, Any]:
    return {
        "webhooks": [
            {
                "name": name,
                "clientConfig": {
                    "service": {"name": "istiod", "namespace": "istio-system"},
                    "caBundle": bundle,
                },
            }
            for name, bundle in webhooks
        ]
    }


def test_only_webhooks_of_this_istiod_get_its_bundle() -> None:
    given = configuration(("a", ""), ("b", ""))
    given["webhooks"][1]["clientConfig"]["service"]["namespace"] = "elsewhere"
    patched = bundle_patch(given, "QQ==", "istio-system")
    assert patched is not None
    assert [w["clientConfig"]["caBundle"] for w in patched["webhooks"]] == ["QQ==", ""]


def test_nothing_is_written_when_all_have_it() -> None:
    assert bundle_patch(configuration(("a", "QQ==")), "QQ==", "istio-system") is None


def test_the_leader_record_is_the_one_that_clients_of_kubernetes_read() -> None:
    record = json.loads(leader_record("istiod-1", datetime(2026, 11, 23, 3, tzinfo=UTC)))
    assert record["holderIdentity"] == "istiod-1"
    assert record["acquireTime"] == "2026-11-23T03:00:00Z"
