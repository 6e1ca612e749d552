"""The trace store reads its configuration file where the volume truly lies."""

import json
from pathlib import Path

import pytest

from meshlib.errors import LabError
from meshlib.lab.tracestore.settings import settings

CONFIG = "extensions: {jaeger_query: {base_path: /jaeger}}"


def test_a_mounted_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    env = {"MESHLIB_MOUNTS": json.dumps({"/etc/jaeger": str(tmp_path)})}
    assert settings(["--config", "/etc/jaeger/config.yaml"], env).base_path == "/jaeger"


def test_a_missing_configuration_file_is_named() -> None:
    with pytest.raises(LabError, match="/etc/none/config"):
        settings(["--config", "/etc/none/config.yaml"], {})
