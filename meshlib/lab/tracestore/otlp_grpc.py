"""OTLP over gRPC: the port that Istio's provider `jaeger` sends to. One method, the bytes as they come."""

from __future__ import annotations

import sqlite3
from typing import Any

import grpc

from meshlib.errors import LabError
from meshlib.lab.tracestore.ingest import MAX_BODY, Committer
from meshlib.lab.tracestore.model import BadSpan
from meshlib.lab.tracestore.otlp import from_protobuf

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


async def grpc_server(committer: Committer, address: str, port: int) -> Any:
    """A started server. Raises `LabError` when the port is taken."""
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", MAX_BODY), ("grpc.so_reuseport", 0)]
    )

    async def export(request: bytes, context: Any) -> bytes:
        committer.reading += 1
        try:
            spans = from_protobuf(request)
            if spans:
                await committer.add(spans)
        except BadSpan as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except sqlite3.Error as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"cannot keep the batch: {error}")
        finally:
            committer.reading -= 1
        return b""  # an empty ExportTraceServiceResponse: all spans taken

    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    try:
        server.add_insecure_port(f"{address}:{port}")
    except RuntimeError as error:
        raise LabError(f"cannot listen on {address}:{port}: {error}") from error
    await server.start()
    return server
