"""The objects of the demo profile: complete, consistent, and true to the minor."""

from typing import Any

import yaml

from meshlib.istio import manifest

OBJECTS = manifest.objects("1.30.5", "istio-system")


def named(kind: str, name: str) -> dict[str, Any]:
    return next(obj for obj in OBJECTS if obj["kind"] == kind and obj["metadata"]["name"] == name)


def test_every_name_is_there_once() -> None:
    keys = [(obj["kind"], obj["metadata"]["name"]) for obj in OBJECTS]
    assert len(keys) == len(set(keys))
    for name in ("istiod", "istio-ingressgateway", "istio-egressgateway"):
        assert {("Deployment", name), ("Service", name), ("PodDisruptionBudget", name)} <= set(keys)


def test_services_reach_ports_that_containers_declare() -> None:
    for name in ("istiod", "istio-ingressgateway", "istio-egressgateway"):
        template = named("Deployment", name)["spec"]["template"]
        declared = {port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        service = named("Service", name)["spec"]
        assert {port["targetPort"] for port in service["ports"]} <= declared
        assert service["selector"].items() <= template["metadata"]["labels"].items()


def test_service_accounts_are_made() -> None:
    made = {obj["metadata"]["name"] for obj in OBJECTS if obj["kind"] == "ServiceAccount"}
    used = {o["spec"]["template"]["spec"]["serviceAccountName"] for o in OBJECTS if o["kind"] == "Deployment"}
    bound = {s["name"] for o in OBJECTS if o["kind"].endswith("Binding") for s in o["subjects"]}
    assert used <= made
    assert bound <= made


def test_no_pod_is_matched_by_two_injectors() -> None:
    hooks = [
        hook
        for name in ("istio-sidecar-injector", "istio-revision-tag-default")
        for hook in named("MutatingWebhookConfiguration", name)["webhooks"]
    ]
    for namespace_labels in (
        {},
        {"istio-injection": "enabled"},
        {"istio.io/rev": "default"},
        {"istio-injection": "disabled"},
    ):
        for pod_labels in ({}, {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}):
            matched = [
                hook["name"]
                for hook in hooks
                if _holds(hook["namespaceSelector"], namespace_labels)
                and _holds(hook["objectSelector"], pod_labels)
            ]
            assert len(matched) <= 1, (namespace_labels, pod_labels, matched)
            if namespace_labels == {"istio-injection": "enabled"}:
                assert bool(matched) == (pod_labels.get("sidecar.istio.io/inject") != "false")


def _holds(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    def one(rule: dict[str, Any]) -> bool:
        value = labels.get(rule["key"])
        return {
            "In": lambda: value in rule["values"],
            "NotIn": lambda: value not in rule["values"],
            "DoesNotExist": lambda: value is None,
        }[rule["operator"]]()

    return all(one(rule) for rule in selector["matchExpressions"])


def test_the_mesh_text_follows_the_minor() -> None:
    old, new = (
        yaml.safe_load(manifest.mesh_config(version, "istio-system")) for version in ("1.19.3", "1.30.5")
    )
    assert old["defaultConfig"]["tracing"]["zipkin"]["address"] == "zipkin.istio-system:9411"
    assert "tracing" not in new["defaultConfig"]
    assert [provider["name"] for provider in old["extensionProviders"]] == [
        "otel",
        "skywalking",
        "otel-tracing",
    ]
    assert new["extensionProviders"][-1]["name"] == "jaeger"
