"""What the engine asks of the ways to send a request."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Done(NamedTuple):
    """A finished request. Times are in µs since it was handed over; those of a connection that was open
    before are 0."""

    slot: int
    error: int  # place in kinds.ALL
    status: int
    connections: int  # opened for it
    dns_us: int
    connect_us: int
    tls_us: int
    first_byte_us: int
    total_us: int
    size: int  # bytes of the body
    http: int  # libcurl's number of the version


class Wire(Protocol):
    """Carries one request at a time for each slot."""

    messages: dict[str, str]  # kind of failure → the first text of that kind

    def start(self, slot: int, item: int, extra: list[str]) -> None:
        """Send request `item` of the plan with `extra` header lines."""

    def step(self, wait_s: float) -> list[Done]:
        """Wait for news, `wait_s` at the longest."""

    def close(self) -> None:
        """Close every connection, whatever is under way."""
