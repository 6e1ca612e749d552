"""The printer columns of built-in kinds: what `kubectl get` shows of each.  Pure.

Names, types and cells follow the printers of a real kube-apiserver 1.36.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from .age import age, duration
from .pod_columns import conditions as pod_conditions
from .pod_columns import pod_cells
from .printers import Definition, Printer, columns
from .store import Obj


def _meta(obj: Obj) -> tuple[str, str]:
    return obj["metadata"]["name"], age(obj["metadata"].get("creationTimestamp"))


def _spec(obj: Obj) -> Obj:
    return obj.get("spec") or {}


def _status(obj: Obj) -> Obj:
    return obj.get("status") or {}


def labels_text(labels: Obj | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def selector_text(selector: Obj | None) -> str:
    """A `metav1.LabelSelector` as kubectl prints it."""
    if selector is None:
        return "<none>"
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for each in selector.get("matchExpressions") or []:
        key, values = each["key"], ",".join(sorted(each.get("values") or []))
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[each["operator"]]
        )
    return ",".join(parts) or "<none>"


def _containers(template: Obj | None) -> tuple[str, str]:
    found = ((template or {}).get("spec") or {}).get("containers") or []
    return ",".join(each["name"] for each in found), ",".join(each.get("image", "") for each in found)


def _deployment(obj: Obj) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    name, old = _meta(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    numbers = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [
        name,
        ready,
        *numbers,
        old,
        *_containers(spec.get("template")),
        selector_text(spec.get("selector")),
    ]


def _replica_set(obj: Obj) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    name, old = _meta(obj)
    numbers = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name, *numbers, old, *_containers(spec.get("template")), selector_text(spec.get("selector"))]


def _stateful_set(obj: Obj) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    name, old = _meta(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [name, ready, old, *_containers(spec.get("template"))]


def _daemon_set(obj: Obj) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    name, old = _meta(obj)
    keys = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    template = spec.get("template") or {}
    node = labels_text((template.get("spec") or {}).get("nodeSelector"))
    numbers = [status.get(key, 0) for key in keys]
    return [name, *numbers, node, old, *_containers(template), selector_text(spec.get("selector"))]


def _job(obj: Obj) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    name, old = _meta(obj)
    true = {each["type"] for each in status.get("conditions") or [] if each.get("status") == "True"}
    state = "Running"
    for condition, shown in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if condition in true:
            state = shown
            break
    else:
        state = "Terminating" if "deletionTimestamp" in obj["metadata"] else state
    wanted = spec.get("completions")
    if wanted is None:
        parallel = spec.get("parallelism", 0)
        wanted = f"1 of {parallel}" if parallel > 1 else 1
    took = ""
    if started := status.get("startTime"):
        took = age(started)
        if ended := status.get("completionTime"):
            seconds = datetime.fromisoformat(ended) - datetime.fromisoformat(started)
            took = duration(int(seconds.total_seconds()))
    done = f"{status.get('succeeded', 0)}/{wanted}"
    names = _containers(spec.get("template"))
    return [name, state, done, took, old, *names, selector_text(spec.get("selector"))]


def _cron_job(obj: Obj) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    name, old = _meta(obj)
    last = status.get("lastScheduleTime")
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    suspended = "True" if spec.get("suspend") else "False"
    return [
        name,
        spec.get("schedule", ""),
        spec.get("timeZone") or "<none>",
        suspended,
        len(status.get("active") or []),
        age(last) if last else "<none>",
        old,
        *_containers(job.get("template")),
        selector_text(job.get("selector")),
    ]


def _service(obj: Obj) -> list[Any]:
    spec = _spec(obj)
    name, old = _meta(obj)
    ports = []
    for port in spec.get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    return [
        name,
        spec.get("type", ""),
        spec.get("clusterIP") or "<none>",
        _external(obj),
        ",".join(ports) or "<none>",
        old,
        labels_text(spec.get("selector")),
    ]


def _external(service: Obj) -> str:
    spec = _spec(service)
    external = list(spec.get("externalIPs") or [])
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case "LoadBalancer":
            ingress = (_status(service).get("loadBalancer") or {}).get("ingress") or []
            found = sorted({each.get("ip") or each.get("hostname", "") for each in ingress} - {""})
            return ",".join(found + external) or "<pending>"
    return ",".join(external) or "<none>"


def _endpoints(obj: Obj) -> list[Any]:
    name, old = _meta(obj)
    pairs = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
    ]
    shown = ",".join(pairs[:3]) + (f" + {len(pairs) - 3} more..." if len(pairs) > 3 else "")
    return [name, shown or "<none>", old]


def _endpoint_slice(obj: Obj) -> list[Any]:
    name, old = _meta(obj)
    ports = [str(each["port"]) if each.get("port") else "*" for each in obj.get("ports") or []]
    addresses = [ip for each in obj.get("endpoints") or [] for ip in each.get("addresses") or []]
    return [name, obj.get("addressType", ""), _few(ports) or "<unset>", _few(addresses) or "<unset>", old]


def _few(words: list[str]) -> str:
    more = f" + {len(words) - 3} more..." if len(words) > 3 else ""
    return ",".join(words[:3]) + more


def _node(obj: Obj) -> list[Any]:
    status, info = _status(obj), _status(obj).get("nodeInfo") or {}
    name, old = _meta(obj)
    ready = [each for each in status.get("conditions") or [] if each["type"] == "Ready"]
    shown = "Unknown" if not ready else "Ready" if ready[0]["status"] == "True" else "NotReady"
    if _spec(obj).get("unschedulable"):
        shown += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix) and key != prefix)
    addresses = {each["type"]: each["address"] for each in status.get("addresses") or []}
    return [
        name,
        shown,
        ",".join(roles) or "<none>",
        old,
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _event(obj: Obj) -> list[Any]:
    involved, series = obj.get("involvedObject") or {}, obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent", "")
    host = source.get("host") or obj.get("reportingInstance", "")
    return [
        age(last),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        (obj.get("message") or "").strip(),
        age(first),
        series.get("count") or obj.get("count") or 1,
        obj["metadata"]["name"],
    ]


def _binding(obj: Obj) -> list[Any]:
    name, old = _meta(obj)
    role, subjects = obj.get("roleRef") or {}, obj.get("subjects") or []
    users = ", ".join(each["name"] for each in subjects if each["kind"] == "User")
    groups = ", ".join(each["name"] for each in subjects if each["kind"] == "Group")
    accounts = ", ".join(
        f"{each.get('namespace', '')}/{each['name']}" for each in subjects if each["kind"] == "ServiceAccount"
    )
    return [name, f"{role.get('kind')}/{role.get('name')}", old, users, groups, accounts]


def _budget(obj: Obj) -> list[Any]:
    name, old = _meta(obj)
    spec = _spec(obj)
    shown = [
        str(spec.get(key)) if spec.get(key) is not None else "N/A"
        for key in ("minAvailable", "maxUnavailable")
    ]
    return [name, *shown, _status(obj).get("disruptionsAllowed", 0), old]


def _count(*keys: str) -> Callable[[Obj], int]:
    return lambda obj: sum(len(obj.get(key) or ()) for key in keys)


def _simple(names: str, *middle: Callable[[Obj], Any]) -> Printer:
    """Name, what `middle` says, Age."""

    def cells(obj: Obj) -> list[Any]:
        name, old = _meta(obj)
        return [name, *(each(obj) for each in middle), old]

    return Printer(columns(names), cells)


def _controller(obj: Obj) -> str:
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            group = owner["apiVersion"].rpartition("/")[0]
            kind = f"{owner['kind'].lower()}.{group}" if group else owner["kind"].lower()
            return f"{kind}/{owner['name']}"
    return "<none>"


_WORKLOAD = " Containers* Images* Selector*"
_WEBHOOKS = _simple("Name Webhooks:integer Age", _count("webhooks"))
_BINDING = Printer(columns("Name Role Age Users* Groups* ServiceAccounts*"), _binding)
PRINTERS: dict[str, Printer] = {
    "pods": Printer(
        columns("Name Ready Status Restarts Age IP* Node* Nominated_Node* Readiness_Gates*"),
        pod_cells,
        pod_conditions,
    ),
    "deployments.apps": Printer(columns("Name Ready Up-to-date Available Age" + _WORKLOAD), _deployment),
    "replicasets.apps": Printer(
        columns("Name Desired:integer Current:integer Ready:integer Age" + _WORKLOAD), _replica_set
    ),
    "statefulsets.apps": Printer(columns("Name Ready Age Containers* Images*"), _stateful_set),
    "daemonsets.apps": Printer(
        columns(
            "Name Desired:integer Current:integer Ready:integer Up-to-date:integer Available:integer "
            "Node_Selector Age" + _WORKLOAD
        ),
        _daemon_set,
    ),
    "jobs.batch": Printer(columns("Name Status Completions Duration Age" + _WORKLOAD), _job),
    "cronjobs.batch": Printer(
        columns("Name Schedule Timezone Suspend:boolean Active:integer Last_Schedule Age" + _WORKLOAD),
        _cron_job,
    ),
    "services": Printer(columns("Name Type Cluster-IP External-IP Port(s) Age Selector*"), _service),
    "endpoints": Printer(columns("Name Endpoints Age"), _endpoints),
    "endpointslices.discovery.k8s.io": Printer(
        columns("Name AddressType Ports Endpoints Age"), _endpoint_slice
    ),
    "nodes": Printer(
        columns(
            "Name Status Roles Age Version Internal-IP* External-IP* OS-Image* Kernel-Version* "
            "Container-Runtime*"
        ),
        _node,
    ),
    "events": Printer(
        [
            *columns("Last_Seen Type Reason Object Subobject* Source* Message First_Seen* Count*:integer"),
            Definition("Name", priority=1, format="name"),
        ],
        _event,
    ),
    "namespaces": _simple("Name Status Age", lambda obj: _status(obj).get("phase", "")),
    "configmaps": _simple("Name Data Age", _count("data", "binaryData")),
    "secrets": _simple("Name Type Data Age", lambda obj: obj.get("type", ""), _count("data")),
    "serviceaccounts": _simple("Name Age"),
    "poddisruptionbudgets.policy": Printer(
        columns("Name Min_Available Max_Unavailable Allowed_Disruptions:integer Age"), _budget
    ),
    "controllerrevisions.apps": _simple(
        "Name Controller Revision Age", _controller, lambda obj: obj.get("revision", 0)
    ),
    "leases.coordination.k8s.io": _simple(
        "Name Holder Age", lambda obj: _spec(obj).get("holderIdentity", "")
    ),
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _WEBHOOKS,
}
PRINTERS["events.events.k8s.io"] = PRINTERS["events"]
