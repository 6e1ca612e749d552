"""The one way to a cluster: a kubeconfig's context, plain JSON in and out.

Nothing else imports `kubernetes`.  The official client reads the kubeconfig (exec plug-ins, token refresh,
proxies) and keeps the connections; requests and answers stay dictionaries, because notebooks show objects as
the API has them.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
import yaml
from kubernetes import config as kubernetes_config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import ws_client

from meshlib.errors import ClusterError
from meshlib.kube import journal, requests
from meshlib.kube.requests import Call
from meshlib.kube.rest import Answer, Executed, Resource

Obj = dict[str, Any]

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
# What the official client raises for a file that is no kubeconfig: it looks at no types.
UNUSABLE = (
    *(kubernetes_config.ConfigException, yaml.YAMLError, OSError, RecursionError),
    *(AttributeError, KeyError, TypeError, ValueError),
)
WEBSOCKET_VERBS = ("create", "get")  # an upgrade is a GET; since Kubernetes 1.35 it takes `create` too


@dataclass
class Cluster:
    """A connection to one context of one kubeconfig.

    Every method raises `ClusterError` with the API's own message and HTTP status; status 0 means no answer
    came. With `read_only` every method that writes refuses before anything is sent, and so does one that
    writes in a namespace that none of the patterns `write_namespaces` fits (empty: any namespace).
    """

    api: Any = field(repr=False)
    server: str
    context: str
    kubeconfig: Path
    read_only: bool = False
    timeout_s: float = 30.0
    run_id: str = ""
    write_namespaces: tuple[str, ...] = ()
    _served: dict[str, dict[str, Resource]] = field(default_factory=dict, repr=False)
    _preferred: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float | None = None,
    ) -> Answer:
        """One request; every status is returned.  Raises `ClusterError` with status 0 when no answer came."""
        self._permit(requests.call_of(method, path, params), f"{method} {path}", body)
        query = f"?{urlencode(params)}" if params else ""
        headers = {"Accept": accept, "User-Agent": "meshlib", **self._credentials()}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        limit_s = timeout_s or self.timeout_s
        try:
            answer = self.api.rest_client.pool_manager.request(
                method,
                self.server + path + query,
                body=data,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(5.0, limit_s), read=limit_s),
                retries=urllib3.Retry(connect=1, read=0, redirect=0, status=0, other=0),
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as cause:
            raise ClusterError(
                f"no answer from the API server {self.server} (context {self.context}): {_root(cause)}",
                fix=f"kubectl --kubeconfig {self.kubeconfig} --context {self.context} version",
            ) from cause
        return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.data)

    def _credentials(self) -> dict[str, str]:
        return {each["key"]: each["value"] for each in self.api.configuration.auth_settings().values()}

    def _permit(self, call: Call, what: str, body: object = None) -> None:
        if why := requests.refusal(call, body, self.read_only, self.write_namespaces):
            raise ClusterError(f"{what}: {why}, nothing was sent", fix="see docs/real-clusters.md, Limits")
        journal.note(call)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One request whose answer must be 2xx, as JSON; `options` as in `send`."""
        answer = self.send(method, path, **options)
        if not 200 <= answer.status < 300:
            raise _refused(method, path, answer)
        return answer.json()

    def resource(self, name: str) -> Resource:
        """The kind behind `plural.group` (`pods`, `deployments.apps`), at the version that the server
        prefers."""
        plural, _, group = name.partition(".")
        for version in self.versions(group):
            if found := self._kinds(group, version).get(plural):
                return found
        raise ClusterError(
            f"the server {self.server} does not serve {name}", status=404, fix="kubectl api-resources"
        )

    def resource_of(self, obj: Obj) -> Resource:
        """The kind of an object; when its version is not served, the same kind at the version that is."""
        group, _, version = obj["apiVersion"].rpartition("/")
        served = self.versions(group)
        for candidate in [version, *served] if version in served else served:
            for resource in self._kinds(group, candidate).values():
                if resource.kind == obj["kind"]:
                    return resource
        raise ClusterError(
            f"the server {self.server} does not serve {obj['kind']} of {obj['apiVersion']}",
            status=404,
            fix="kubectl api-resources",
        )

    def versions(self, group: str) -> list[str]:
        """The served versions of an API group, preferred first; empty when the group is not served."""
        if group not in self._preferred:
            if not group:
                self._preferred[group] = ["v1"]
            else:
                answer = self.send("GET", f"/apis/{group}")
                if answer.status == 404:
                    return []
                if answer.status != 200:
                    raise _refused("GET", f"/apis/{group}", answer)
                about = answer.json()
                versions = [entry["version"] for entry in about["versions"]]
                preferred = about.get("preferredVersion", {}).get("version", versions[0])
                self._preferred[group] = [preferred, *(v for v in versions if v != preferred)]
        return self._preferred[group]

    def _kinds(self, group: str, version: str) -> dict[str, Resource]:
        key = f"{group}/{version}"
        if key not in self._served:
            listed = self.call("GET", f"/apis/{group}/{version}" if group else f"/api/{version}")
            self._served[key] = {
                entry["name"]: Resource(group, version, entry["name"], entry["kind"], entry["namespaced"])
                for entry in listed["resources"]
                if "/" not in entry["name"]
            }
        return self._served[key]

    def forget_kinds(self) -> None:
        """Drop what discovery said; needed after CustomResourceDefinitions were created or deleted."""
        self._served.clear()
        self._preferred.clear()

    def get(self, resource: str, name: str, namespace: str | None = None) -> Obj:
        """One object."""
        found: Obj = self.call("GET", self.resource(resource).path(namespace, name))
        return found

    def find(self, resource: str, name: str, namespace: str | None = None) -> Obj | None:
        """One object, or None when there is none (also when the kind is not served)."""
        try:
            return self.get(resource, name, namespace)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, resource: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> list[Obj]:
        """All objects of a kind, page by page; `labels` and `fields` are selectors as `kubectl` takes
        them."""
        kind = self.resource(resource)
        return list(self._pages(kind.path(namespace), {"labelSelector": labels, "fieldSelector": fields}))

    def _pages(self, path: str, selectors: Mapping[str, str]) -> Iterator[Obj]:
        params = {key: value for key, value in selectors.items() if value} | {"limit": "500"}
        while True:
            page = self.call("GET", path, params=params)
            yield from page["items"]
            if not (token := page.get("metadata", {}).get("continue")):
                return
            params["continue"] = token

    def create(self, obj: Obj) -> Obj:
        """Create an object; 409 when it is there already.  Reviews (SelfSubjectAccessReview) go this way
        too."""
        path = self.resource_of(obj).path(obj["metadata"].get("namespace") if "metadata" in obj else None)
        made: Obj = self.call("POST", path, body=obj)
        return made

    def apply(self, obj: Obj, *, manager: str, force: bool = True, dry_run: bool = False) -> Obj:
        """Server-side apply: what `obj` says becomes so, what it does not mention stays with its other
        managers."""
        kind = self.resource_of(obj)
        params = {"fieldManager": manager, "force": str(force).lower()} | (
            {"dryRun": "All"} if dry_run else {}
        )
        path = kind.path(obj["metadata"].get("namespace"), obj["metadata"]["name"])
        body = obj | {"apiVersion": kind.api_version}
        applied: Obj = self.call("PATCH", path, params=params, body=body, content_type=APPLY)
        return applied

    def merge(
        self, resource: str, name: str, change: Obj, namespace: str | None = None, *, manager: str
    ) -> Obj:
        """JSON merge patch; put `metadata.resourceVersion` into `change` to be refused (409) if it moved."""
        path = self.resource(resource).path(namespace, name)
        patched: Obj = self.call(
            "PATCH", path, params={"fieldManager": manager}, body=change, content_type=MERGE
        )
        return patched

    def delete(
        self, resource: str, name: str, namespace: str | None = None, *, uid: str | None = None
    ) -> bool:
        """Delete one object and what it owns; False when it was gone already, 409 when `uid` is another
        object's."""
        options: Obj = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self.call("DELETE", self.resource(resource).path(namespace, name), body=options)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def logs(
        self, pod: str, namespace: str, *, container: str, tail: int = 200, previous: bool = False
    ) -> str:
        """The last `tail` lines of a container's log."""
        params = {"container": container, "tailLines": tail} | ({"previous": "true"} if previous else {})
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        answer = self.send("GET", path, params=params, accept="*/*")
        if answer.status != 200:
            raise _refused("GET", path, answer)
        return answer.body.decode(errors="replace")

    def execute(
        self, pod: str, namespace: str, argv: Sequence[str], *, container: str, timeout_s: float = 30.0
    ) -> Executed:
        """Run a command in a container (`kubectl exec`), without stdin; any exit code is a result.

        Raises `ClusterError` where the command cannot be started or does not end in time.
        """
        where = f"{namespace}/{pod}, container {container}"
        for verb in WEBSOCKET_VERBS:
            self._permit(Call(verb, "pods/exec", namespace, pod), f"exec in {where}")
        fix = f"kubectl exec -n {namespace} {pod} -c {container} -- {argv[0]}"
        url = f"{self.server}/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        query = [("container", container), ("stdout", "true"), ("stderr", "true"), ("command", list(argv))]
        asked = {"query_params": query, "headers": self._credentials(), "_preload_content": False}
        try:
            # not through CoreV1Api: its models take seconds to import
            told = ws_client.websocket_call(self.api.configuration, "GET", url, **asked)
        except (ApiException, OSError) as cause:
            raise ClusterError(f"exec in {where} refused: {cause}", fix=fix) from cause
        told.run_forever(timeout=timeout_s)
        if told.is_open():
            told.close()
            raise ClusterError(f"exec in {where}: no end within {timeout_s:g} s", fix=fix)
        try:
            return Executed(int(told.returncode), told.read_stdout(), told.read_stderr())
        except (TypeError, ValueError, KeyError) as cause:
            raise ClusterError(
                f"exec in {where}: the connection ended without an exit code", fix=fix
            ) from cause

    def pod_socket(self, pod: str, namespace: str, port: int) -> socket.socket:
        """A socket to a port of a pod, through the API server (what `kubectl port-forward` opens)."""
        url = f"{self.server}/api/v1/namespaces/{namespace}/pods/{pod}/portforward"
        asked = {"query_params": [("ports", str(port))], "headers": self._credentials()}
        for verb in WEBSOCKET_VERBS:
            self._permit(Call(verb, "pods/portforward", namespace, pod), f"port-forward to {namespace}/{pod}")
        try:
            forward = ws_client.portforward_call(self.api.configuration, "GET", url, **asked)
        except (ApiException, OSError) as cause:
            raise ClusterError(
                f"port-forward to {namespace}/{pod}:{port} refused: {cause}",
                fix=f"kubectl port-forward -n {namespace} {pod} {port}",
            ) from cause
        opened: socket.socket = forward.socket(port)
        return opened


