"""The command: every listed one exists, none costs the imports of another."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec

import click
import pytest
from click.testing import CliRunner

from meshlib import cli, examples


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_listed_command_exists_and_has_help(name: str) -> None:
    if find_spec(cli.COMMANDS[name][0]) is None:
        pytest.skip(f"{cli.COMMANDS[name][0]} is not there")
    result = CliRunner().invoke(cli.root, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_every_example_is_one_that_its_command_takes() -> None:
    for name, lines in examples.EXAMPLES.items():
        command: click.Command = cli.root
        for word in name.split():
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), word)
            assert found is not None, name
            command = found
        for line in lines:
            words = shlex.split(re.sub(r".*\$\((.*)\)|(.*?) [&|>].*", r"\1\2", line))
            assert words[: 1 + len(name.split())] == ["meshlib", *name.split()] or name == "lab"
            if name != "lab":
                command.make_context(name, words[1 + len(name.split()) :])


def test_help_ends_in_examples_that_can_be_copied() -> None:
    result = CliRunner().invoke(cli.root, ["lab", "logs", "--help"])
    assert result.output.splitlines()[-2:] == [f"    {line}" for line in examples.EXAMPLES["lab logs"]]
    lab = cli.root.get_command(click.Context(cli.root), "lab")
    assert isinstance(lab, click.Group)
    assert {f"lab {name}" for name in lab.commands} | set(cli.COMMANDS) == set(examples.EXAMPLES)


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
