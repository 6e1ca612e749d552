"""What the API server checks across the fields of a pod's spec, and which of them may change later."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from difflib import ndiff
from typing import Any

from . import findings as say
from .model import Finding, Obj
from .quantity import parse_quantity
from .variables import validate_environment
from .volumes import validate_descending, validate_volume

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_MUTABLE = (
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
)


def validate_pod_spec(spec: Obj, path: str) -> Iterator[Finding]:
    """Findings on a pod's spec, in a Pod or in a template, that concern more than one field."""
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    deadline_s = spec.get("activeDeadlineSeconds")
    if deadline_s is not None and not 1 <= deadline_s < 1 << 31:
        at = f"{path}.activeDeadlineSeconds"
        yield say.invalid(at, deadline_s, f"must be between 1 and {(1 << 31) - 1}, inclusive")
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from validate_volume(volume, f"{path}.volumes[{index}]")
    regular = spec.get("containers") or []
    for index, container in enumerate(regular):
        at = f"{path}.containers[{index}]"
        yield from _container(container, volumes, at)
        yield from _probes(container, at)
        if container.get("restartPolicy") is not None:
            yield say.forbidden(f"{at}.restartPolicy", "may not be set for non-init containers")
    others = {container.get("name") for container in regular}
    for index, container in enumerate(spec.get("initContainers") or ()):
        at = f"{path}.initContainers[{index}]"
        yield from _container(container, volumes, at)
        if container.get("name") and container.get("name") in others:
            yield say.duplicate(f"{at}.name", container["name"])
        yield from _init_container(container, at)
    yield from _host_ports(regular, path)


def _container(container: Obj, volumes: set[Any], path: str) -> Iterator[Finding]:
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        at = f"{path}.volumeMounts[{index}]"
        if mount.get("name") not in volumes:
            yield say.not_found(f"{at}.name", mount.get("name", ""))
        for field in ("subPath", "subPathExpr"):
            yield from validate_descending(mount.get(field) or "", f"{path}.volumeMounts.{field}")
    seen: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        name = port.get("name") or ""
        if name and name in seen:
            yield say.duplicate(f"{path}.ports[{index}].name", name)
        seen.add(name)
    yield from validate_environment(container, path)
    yield from _security(container.get("securityContext") or {}, f"{path}.securityContext")
    yield from _resources(container.get("resources") or {}, f"{path}.resources")


def _security(context: Obj, path: str) -> Iterator[Finding]:
    for field in ("runAsUser", "runAsGroup"):
        value = context.get(field)
        if isinstance(value, int) and not 0 <= value < 1 << 31:
            yield say.invalid(f"{path}.{field}", value, f"must be between 0 and {(1 << 31) - 1}, inclusive")
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield say.invalid(path, context, detail)
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield say.invalid(path, context, detail)


def _resources(resources: Obj, path: str) -> Iterator[Finding]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, text in amounts.items():
            parsed = parse_quantity(str(text))
            if parsed is not None and parsed[0] < 0:
                yield say.invalid(f"{path}.{kind}[{name}]", str(text), "must be greater than or equal to 0")
    for name, text in requests.items():
        wanted, limit = parse_quantity(str(text)), parse_quantity(str(limits.get(name, "")))
        if wanted is not None and limit is not None and wanted[0] > limit[0]:
            detail = f"must be less than or equal to {name} limit of {limits[name]}"
            yield say.invalid(f"{path}.requests", str(text), detail)


def _probes(container: Obj, path: str) -> Iterator[Finding]:
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        yield from _handler(probe, f"{path}.{name}")
        if name == "readinessProbe":
            grace_s = probe.get("terminationGracePeriodSeconds")
            if grace_s is not None:
                at = f"{path}.{name}.terminationGracePeriodSeconds"
                yield say.invalid(at, grace_s, "must not be set for readinessProbes")
        elif probe.get("successThreshold") != 1:
            yield say.invalid(
                f"{path}.{name}.successThreshold", probe.get("successThreshold", 0), "must be 1"
            )
    for name, hook in (container.get("lifecycle") or {}).items():
        if isinstance(hook, dict):
            yield from _handler(hook, f"{path}.lifecycle.{name}")


def _handler(handler: Obj, path: str) -> Iterator[Finding]:
    chosen = [name for name in _HANDLERS if handler.get(name) is not None]
    if not chosen:
        yield say.required(path, "must specify a handler type")
    for extra in chosen[1:]:
        yield say.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")


def _init_container(container: Obj, path: str) -> Iterator[Finding]:
    policy = container.get("restartPolicy")
    if policy == "Always":
        yield from _probes(container, path)
        return
    if policy is not None:
        yield say.not_supported(f"{path}.restartPolicy", policy, ["Always"])
    for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            detail = "may not be set for init containers without restartPolicy=Always"
            yield say.forbidden(f"{path}.{field}", detail)


def _host_ports(containers: list[Obj], path: str) -> Iterator[Finding]:
    seen = set()
    for place, container in enumerate(containers):
        for index, port in enumerate(container.get("ports") or ()):
            number = port.get("hostPort")
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{number}"
            if number and key in seen:
                yield say.duplicate(f"{path}.containers[{place}].ports[{index}].hostPort", key)
            seen.add(key)


def validate_images(spec: Obj, path: str) -> Iterator[Finding]:
    """Findings on the images of a Pod; a template's are looked at when a pod is made of it."""
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            image = container.get("image") or ""
            if image != image.strip():
                detail = "must not have leading or trailing whitespace"
                yield say.invalid(f"{path}.{kind}[{index}].image", image, detail)


def validate_pod_update(new: Obj, old: Obj) -> Iterator[Finding]:
    """Findings on what a pod's update may not change."""
    spec, before = copy.deepcopy(new.get("spec") or {}), old.get("spec") or {}
    for kind in ("containers", "initContainers"):
        fresh, known = spec.get(kind) or [], before.get(kind) or []
        if len(fresh) != len(known):
            yield say.forbidden(f"spec.{kind}", "pod updates may not add or remove containers")
            return
        for container, was in zip(fresh, known, strict=True):
            container["image"] = was.get("image")
    yield from _deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    yield from _tolerations(spec.get("tolerations") or [], before.get("tolerations") or [])
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get(
        "terminationGracePeriodSeconds"
    ) == 1:
        spec["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        spec.pop(field, None)
        if field in before:
            spec[field] = before[field]
    if spec != before:
        lines = [json.dumps(each, indent=1, sort_keys=True).splitlines() for each in (before, spec)]
        changed = "\n".join(line.rstrip() for line in ndiff(lines[0], lines[1]) if line[:1] in "+-")
        listed = ",".join(_MUTABLE)
        yield say.forbidden("spec", f"pod updates may not change fields other than {listed}\n{changed}\n")


def _deadline(new: int | None, old: int | None) -> Iterator[Finding]:
    path = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            yield say.invalid(path, None, "must not update from a positive integer to nil value")
    elif not 0 <= new < 1 << 31:
        yield say.invalid(path, new, f"must be between 0 and {(1 << 31) - 1}, inclusive")
    elif old is not None and old < new:
        yield say.invalid(path, new, "must be less than or equal to previous value")


def _tolerations(new: list[Obj], old: list[Obj]) -> Iterator[Finding]:
    def key(toleration: Obj) -> Obj:
        return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}

    if any(key(each) not in [key(other) for other in new] for each in old):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        yield say.forbidden("spec.tolerations", detail)
