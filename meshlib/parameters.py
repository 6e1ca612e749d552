"""Every parameter of the runbook, once: name, type, default, unit, bounds, help.

`Config` is the table.  The runner, each notebook's validation cell, `meshlib parameters`, the YAML files in
`parameters/` and `docs/parameters.md` all read it.  A notebook declares the few that it uses and gets a
`Config` that holds exactly those.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from meshlib.errors import ParameterError
from meshlib.home import lab_kubeconfig

Value = str | int | float | bool

DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DNS_NAME = rf"{DNS_LABEL}(\.{DNS_LABEL})*"
VERSION = r"\d+\.\d+\.\d+"
IMAGE = r"[^\s:@]+(:\d+)?(/[^\s:@]+)*:[\w][\w.-]*(@sha256:[0-9a-f]{64})?"
ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]*|"
RUN_ID = r"[A-Za-z0-9._-]*"
URL_PATH = r"/[^\s]*"
BASE_PATH = r"(/[A-Za-z0-9._~-]+)*"
BASE_URL = r"(https?://[^\s?#@]+)?"
NAMESPACES = r"([-a-z0-9*]+(, ?[-a-z0-9*]+)*)?"
PATTERNS = {
    DNS_LABEL: "a DNS label: lower-case letters, digits and '-', at most 63",
    DNS_NAME: "a DNS name in lower case",
    VERSION: "a version such as 1.30.5",
    ENV_NAME: "the name of an environment variable, or empty",
    RUN_ID: "letters, digits, '.', '_' and '-'",
    IMAGE: "an image with a tag",
    BASE_URL: "an http or https URL without a user or password, or empty",
    NAMESPACES: "names of namespaces with commas between, or empty",
    URL_PATH: "a path that starts with '/'",
    BASE_PATH: "a path that starts with '/' and does not end with it, or empty",
}


@dataclass(frozen=True)
class Parameter:
    """One row of the table.  Bounds are inclusive; `accepts` says type, choices, bounds and unit in words."""

    name: str
    type: type[str] | type[int] | type[float] | type[bool]
    default: Value
    group: str
    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    secret: bool = False

    @property
    def accepts(self) -> str:
        """What a value must be, in words: `a whole number, 1 to 20 pods`."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.type is bool:
            return "true or false"
        if self.type is str:
            return PATTERNS.get(self.pattern, "a string")
        kind = "a whole number" if self.type is int else "a number"
        if self.low is not None and self.high is not None:
            kind += f", {self.low:g} to {self.high:g}"
        elif self.low is not None:
            kind += f", at least {self.low:g}"
        return f"{kind} {self.unit}".rstrip()

    def check(self, value: object) -> str | None:
        """What is wrong with `value`, or None.  An int passes for a float; nothing else is bent."""
        fits = isinstance(value, self.type) or (self.type is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and self.type is not bool):
            hint = ""
            if self.type is str and isinstance(value, (bool, int, float)):
                hint = "; put it in quotes (papermill: -r, not -p)"
            return f"{self.name}: {value!r} is {_kind(value)}; accepted: {self.accepts}{hint}"
        bad = (
            (isinstance(value, str) and not _is_text(value))
            or (self.choices and value not in self.choices)
            or (self.pattern and not re.fullmatch(self.pattern, str(value)))
            or (isinstance(value, float) and not math.isfinite(value))
            or (self.low is not None and isinstance(value, (int, float)) and value < self.low)
            or (self.high is not None and isinstance(value, (int, float)) and value > self.high)
        )
        return f"{self.name}: {value!r} is not accepted; accepted: {self.accepts}" if bad else None

    def parse(self, text: str) -> Value:
        """The value that `text` on a command line stands for, never guessed.  Raises `ParameterError`."""
        value: Value = text
        if self.type is bool and text in ("true", "false"):
            value = text == "true"
        elif self.type is int and re.fullmatch(r"-?(0|[1-9]\d*)", text):
            value = int(text)
        elif self.type is float and re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE]-?\d+)?", text):
            value = float(text)
        if problem := self.check(value):
            raise ParameterError([problem])
        return value


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: other bytes of a command line arrive as halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    names = {
        bool: "a truth value",
        int: "a whole number",
        float: "a number",
        str: "a string",
        type(None): "nothing",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _p(default: Value, group: str, help_: str, **more: Any) -> Any:
    return field(metadata={"default": default, "group": group, "help": help_, **more})


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Config:
    """The validated parameters of one notebook or run.  One that was not declared cannot be read."""

    target: str = _p(
        "embedded",
        "cluster",
        "Which cluster: the embedded lab, or one that a kubeconfig names",
        choices=("embedded", "kubeconfig"),
    )
    kubeconfig: str = _p("", "cluster", "Path of the kubeconfig; empty means $KUBECONFIG or ~/.kube/config")
    context: str = _p("", "cluster", "Context of the kubeconfig; must be named for a real cluster")
    confirm_context: str = _p("", "cluster", "The context once more: consent to write to a real cluster")
    write_namespaces: str = _p(
        "",
        "cluster",
        "Namespaces that may be written, with commas between, * as in a shell; empty: any",
        pattern=NAMESPACES,
    )
    read_only: bool = _p(False, "cluster", "Observe only; every write is refused before it is sent")
    timeout_s: float = _p(120.0, "cluster", "How long one wait may take", unit="seconds", low=1, high=3600)

    istio_version: str = _p("1.30.5", "istio", "Version of Istio to install or to expect", pattern=VERSION)
    istio_profile: str = _p("demo", "istio", "Installation profile", choices=("demo", "default", "minimal"))
    install_method: str = _p(
        "auto",
        "istio",
        "How Istio gets in; auto takes what the target offers",
        choices=("auto", "manifest", "istioctl", "helm", "existing"),
    )
    istio_upgrade: bool = _p(
        False, "istio", "Change the version of an Istio that this project installed; never done unasked"
    )
    istio_mirror: str = _p(
        "",
        "istio",
        "Base URL of the releases that istioctl is fetched from; empty: the publisher's",
        pattern=BASE_URL,
    )
    istio_namespace: str = _p("istio-system", "istio", "Namespace of the control plane", pattern=DNS_LABEL)

    namespace: str = _p("httpserver-istio", "workload", "Namespace of the HTTP server", pattern=DNS_LABEL)
    app: str = _p("gohttpserver", "workload", "Name of the Deployment and the Service", pattern=DNS_LABEL)
    image: str = _p(
        "docker.io/helenwami/gohttpserver:v1.3", "workload", "Image of the HTTP server", pattern=IMAGE
    )
    client_image: str = _p(
        "docker.io/curlimages/curl:8.17.0",
        "workload",
        "Image of clients in the cluster, with curl",
        pattern=IMAGE,
    )
    replicas: int = _p(2, "workload", "Pods of the HTTP server", unit="pods", low=1, high=20)
    greeting: str = _p("Welcome to gohttpserver", "workload", "What the mounted ConfigMap greets with")
    service_port: int = _p(80, "workload", "Port of the Service", low=1, high=65535)
    container_port: int = _p(81, "workload", "Port that the container listens on", low=1, high=65535)

    host: str = _p("gohttpserver.io", "ingress", "Host name that the gateway publishes", pattern=DNS_NAME)
    gateway_name: str = _p("gohttpserver-svc", "ingress", "Name of the Gateway", pattern=DNS_LABEL)
    virtual_service_name: str = _p(
        "gohttpserver-svc", "ingress", "Name of the VirtualService", pattern=DNS_LABEL
    )
    ingress_address: str = _p("", "ingress", "host or host:port of the ingress; empty: read from its Service")
    credential_name: str = _p(
        "gohttpserver-credential",
        "ingress",
        "Secret with the certificate, in the gateway's namespace",
        pattern=DNS_LABEL,
    )
    certificate_days: int = _p(90, "ingress", "Validity of the certificate", unit="days", low=1, high=398)

    jaeger_version: str = _p("2.20.0", "tracing", "Version of Jaeger to install", pattern=VERSION)
    jaeger_storage: str = _p(
        "memory",
        "tracing",
        "Where Jaeger keeps traces: in memory, or as files that end with its pod",
        choices=("memory", "badger"),
    )
    jaeger_base_path: str = _p(
        "/jaeger",
        "tracing",
        "Path under which Jaeger serves; empty: at the root",
        pattern=BASE_PATH,
    )
    sampling_percent: float = _p(
        100.0, "tracing", "Share of requests to trace", unit="percent", low=0, high=100
    )
    baseline_sampling_percent: float = _p(
        1.0, "tracing", "Share to trace before the change", unit="percent", low=0, high=100
    )

    load_connections: int = _p(
        4, "load", "Connections that the load keeps busy", unit="connections", low=1, high=512
    )
    load_duration_s: float = _p(5.0, "load", "Length of the load", unit="seconds", low=0.5, high=3600)
    load_rate: float = _p(
        200.0,
        "load",
        "Requests a second; 0 means as fast as answers come",
        unit="requests/s",
        low=0,
        high=100000,
    )
    load_path: str = _p("/healthz", "load", "Path that the load asks for", pattern=URL_PATH)

    run_id: str = _p(
        "", "run", "Id of the run, sent as a header and span tag; the runner sets it", pattern=RUN_ID
    )
    cell_timeout_s: float = _p(
        300.0,
        "run",
        "How long one cell may take; the tag timeout-N overrides it",
        unit="seconds",
        low=1,
        high=86400,
    )
    deadline_s: float = _p(
        1800.0, "run", "How long the whole run may take", unit="seconds", low=1, high=604800
    )
    webhook_url_env: str = _p(
        "",
        "run",
        "Environment variable that holds the URL to notify at the end",
        pattern=ENV_NAME,
        secret=True,
    )

    def __init__(self, values: Mapping[str, Value]) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, float(value) if TABLE[name].type is float else value)

    def __getattr__(self, name: str) -> NoReturn:
        if name in TABLE:
            raise AttributeError(f"parameter {name!r} is not declared in this notebook's parameters cell")
        raise AttributeError(f"there is no parameter {name!r}{_suggest(name, TABLE)}")

    def __repr__(self) -> str:
        return "Config(" + ", ".join(f"{k}={v!r}" for k, v in self.as_dict().items()) + ")"

    def as_dict(self) -> dict[str, Value]:
        """The declared parameters in the order of the table."""
        return {name: self.__dict__[name] for name in TABLE if name in self.__dict__}

    @property
    def kubeconfig_path(self) -> Path | None:
        """The kubeconfig to connect with; None leaves the choice to $KUBECONFIG and ~/.kube/config."""
        if self.target == "embedded":
            return lab_kubeconfig()
        return Path(self.kubeconfig).expanduser() if self.kubeconfig else None


