"""Traces: fetched from Jaeger, as tables, and what they say about where the time goes.

Reading order: `transport`, `wire` (JSON → columns), `jaeger` (the client), `frames`, `breakdown` and
`reconcile` (pure), `commands`.
"""

from meshlib.traces.jaeger import Jaeger
from meshlib.traces.transport import Transport, UrlTransport

__all__ = ["Jaeger", "Transport", "UrlTransport"]
