"""The one table of kinds: discovery, REST, tables, admission and the docs read it.

The rows follow the discovery documents of a real kube-apiserver 1.36 and the CustomResourceDefinitions of
Istio 1.30.  A row is: group, versions (preferred first), kind, plural, short names, marks; `-` is nothing.

Marks: `cluster` (not namespaced), `all` and `ext` (categories), `gen` (counts generations), `object` (DELETE
answers with the object), `put` (PUT may create), `versioned` (PUT
must carry a resourceVersion), `virtual` (asked and answered in one POST, never stored),
`refuse=…` (users cannot create, change or delete
objects; the word is a key of REFUSALS), and the names of subresources.
"""

from __future__ import annotations

from .kinds import ALL_VERBS, Catalogue, Column, Kind, Subresource

BUILT_IN = """
core  v1  ConfigMap               configmaps              cm      -
core  v1  Endpoints               endpoints               ep      put
core  v1  Event                   events                  ev      put
core  v1  LimitRange              limitranges             limits  refuse=quota put
core  v1  Namespace               namespaces              ns      cluster object finalize status
core  v1  Node                    nodes                   no      cluster status
core  v1  PersistentVolumeClaim   persistentvolumeclaims  pvc     object refuse=storage status
core  v1  PersistentVolume        persistentvolumes       pv      cluster object refuse=storage status
core  v1  Pod                     pods                    po      all gen object attach binding eviction exec log portforward proxy status
core  v1  PodTemplate             podtemplates            -       gen object
core  v1  ReplicationController   replicationcontrollers  rc      all gen refuse=controller scale status
core  v1  ResourceQuota           resourcequotas          quota   object refuse=quota status
core  v1  Secret                  secrets                 -       -
core  v1  ServiceAccount          serviceaccounts         sa      object token
core  v1  Service                 services                svc     all object proxy status put
apps  v1  ControllerRevision      controllerrevisions     -       -
apps  v1  DaemonSet               daemonsets              ds      all gen refuse=controller status
apps  v1  Deployment              deployments             deploy  all gen scale status
apps  v1  ReplicaSet              replicasets             rs      all gen scale status
apps  v1  StatefulSet             statefulsets            sts     all gen refuse=controller scale status
batch  v1  CronJob                cronjobs                cj      all gen refuse=controller status
batch  v1  Job                    jobs                    -       all gen status
autoscaling  v2,v1  HorizontalPodAutoscaler  horizontalpodautoscalers  hpa  all refuse=controller status
policy  v1  PodDisruptionBudget   poddisruptionbudgets    pdb     gen status
admissionregistration.k8s.io  v1  MutatingWebhookConfiguration    mutatingwebhookconfigurations    -  ext cluster gen versioned
admissionregistration.k8s.io  v1  ValidatingWebhookConfiguration  validatingwebhookconfigurations  -  ext cluster gen versioned
apiextensions.k8s.io  v1  CustomResourceDefinition  customresourcedefinitions  crd,crds  ext cluster gen refuse=crd status versioned
coordination.k8s.io   v1  Lease          leases          -   put versioned
discovery.k8s.io      v1  EndpointSlice  endpointslices  -   gen
events.k8s.io         v1  Event          events          ev  put
networking.k8s.io     v1  IngressClass   ingressclasses   -       cluster gen refuse=ingress
networking.k8s.io     v1  Ingress        ingresses        ing     gen refuse=ingress status
networking.k8s.io     v1  NetworkPolicy  networkpolicies  netpol  gen refuse=netpol
rbac.authorization.k8s.io  v1  ClusterRoleBinding  clusterrolebindings  -  cluster put
rbac.authorization.k8s.io  v1  ClusterRole         clusterroles         -  cluster put
rbac.authorization.k8s.io  v1  RoleBinding         rolebindings         -  put
rbac.authorization.k8s.io  v1  Role                roles                -  put
scheduling.k8s.io  v1  PriorityClass  priorityclasses  pc  cluster gen
storage.k8s.io     v1  StorageClass   storageclasses   sc  cluster object refuse=storage
authentication.k8s.io  v1  SelfSubjectReview         selfsubjectreviews         -  cluster virtual
authentication.k8s.io  v1  TokenReview               tokenreviews               -  cluster virtual
authorization.k8s.io   v1  LocalSubjectAccessReview  localsubjectaccessreviews  -  virtual
authorization.k8s.io   v1  SelfSubjectAccessReview   selfsubjectaccessreviews   -  cluster virtual
authorization.k8s.io   v1  SelfSubjectRulesReview    selfsubjectrulesreviews    -  cluster virtual
authorization.k8s.io   v1  SubjectAccessReview       subjectaccessreviews       -  cluster virtual
"""  # noqa: E501  (a table is read by columns)