def _row(item: dataclasses.Field[Any]) -> Parameter:
    types: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool}
    return Parameter(name=item.name, type=types[str(item.type)], **item.metadata)


TABLE: dict[str, Parameter] = {item.name: _row(item) for item in dataclasses.fields(Config)}


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def unknown(name: str) -> str:
    """The finding for a name that the table does not have."""
    return f"{name}: there is no such parameter{_suggest(name, TABLE)}"


def findings(values: Mapping[str, object]) -> list[str]:
    """Everything wrong with `values`: names, types, bounds, then what only shows between parameters."""
    found = [unknown(name) for name in values if name not in TABLE]
    found += [
        problem for name, value in values.items() if name in TABLE and (problem := TABLE[name].check(value))
    ]
    if values.get("target") == "kubeconfig":
        context = values.get("context")
        if context == "":
            found.append("context: missing; target kubeconfig writes to a real cluster, so name its context")
        elif not values.get("read_only") and values.get("confirm_context", context) != context:
            found.append(f"confirm_context: must repeat the context {context!r}, or set read_only: true")
    return found


def defaults() -> dict[str, Value]:
    """Every parameter with its default."""
    return {name: row.default for name, row in TABLE.items()}


def complete(values: Mapping[str, Any]) -> Config:
    """All parameters: `values` over the defaults.  Raises `ParameterError` with all findings."""
    everything = {**defaults(), **values}
    if found := findings(everything):
        raise ParameterError(found, fix="meshlib parameters")
    return Config(everything)


