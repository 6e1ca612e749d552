"""A container's environment: `env` and `envFrom` resolved, `$(NAME)` expanded, as the kubelet does. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshlib.lab.kubelet.podspec import find_container, quantity

Obj = dict[str, Any]
Lookup = Callable[
    [str, str], Obj | None
]  # ("configmaps" | "secrets", name) → the object of the pod's namespace

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigProblem(Exception):
    """A reference of the container leads nowhere; the waiting reason is CreateContainerConfigError."""


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` by `known`, `$$` → `$`; an unknown name stays as it is written."""
    return _REFERENCE.sub(lambda m: "$" if m[0] == "$$" else known.get(m[1], m[0]), text)


def field_value(pod: Obj, path: str) -> str:
    """What `fieldRef.fieldPath` names; raises `ConfigProblem` for a path that pods do not offer."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if match := _SUBSCRIPT.fullmatch(path):
        return str((meta.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = meta.get(path.partition(".")[2]) or {}
        return "\n".join(f'{name}="{_quoted(value)}"' for name, value in sorted(pairs.items()))
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.hostIP": status.get("hostIP", ""),
        "status.podIP": status.get("podIP", ""),
        "status.hostIPs": ",".join(each["ip"] for each in status.get("hostIPs") or []),
        "status.podIPs": ",".join(each["ip"] for each in status.get("podIPs") or []),
    }
    if path not in simple:
        raise ConfigProblem(f"field label not supported: {path}")
    return str(simple[path])


def resource_value(pod: Obj, container: Obj, reference: Obj, capacity: Mapping[str, str]) -> str:
    """What `resourceFieldRef` names, in units of its divisor, rounded up; a missing limit is the node's
    capacity.
    """
    named = reference.get("containerName")
    source = (find_container(pod, named) if named else container) or container
    table, _, resource = str(reference["resource"]).partition(".")
    amount = ((source.get("resources") or {}).get(table) or {}).get(resource)
    if amount is None:
        amount = capacity.get(resource, "0") if table == "limits" else "0"
    divisor = quantity(reference.get("divisor") or "1") or quantity("1")
    return str(-(-quantity(amount) // divisor))


def resolve(
    pod: Obj, container: Obj, lookup: Lookup, base: Mapping[str, str], capacity: Mapping[str, str]
) -> dict[str, str]:
    """The environment of `container`: `base` (what the cluster gives), then envFrom, then env, later ones
    winning.
    """
    result = dict(base)
    for source in container.get("envFrom") or []:
        for name, value in _whole(source, lookup):
            result[source.get("prefix", "") + name] = value
    for entry in container.get("env") or []:
        value = entry.get("value")
        reference = entry.get("valueFrom")
        if reference is None:
            result[entry["name"]] = expand(value or "", result)
        elif (found := _referenced(pod, container, reference, lookup, capacity)) is not None:
            result[entry["name"]] = found
    return result


def _whole(source: Obj, lookup: Lookup) -> Iterable[tuple[str, str]]:
    for key, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
        if reference := source.get(key):
            found = lookup(resource, reference["name"])
            if found is None and not reference.get("optional"):
                raise ConfigProblem(f'{resource[:-1]} "{reference["name"]}" not found')
            yield from texts(found or {}, resource).items()


def _referenced(
    pod: Obj, container: Obj, reference: Obj, lookup: Lookup, capacity: Mapping[str, str]
) -> str | None:
    if field := reference.get("fieldRef"):
        return field_value(pod, field["fieldPath"])
    if resource := reference.get("resourceFieldRef"):
        return resource_value(pod, container, resource, capacity)
    for key, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if wanted := reference.get(key):
            found = lookup(kind, wanted["name"])
            if found is None:
                if wanted.get("optional"):
                    return None
                raise ConfigProblem(f'{kind[:-1]} "{wanted["name"]}" not found')
            value = texts(found, kind).get(wanted["key"])
            if value is None and not wanted.get("optional"):
                shown = "ConfigMap" if kind == "configmaps" else "Secret"
                where = f"{pod['metadata']['namespace']}/{wanted['name']}"
                raise ConfigProblem(f"couldn't find key {wanted['key']} in {shown} {where}")
            return value
    raise ConfigProblem(f"unsupported valueFrom: {', '.join(reference)}")


def texts(obj: Obj, resource: str) -> dict[str, str]:
    """The data of a ConfigMap or Secret as text, values of Secrets decoded."""
    data = obj.get("data") or {}
    if resource == "configmaps":
        return dict(data)
    return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}


def service_variables(services: Iterable[Obj]) -> dict[str, str]:
    """`TILL_SERVICE_HOST`, `TILL_SERVICE_PORT`, `TILL_SERVICE_PORT_HTTP` for each Service with a
    ClusterIP.
    """
    variables: dict[str, str] = {}
    for service in services:
        address = service["spec"].get("clusterIP")
        ports = service["spec"].get("ports") or []
        if not address or address == "None" or not ports:
            continue
        stem = re.sub(r"[^A-Z0-9]", "_", service["metadata"]["name"].upper())
        variables[f"{stem}_SERVICE_HOST"] = address
        variables[f"{stem}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                suffix = re.sub(r"[^A-Z0-9]", "_", port["name"].upper())
                variables[f"{stem}_SERVICE_PORT_{suffix}"] = str(port["port"])
    return variables


def hosts(services: Iterable[Obj], namespace: str) -> str:
    """The names of all Services with a ClusterIP, as a pod of `namespace` may write them, in the form of
    /etc/hosts.
    """
    lines = []
    for service in services:
        meta, address = service["metadata"], service["spec"].get("clusterIP")
        if not address or address == "None":
            continue
        short = f"{meta['name']}.{meta['namespace']}"
        names = [f"{short}.svc.cluster.local", f"{short}.svc", short]
        own = [meta["name"]] if meta["namespace"] == namespace else []
        lines.append(" ".join([address, *names, *own]))
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