def connect(
    kubeconfig: Path | None,
    context: str = "",
    *,
    read_only: bool = False,
    timeout_s: float = 30.0,
    run_id: str = "",
    write_namespaces: tuple[str, ...] = (),
) -> Cluster:
    """Open a context of a kubeconfig file; nothing is sent yet.

    None means the first file of $KUBECONFIG, else ~/.kube/config; an empty `context` means the current one.
    Raises `ClusterError` when the file, the context or its credentials cannot be read.
    """
    path = kubeconfig or Path(os.environ.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)[0])
    path = path.expanduser()
    if not path.is_file():
        raise ClusterError(
            f"no kubeconfig at {path}", fix="meshlib lab up, or name one with the parameter kubeconfig"
        )
    try:
        contexts, current = kubernetes_config.list_kube_config_contexts(str(path))
        names = [entry["name"] for entry in contexts]
        chosen = context or current["name"]
        if chosen not in names:
            raise ClusterError(
                f"kubeconfig {path} has no context {chosen!r}; it has {', '.join(names)}",
                fix="kubectl config get-contexts",
            )
        api = kubernetes_config.new_client_from_config(str(path), context=chosen, persist_config=False)
    except UNUSABLE as cause:
        why = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise ClusterError(f"kubeconfig {path} cannot be used: {why}", fix="kubectl config view") from cause
    server = api.configuration.host.rstrip("/")
    if _on_this_machine(server):
        # As Go's clients: a proxy of the environment is for other machines.  The official client's WebSockets
        # look at no_proxy only where a proxy is named, and at the environment where none is.
        api.configuration.proxy, api.configuration.no_proxy = server, "*"
        api.rest_client = type(api.rest_client)(api.configuration)
    if why := _unverified(server, verify=api.configuration.verify_ssl):
        raise ClusterError(
            f"kubeconfig {path}, context {chosen}: {why}; nothing was sent",
            fix="put the server's CA into certificate-authority-data of the kubeconfig",
        )
    return Cluster(
        api,
        server,
        chosen,
        path,
        read_only=read_only,
        timeout_s=timeout_s,
        run_id=run_id,
        write_namespaces=write_namespaces,
    )


def _unverified(server: str, *, verify: bool) -> str:
    """Why nobody knows who would answer; "" where TLS says it, or on this machine (kubectl proxy)."""
    if not server:
        return "no server is named"
    parts = urlsplit(server)
    if parts.scheme == "https":
        return "" if verify else f"insecure-skip-tls-verify leaves {server} unverified"
    if parts.scheme == "http" and _on_this_machine(server):
        return ""
    return f"{server} is no https, so neither it nor the credential is safe"


def _on_this_machine(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _refused(method: str, path: str, answer: Answer) -> ClusterError:
    try:
        status = answer.json()
        message, reason = status.get("message", ""), status.get("reason", "")
    except ValueError:
        message, reason = answer.body[:300].decode(errors="replace"), ""
    return ClusterError(
        f"{method} {path}: {answer.status} {reason} {message}".strip(), status=answer.status, reason=reason
    )


def _root(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return _root(reason) if isinstance(reason, BaseException) else str(error)