def validate(namespace: Mapping[str, Any]) -> Config:
    """The parameters of the notebook that calls it, as `meshlib.parameters.validate(globals())`.

    Which names the parameters cell declares, and which ones papermill's injected cell sets, is read from
    IPython's input history, so that a misspelt `-p` is found (papermill only warns).  A name that the table
    has and this notebook does not declare passes: one file of parameters serves all notebooks.  Without a
    history every name of the table that the namespace holds counts.  Raises `ParameterError` with all
    findings.
    """
    declared, injected = _from_history(list(namespace.get("In", ())))
    if declared is None:
        declared = [name for name in TABLE if name in namespace]
    found = [unknown(name) for name in injected if name not in declared and name not in TABLE]
    values = {name: namespace[name] for name in declared}
    found += findings(values)
    if found:
        raise ParameterError(found, fix="meshlib parameters")
    return Config(values)


def _from_history(cells: list[str]) -> tuple[list[str] | None, list[str]]:
    """(names of the last parameters cell, None without one; names that papermill's cell after it sets)."""
    injected: list[str] = []
    for source in reversed(cells):
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a cell with magics
            continue
        declared = [
            s.target.id for s in body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
        ]
        if declared and len(declared) == len(body):
            return declared, injected
        if source.lstrip().startswith("# Parameters"):
            targets = [target for s in body if isinstance(s, ast.Assign) for target in s.targets]
            injected = [target.id for target in targets if isinstance(target, ast.Name)]
    return None, injected
