"""What the engine asks of the ways to send a request."""

from __future__ import annotations

from typing import Protocol, TypeAlias

Done: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int]
"""A finished request: slot, place of its failure in kinds.ALL, status, connections opened for it, the times
of name, connection and TLS (0 when the connection was open before), of the first byte and of all, bytes of
the body, libcurl's number of the HTTP version. Times are in µs since it was handed over."""


class Wire(Protocol):
    """Carries one request at a time for each slot."""

    messages: dict[str, str]  # kind of failure → the first text of that kind

    def start(self, slot: int, item: int, span: bytes, sampled: bool) -> None:
        """Send request `item` of the plan with the trace headers of `sampled`, `span` (16 hex digits) in
        their `tracing.PLACE`."""

    def step(self, wait_s: float) -> list[Done]:
        """Wait for news, `wait_s` at the longest."""

    def close(self) -> None:
        """Close every connection, whatever is under way."""
