"""The command: every listed one exists, none costs the imports of another."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import click
import pytest
from click.testing import CliRunner

from meshlib import cli


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_listed_command_exists_and_has_help(name: str) -> None:
    if find_spec(cli.COMMANDS[name][0]) is None:
        pytest.skip(f"{cli.COMMANDS[name][0]} is not there")
    result = CliRunner().invoke(cli.root, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_help_imports_no_room() -> None:
    code = "import sys; from meshlib import cli; from click.testing import CliRunner\n"
    code += "r = CliRunner().invoke(cli.root, ['--help']); assert 'schedule' in r.output\n"
    code += (
        "print([m for m in ('papermill', 'pandas', 'kubernetes', 'pycurl', 'nbconvert') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_load_does_not_import_papermill() -> None:
    code = "import sys; from meshlib import cli; from click.testing import CliRunner\n"
    code += "CliRunner().invoke(cli.root, ['load', '--help']); print('papermill' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli.root, ["lod"])
    assert result.exit_code == 2
    assert isinstance(result.exception, (SystemExit, click.ClickException))


@pytest.mark.parametrize("shape", ["table", "json-schema", "yaml"])
def test_parameters_in_every_shape(shape: str) -> None:
    result = CliRunner().invoke(cli.root, ["parameters", "--format", shape])
    assert result.exit_code == 0
    assert "sampling_percent" in result.output
