"""What the process is told: the environment and arguments of Jaeger's images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from meshlib.errors import LabError

# Jaeger's ports that this program serves
PORTS = {
    "query": 16686,
    "zipkin": 9411,
    "otlp-http": 4318,
    "otlp-grpc": 4317,
    "health-v1": 14269,
    "health-v2": 13133,
}
MAX_SPANS = 2_000_000
MAX_BYTES = 2**31


@dataclass(frozen=True)
class Settings:
    """Where to listen, where to keep, how much."""

    address: str
    ports: Mapping[str, int]  # role → true port
    base_path: str
    folder: Path | None  # None: a temporary one, gone with the process
    max_spans: int
    max_bytes: int
    max_traces: int  # 0: any number


def settings(argv: Sequence[str], env: Mapping[str, str]) -> Settings:
    """Read POD_IP, MESHLIB_PORTS, MESHLIB_DATA, MESHLIB_MAX_SPANS, MESHLIB_MAX_BYTES and what Jaeger reads:
    QUERY_BASE_PATH, SPAN_STORAGE_TYPE, MEMORY_MAX_TRACES and `--config FILE`.

    MEMORY_MAX_TRACES bounds the storage type `memory` only, which is all-in-one's own when none is named: as
    in Jaeger, where the addon of Istio names `badger` and sets the variable in vain.  Raises `LabError`
    for an argument that is not known or a value that cannot be used.
    """
    parser = argparse.ArgumentParser("tracestore", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--query.base-path", dest="base_path", default="")
    try:
        args, unknown = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise LabError(f"tracestore: {error}") from error
    if unknown:
        raise LabError(f"unknown flag: {unknown[0]}: the embedded lab's trace store does not have it")
    moved = json.loads(env.get("MESHLIB_PORTS") or "{}")
    base = args.base_path or env.get("QUERY_BASE_PATH", "")
    if args.config:
        base = base_path_of(mounted(args.config, env)) or base
    if base and not base.startswith("/"):
        raise LabError(f"invalid base path: {base!r}: it must start with a slash")
    folder = env.get("MESHLIB_DATA")
    return Settings(
        address=env.get("POD_IP", "127.0.0.1"),
        ports={role: int(moved.get(str(port), port)) for role, port in PORTS.items()},
        base_path=base.rstrip("/"),
        folder=Path(folder) if folder else None,
        max_spans=int(env.get("MESHLIB_MAX_SPANS", MAX_SPANS)),
        max_bytes=int(env.get("MESHLIB_MAX_BYTES", MAX_BYTES)),
        max_traces=_max_traces(env),
    )


def _max_traces(env: Mapping[str, str]) -> int:
    text = env.get("MEMORY_MAX_TRACES") or "0"
    if env.get("SPAN_STORAGE_TYPE", "memory") != "memory":
        return 0
    if not text.isdigit():
        raise LabError(f"invalid MEMORY_MAX_TRACES: {text!r} is not a whole number")
    return int(text)


def mounted(path: Path, env: Mapping[str, str]) -> Path:
    """Where a file of the container truly lies: below the volume that is mounted over it (MESHLIB_MOUNTS)."""
    for mount, folder in json.loads(env.get("MESHLIB_MOUNTS") or "{}").items():
        if path.is_relative_to(mount):
            return Path(folder) / path.relative_to(mount)
    return path


def base_path_of(config: Path) -> str:
    """`extensions.jaeger_query.base_path` of a Jaeger v2 configuration file."""
    try:
        document = yaml.safe_load(config.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"cannot read the configuration {config}: {error}") from error
    extensions = (document or {}).get("extensions") or {}
    return str((extensions.get("jaeger_query") or {}).get("base_path") or "")
