"""Which program an image stands for: the one table, and the file with which a user extends it.

The registry host, the tag and the digest of an image play no part: `docker.io/istio/proxyv2:1.30.3` and
`istio/proxyv2` are the same program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from meshlib.errors import LabError

PROGRAMS = ("httpserver", "envoy", "istiod", "tracestore", "curl", "meshlib")
IMAGES: Mapping[str, str] = {
    "helenwami/gohttpserver": "httpserver",
    "istio/proxyv2": "envoy",
    "release/proxyv2": "envoy",  # registry.istio.io/release
    "istio-release/proxyv2": "envoy",  # gcr.io/istio-release
    "istio/pilot": "istiod",
    "release/pilot": "istiod",
    "istio-release/pilot": "istiod",
    "jaegertracing/all-in-one": "tracestore",
    "jaegertracing/jaeger": "tracestore",
    "curlimages/curl": "curl",
    "meshlib": "meshlib",  # the image that the user builds for schedules and load Jobs
}
OWN = tuple(name for name in PROGRAMS if name in ("httpserver", "curl"))  # what --images may name
PLACEHOLDERS = ("host", "port", "name", "namespace")
EXAMPLE = "give a file of rows like `shop/front: {program: httpserver}`"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Program:
    """What runs for an image: one of `PROGRAMS`, or the user's own `command` with its placeholders."""

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None  # where a relative path of `command` starts: beside the file that names it


def repository(image: str) -> str:
    """`registry.example.test:5000/shop/front:v1@sha256:…` → `shop/front`; `library/` is Docker Hub's own
    folder.
    """
    path = image.split("@", 1)[0]
    first, slash, rest = path.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        path = rest
    return path.split(":", 1)[0].removeprefix("library/")


class ImageTable:
    """Image → program: the built-in rows and those of the user's file, which win."""

    def __init__(self, more: Mapping[str, Program] | None = None) -> None:
        self.rows: dict[str, Program] = {repo: Program(name) for repo, name in IMAGES.items()}
        self.rows.update(more or {})

    def find(self, image: str) -> Program | None:
        return self.rows.get(repository(image))

    def repositories(self) -> list[str]:
        return sorted(self.rows)


_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def name_problem(image: str) -> str:
    """What a kubelet says of an image that is no reference; "" for one that is."""
    if _REFERENCE.fullmatch(image):
        return ""
    why = "invalid reference format"
    if _REFERENCE.fullmatch(image.lower()):
        name = image.partition("@")[0]
        path = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
        shown = path if "/" in path else f"library/{path}"
        why += f": repository name ({shown}) must be lowercase"
    return f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {why}'


def load_images(path: Path) -> dict[str, Program]:
    """The rows of an `--images` file.

    A mapping of image repository to `{program: httpserver}` or to `{command: [./my-server, --port, "{port}"],
    env: {NAME: value}}`; `{host}`, `{port}`, `{name}` and `{namespace}` are replaced in both.  Raises
    `LabError` that names the file, the row and what is accepted.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"cannot read the images file {path}: {error.strerror}", fix=EXAMPLE) from error
    except UnicodeDecodeError as error:
        raise LabError(f"cannot read the images file {path}: it is not UTF-8 text", fix=EXAMPLE) from error
    try:
        rows = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise LabError(f"{path} is not YAML: {error}", fix=EXAMPLE) from error
    if not isinstance(rows, dict):
        raise LabError(
            f"{path} must map image repositories to programs, like `shop/front: {{program: httpserver}}`"
        )
    return {repository(str(image)): _row(path, str(image), row) for image, row in rows.items()}


def _row(path: Path, image: str, row: object) -> Program:
    def refuse(why: str) -> LabError:
        return LabError(
            f"{path}: {image}: {why}",
            fix=f"give {{program: {' | '.join(OWN)}}} or {{command: [...], env: {{...}}}}",
        )

    if not isinstance(row, dict) or not row:
        raise refuse("not a mapping")
    if unknown := sorted(set(map(str, row)) - {"program", "command", "env"}):
        raise refuse(f"unknown key {', '.join(unknown)}")
    if ("program" in row) == ("command" in row):
        raise refuse("exactly one of program and command is needed")
    env = row.get("env", {})
    if not isinstance(env, dict) or not all(isinstance(value, str | int | float) for value in env.values()):
        raise refuse("env must map names to texts")
    texts = {str(name): str(value) for name, value in env.items()}
    if "program" in row:
        if row["program"] not in OWN:
            raise refuse(f"there is no program {row['program']!r}")
        return Program(str(row["program"]), env=texts)
    command = row["command"]
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise refuse("command must be a list of texts")
    for part in (*command, *texts.values()):
        for name in _PLACEHOLDER.findall(part):
            if name not in PLACEHOLDERS:
                raise refuse(f"{{{name}}} is no placeholder; there are {', '.join(PLACEHOLDERS)}")
    return Program("command", tuple(command), texts, path.resolve().parent)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace `{host}` and the like; other braces stay."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)