ISTIO = """
networking.istio.io  v1,v1beta1,v1alpha3  DestinationRule        destinationrules        dr
networking.istio.io  v1alpha3             EnvoyFilter            envoyfilters            -
networking.istio.io  v1,v1beta1,v1alpha3  Gateway                gateways                gw
networking.istio.io  v1beta1              ProxyConfig            proxyconfigs            -
networking.istio.io  v1,v1beta1,v1alpha3  ServiceEntry           serviceentries          se
networking.istio.io  v1,v1beta1,v1alpha3  Sidecar                sidecars                -
networking.istio.io  v1,v1beta1,v1alpha3  VirtualService         virtualservices         vs
networking.istio.io  v1,v1beta1,v1alpha3  WorkloadEntry          workloadentries         we
networking.istio.io  v1,v1beta1,v1alpha3  WorkloadGroup          workloadgroups          wg
security.istio.io    v1,v1beta1           AuthorizationPolicy    authorizationpolicies   ap
security.istio.io    v1,v1beta1           PeerAuthentication     peerauthentications     pa
security.istio.io    v1,v1beta1           RequestAuthentication  requestauthentications  ra
telemetry.istio.io   v1,v1alpha1          Telemetry              telemetries             telemetry
extensions.istio.io  v1alpha1             TrafficExtension       trafficextensions       -
extensions.istio.io  v1alpha1             WasmPlugin             wasmplugins             -
"""

REFUSALS = {
    "crd": "the embedded lab serves Istio's custom resources only, as they are",
    "quota": "the embedded lab enforces no quotas and limits",
    "storage": "the embedded lab has no volumes that outlive a pod",
    "controller": "the embedded lab runs no controller for it",
    "ingress": "the embedded lab runs no Ingress controller; an Istio Gateway does the same",
    "netpol": "the embedded lab does not enforce network policies; an AuthorizationPolicy does",
}

_CREATE = ("create",)
_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_CONNECT = ("create", "get")
_PROXY = ("create", "delete", "get", "patch", "update")
_PARTS = {
    each.name: each
    for each in (
        Subresource("attach", _CONNECT, "PodAttachOptions"),
        Subresource("binding", _CREATE, "Binding"),
        Subresource("eviction", _CREATE, "Eviction", "policy", "v1"),
        Subresource("exec", _CONNECT, "PodExecOptions"),
        Subresource("finalize", ("update",)),
        Subresource("log", ("get",)),
        Subresource("portforward", _CONNECT, "PodPortForwardOptions"),
        Subresource("proxy", _PROXY, "ServiceProxyOptions"),
        Subresource("scale", kind="Scale", group="autoscaling", version="v1"),
        Subresource("status"),
        Subresource("token", _CREATE, "TokenRequest", "authentication.k8s.io", "v1"),
    )
}
_CREATION = "CreationTimestamp is a timestamp representing the server time when this object was created."
_AGE = Column("Age", "date", ".metadata.creationTimestamp", description=_CREATION)
_HOSTS = Column("Hosts", "string", ".spec.hosts")
_COLUMNS = {
    "DestinationRule": (Column("Host", "string", ".spec.host"), _AGE),
    "ServiceEntry": (
        _HOSTS,
        Column("Location", "string", ".spec.location"),
        Column("Resolution", "string", ".spec.resolution"),
        _AGE,
    ),
    "VirtualService": (Column("Gateways", "string", ".spec.gateways"), _HOSTS, _AGE),
    "WorkloadEntry": (_AGE, Column("Address", "string", ".spec.address")),
    "AuthorizationPolicy": (Column("Action", "string", ".spec.action"), _AGE),
    "PeerAuthentication": (Column("Mode", "string", ".spec.mtls.mode"), _AGE),
}


def _words(cell: str) -> tuple[str, ...]:
    return () if cell == "-" else tuple(cell.split(","))


def _built_in(line: str) -> Kind:
    group, versions, kind, plural, short, *marks = line.split()
    refused = next((mark.removeprefix("refuse=") for mark in marks if mark.startswith("refuse=")), "")
    verbs: tuple[str, ...] = ALL_VERBS
    if "virtual" in marks:
        verbs = _CREATE
    elif kind == "Namespace":
        verbs = tuple(verb for verb in ALL_VERBS if verb != "deletecollection")
    parts = [_PARTS[mark] for mark in marks if mark in _PARTS]
    if kind == "Pod":
        parts = [Subresource("proxy", _PROXY, "PodProxyOptions") if p.name == "proxy" else p for p in parts]
    return Kind(
        "" if group == "core" else group,
        _words(versions),
        kind,
        plural,
        _words(short),
        tuple(word for mark, word in (("all", "all"), ("ext", "api-extensions")) if mark in marks),
        namespaced="cluster" not in marks,
        verbs=verbs,
        subresources=tuple(parts),
        generation="gen" in marks,
        delete_object="object" in marks,
        put_creates="put" in marks,
        put_needs_version="versioned" in marks,
        virtual="virtual" in marks,
        refusal=REFUSALS[refused] if refused else "",
    )


def _istio(line: str) -> Kind:
    group, versions, kind, plural, short = line.split()
    return Kind(
        group,
        _words(versions),
        kind,
        plural,
        _words(short),
        ("istio-io", group.replace(".", "-")),
        verbs=_CUSTOM_VERBS,
        subresources=(_PARTS["status"],),
        custom=True,
        put_needs_version=True,
        generation=True,
        columns=_COLUMNS.get(kind, (_AGE,)),
    )


KINDS = Catalogue(
    tuple(
        [_built_in(line) for line in BUILT_IN.strip().splitlines()]
        + [_istio(line) for line in ISTIO.strip().splitlines()]
    )
)


def stored_kind(kind: Kind) -> Kind:
    """The kind as which objects of `kind` are stored."""
    return KINDS.resource(kind.stored)
