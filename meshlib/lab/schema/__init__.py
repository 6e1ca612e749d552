"""The pure part of the lab's API server: schemas, validation, defaults, patches and field ownership.

Nothing here does I/O except reading the schemas that the package kubernetes-validate ships and the tables
beside these modules.
"""

from .apply import apply, track
from .decode import conversion_error, decode_error
from .defaults import default
from .fields import check_fields, duplicate_keys, prune
from .model import ApplyConflict, Finding, KindRef, PatchError
from .patches import json_patch, json_type, merge_patch
from .protobuf import ProtobufError, protobuf_to_obj
from .strategic import go_map, strategic_merge_patch
from .validate import validate
from .yaml_text import load_yaml

__all__ = [
    "ApplyConflict",
    "Finding",
    "KindRef",
    "PatchError",
    "ProtobufError",
    "apply",
    "check_fields",
    "conversion_error",
    "decode_error",
    "default",
    "duplicate_keys",
    "go_map",
    "json_patch",
    "json_type",
    "load_yaml",
    "merge_patch",
    "protobuf_to_obj",
    "prune",
    "strategic_merge_patch",
    "track",
    "validate",
]
