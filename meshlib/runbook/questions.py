"""The three questions of the exercise, the runbook's answers, and the steps that show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshlib.parameters import Value


@dataclass(frozen=True)
class Question:
    """A question and its answer in words, with parameters in braces; `steps` are numbers, as `03`."""

    title: str
    says: str
    steps: tuple[str, ...]

    def answer(self, values: Mapping[str, Value]) -> str:
        """The answer with the values of a run; code stands between backticks."""
        return self.says.format_map(values)


QUESTIONS = (
    Question(
        "How is it made secure?",
        "At the edge: HTTPS with a certificate that names `{host}` and that a private CA has signed (03);"
        " TLS 1.2 or later, and plain HTTP only to redirect it (05). The minimum version, client certificates"
        " and a certificate replaced under load are tried on a site beside it (10). In the mesh each workload"
        " has an identity; STRICT mutual TLS, policies by identity, path and method, and JSON Web Tokens are"
        " tried on a server beside it (11).",
        ("03", "05", "10", "11"),
    ),
    Question(
        "What are the layer-7 routing rules?",
        "One rule for the site: the path `/healthz`, exactly, goes to the Service `{app}`; any other path"
        " gets a 404 from the gateway itself (05). Beside it are tried: matches by prefix, pattern, header"
        " and query, redirects, rewrites, CORS, a canary by weight and a mirror (12); timeouts, retries,"
        " injected faults, outlier detection and circuit breaking (13).",
        ("05", "12", "13"),
    ),
    Question(
        "How is tracing attached?",
        "Jaeger takes the spans (06). A Telemetry resource names the provider and the share of requests, here"
        " {sampling_percent:g} %, and running proxies take it up; the exercise's edit of the mesh"
        " configuration is accepted and ignored (07). Each request of a load is found again as one trace,"
        " from the gateway to the server's sidecar (08).",
        ("06", "07", "08"),
    ),
)
