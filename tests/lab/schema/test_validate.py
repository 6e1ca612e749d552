"""Built-in objects: the findings of a create and of an update, in the words of the API server."""

# ruff: noqa: E501  the expected texts stand on one line each

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.lab.schema import KindRef, conversion_error, decode_error, default, validate
from meshlib.lab.schema.istio import istio_kinds

KINDS = {
    "ConfigMap": KindRef("", "v1", "ConfigMap"),
    "Deployment": KindRef("apps", "v1", "Deployment"),
    "Pod": KindRef("", "v1", "Pod"),
    "Secret": KindRef("", "v1", "Secret"),
    "Service": KindRef("", "v1", "Service"),
    "ServiceAccount": KindRef("", "v1", "ServiceAccount"),
    "Job": KindRef("batch", "v1", "Job"),
    "Role": KindRef("rbac.authorization.k8s.io", "v1", "Role"),
    "Namespace": KindRef("", "v1", "Namespace"),
    "Endpoints": KindRef("", "v1", "Endpoints"),
    "EndpointSlice": KindRef("discovery.k8s.io", "v1", "EndpointSlice"),
}


def made(kind: str, text: str) -> dict[str, Any]:
    obj: dict[str, Any] = {"metadata": {"name": "a", "namespace": "ns"}, **yaml.safe_load(text)}
    assert decode_error(KINDS[kind], obj) is None
    default(KINDS[kind], obj)
    return obj


def texts(kind: str, text: str) -> list[str]:
    return [str(each) for each in validate(KINDS[kind], made(kind, text))]


def deployment(container: str, selector: str = "{matchLabels: {a: b}}") -> str:
    return f"spec: {{selector: {selector}, template: {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{container}]}}}}}}"


_OUTSIDE = [
    ("../x", ["must not contain '..'"]),
    ("/etc/x", ["must be a relative path"]),
    ("a/../../x", ["must not contain '..'"]),
    ("..", ["must not contain '..'"]),
    ("..data", ["must not start with '..'"]),
    ("a/..b", []),
]


@pytest.mark.parametrize(("path", "why"), _OUTSIDE)
def test_the_files_of_a_volume_stay_inside(path: str, why: list[str]) -> None:
    item = f"items: [{{key: k, path: {path}}}]"
    field = f"items: [{{path: {path}, fieldRef: {{fieldPath: metadata.name}}}}]"
    sources = {
        f"configMap: {{name: c, {item}}}": "configMap.items[0].path",
        f"secret: {{secretName: c, {item}}}": "secret.items[0].path",
        f"downwardAPI: {{{field}}}": "downwardAPI.items[0].path",
        f"projected: {{sources: [{{configMap: {{name: c, {item}}}}}]}}": "projected.sources[0].configMap.items[0].path",
        f"projected: {{sources: [{{secret: {{name: c, {item}}}}}]}}": "projected.sources[0].secret.items[0].path",
        f"projected: {{sources: [{{downwardAPI: {{{field}}}}}]}}": "projected.sources[0].downwardAPI.items[0].path",
        f"projected: {{sources: [{{serviceAccountToken: {{path: {path}}}}}]}}": "projected.sources[0].serviceAccountToken.path",
    }
    for source, at in sources.items():
        spec = f"spec: {{containers: [{{name: a, image: b}}], volumes: [{{name: v, {source}}}]}}"
        assert texts("Pod", spec) == [
            f'spec.volumes[0].{at}: Invalid value: "{path}": {each}' for each in why
        ]


_LINK_LOCAL = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", []),
        ("10.9.8.7", []),
        ("169.254.169.254", [_LINK_LOCAL]),
        ("fe80::1", [_LINK_LOCAL]),
        ("0.0.0.0", ["may not be unspecified (0.0.0.0)"]),
        ("224.0.0.1", ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]),
        ("ff02::1", ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]),
    ],
)
def test_endpoints_lead_to_nothing_beside_the_network(address: str, why: list[str]) -> None:
    subsets = f"subsets: [{{addresses: [{{ip: '{address}'}}], ports: [{{port: 80}}]}}]"
    shown = [f'Invalid value: "{address}": {each}' for each in why]
    assert texts("Endpoints", subsets) == [f"subsets[0].addresses[0].ip: {each}" for each in shown]
    family = "IPv6" if ":" in address else "IPv4"
    piece = f"{{addressType: {family}, endpoints: [{{addresses: ['{address}']}}], ports: [{{port: 80}}]}}"
    assert texts("EndpointSlice", piece) == [f"endpoints[0].addresses[0]: {each}" for each in shown]
    other = "IPv4" if ":" in address else "IPv6"
    assert texts("EndpointSlice", piece.replace(family, other)) == [
        f'endpoints[0].addresses[0]: Invalid value: "{address}": must be a valid {other} address'
    ]


def test_a_host_path_does_not_step_back() -> None:
    spec = "spec: {containers: [{name: a, image: b}], volumes: [{name: v, hostPath: {path: /a/../b}}]}"
    expected = "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"
    assert texts("Pod", spec) == [expected]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("Deployment", deployment("{name: till, image: 'till:1'}"), []),
        (
            "Deployment",
            "spec: {template: {spec: {containers: [{name: till, image: 'till:1'}]}}}",
            [
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: null: `selector` does not match template "
                "`labels`",
            ],
        ),
        (
            "Deployment",
            deployment("{name: till, image: 'till:1'}", "{matchLabels: {a: other}}"),
            [
                'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`'
            ],
        ),
        ("Deployment", deployment(""), ["spec.template.spec.containers: Required value"]),
        (
            "Job",
            "spec: {completionMode: Indexed, backoffLimitPerIndex: 1, parallelism: 2, template: {spec: {restartPolicy:"
            " Never, containers: [{name: c, image: i}]}}}",
            [
                "spec.completions: Required value: when completion mode is Indexed",
                "spec.backoffLimitPerIndex: Forbidden: the embedded lab's Job controller does not have it",
            ],
        ),
        (
            "Deployment",
            deployment("{image: 'till:1', ports: [{containerPort: 70000}, {name: Http, containerPort: 80}]}"),
            [
                "spec.template.spec.containers[0].name: Required value",
                "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be "
                "between 1 and 65535, inclusive",
                'spec.template.spec.containers[0].ports[1].name: Invalid value: "Http": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)',
            ],
        ),
        (
            "Deployment",
            deployment(
                "{name: a, image: b, imagePullPolicy: Sometimes, volumeMounts: [{name: x, mountPath: /x}]}"
            ),
            [
                'spec.template.spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"',
                'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "x"',
            ],
        ),
        (
            "Deployment",
            deployment("{name: a, image: b}, {name: a, image: c}"),
            ['spec.template.spec.containers[1].name: Duplicate value: "a"'],
        ),
        (
            "Deployment",
            deployment("{name: a, image: b, readinessProbe: {}}"),
            ["spec.template.spec.containers[0].readinessProbe: Required value: must specify a handler type"],
        ),
        (
            "Pod",
            "spec: {containers: [{name: a, image: b, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]}",
            [
                'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'
            ],
        ),
        (
            "Service",
            "spec: {ports: [{port: 70000, targetPort: 0}]}",
            [
                "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        ),
        ("Service", "spec: {}", ["spec.ports: Required value"]),
        (
            "Service",
            "spec: {type: Other, ports: [{port: 80}]}",
            [
                'spec.type: Unsupported value: "Other": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'
            ],
        ),
        (
            "Service",
            "spec: {ports: [{port: 80, name: x}, {port: 80}]}",
            [
                "spec.ports[1].name: Required value",
                'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}',
            ],
        ),
        ("Secret", "{type: kubernetes.io/tls, data: {tls.crt: YQ==}}", ["data[tls.key]: Required value"]),
        (
            "ConfigMap",
            "data: {'a b': c}",
            [
                'data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric '
                "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used "
                "for validation is '[-._a-zA-Z0-9]+')"
            ],
        ),
        (
            "Job",
            "spec: {template: {spec: {containers: [{name: a, image: b}]}}}",
            ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
        ),
        (
            "Role",
            "rules: [{}]",
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            "Namespace",
            "metadata: {name: a.b}",
            ['metadata.name: Invalid value: "a.b": must not contain dots'],
        ),
        (
            "ServiceAccount",
            "metadata: {name: a, labels: {'-a': b, c: 'd e'}}",
            [
                'metadata.labels: Invalid value: "-a": name part must consist of alphanumeric '
                "characters, '-', '_' or '.', and must start and end with an alphanumeric character "
                "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
                "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                'metadata.labels: Invalid value: "d e": a valid label must be an empty string or '
                "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
                "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            ],
        ),
    ],
)
def test_creates(kind: str, text: str, expected: list[str]) -> None:
    assert texts(kind, text) == expected


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        (
            "Deployment",
            deployment("{name: a, image: b}"),
            deployment("{name: a, image: b}", "{matchLabels: {}}"),
            [
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
                "spec.selector: Invalid value: {}: field is immutable",
            ],
        ),
        (
            "ConfigMap",
            "{immutable: true, data: {a: '1'}}",
            "{immutable: true, data: {a: '2'}}",
            ["data: Forbidden: field is immutable when `immutable` is set"],
        ),
        (
            "Service",
            "spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 80}]}",
            "spec: {clusterIP: 10.0.0.2, clusterIPs: [10.0.0.2], ports: [{port: 80}]}",
            ['spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'],
        ),
        ("Secret", "{type: a}", "{type: b}", ['type: Invalid value: "b": field is immutable']),
        (
            "Pod",
            "spec: {containers: [{name: a, image: b}]}",
            "spec: {containers: [{name: a, image: c}], nodeName: n}",
            [
                "spec: Forbidden: pod updates may not change fields other than "
                "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
                "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it "
                "to be set to 1 if it was previously negative)\n"
                '+  "nodeName": "n",\n'
            ],
        ),
        (
            "Pod",
            "spec: {containers: [{name: a, image: b}]}",
            "spec: {containers: [{name: a, image: b}, {name: c, image: d}]}",
            ["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        (
            "ConfigMap",
            "metadata: {name: a, uid: one}",
            "metadata: {name: a, uid: two}",
            ['metadata.uid: Invalid value: "two": field is immutable'],
        ),
    ],
)
def test_updates(kind: str, before: str, after: str, expected: list[str]) -> None:
    old, new = made(kind, before), made(kind, after)
    untouched = copy.deepcopy((old, new))
    assert [str(each) for each in validate(KINDS[kind], new, old=old)] == expected
    assert (old, new) == untouched


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (
            "Deployment",
            "spec: {replicas: two}",
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "Deployment",
            "spec: {template: {spec: {containers: [{env: [{name: A, value: 1}]}]}}}",
            "json: cannot unmarshal number into Go struct field "
            "EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            "Deployment",
            "spec: {template: {spec: {containers: {name: a}}}}",
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of "
            "type []v1.Container",
        ),
        (
            "ConfigMap",
            "data: {a: 1}",
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "ConfigMap",
            "metadata: {labels: x}",
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type "
            "map[string]string",
        ),
        ("Secret", "data: {a: '%'}", "illegal base64 data at input byte 0"),
        (
            "Pod",
            "spec: {containers: [{resources: {limits: {cpu: lots}}}]}",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_values_of_the_wrong_type(kind: str, text: str, expected: str) -> None:
    ref = KINDS[kind]
    head = f'{kind} in version "v1" cannot be handled as a {kind}: '
    assert decode_error(ref, yaml.safe_load(text)) == head + expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spec: {replicas: two}", "unrecognized type: int32"),
        ("metadata: {annotations: {a: [b]}}", "unrecognized type: string"),
        ("metadata: {labels: x}", "cannot restore map from string"),
        ("spec: {template: 5}", "cannot restore struct from: int64"),
        ("spec: {template: {spec: {containers: {}}}}", "cannot restore slice from map"),
        ("spec: {replicas: 2, paused: true}", None),
    ],
)
def test_values_of_the_wrong_type_after_a_strategic_patch(text: str, expected: str | None) -> None:
    assert conversion_error(KINDS["Deployment"], yaml.safe_load(text)) == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "metadata",
        "spec",
        "status",
        "data",
        "type",
        "name",
        "labels",
        "template",
        "containers",
        "image",
        "ports",
        "port",
        "env",
        "selector",
        "rules",
        "servers",
        "hosts",
        "http",
        "tls",
        "match",
        "route",
        "mtls",
        "mode",
        "matchLabels",
        "resources",
        "limits",
        "cpu",
        "rollingUpdate",
        "strategy",
    ]
)
SHAPED = st.recursive(
    JSON,
    lambda inner: st.dictionaries(FIELDS, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=15,
)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([*KINDS.values(), *istio_kinds()]),
    st.dictionaries(FIELDS, SHAPED, max_size=4),
    st.dictionaries(FIELDS, SHAPED, max_size=4),
)
def test_any_json_is_judged_and_never_breaks_the_judge(
    kind: KindRef, obj: dict[str, Any], old: dict[str, Any]
) -> None:
    found = validate(kind, obj)
    assert all(each.reason.startswith("FieldValue") and each.message for each in found)
    if decode_error(kind, obj) is None and decode_error(kind, old) is None:
        default(kind, obj)
        default(kind, old)
        again = copy.deepcopy(obj)
        default(kind, again)
        assert again == obj
        validate(kind, obj, old=old)
