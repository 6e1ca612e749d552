"""The command: every listed one exists, none costs the imports of another."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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


def _meshlib(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshlib", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("content", [b"\x94\xff", b"[" * 5000, b"- a", b"clusters: 5", b"current-context: a"])
def test_a_file_that_is_none_is_one_message(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    for arguments, code in (
        (["lab", "up", "--home", str(tmp_path / "lab"), "--images", str(file)], 1),
        (["diagnose", "--kubeconfig", str(file)], 1),
        (["run", "--plan", "--parameters", str(file)], 2),
        (["schedule", "cron", "--parameters", str(file)], 2),
    ):
        done = _meshlib(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert str(file) in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_what_the_system_refuses_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    done = _meshlib("prune", "--keep", "1", "--out", str(tmp_path / "plain" / "x"))
    assert "Traceback" not in done.stderr
    home = tmp_path / "lab"
    (home / "cluster.json").mkdir(parents=True)
    done = _meshlib("lab", "status", "--home", str(home))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


@pytest.mark.parametrize("raised", ["OSError(28, 'No space left on device', '/full')", "BrokenPipeError()"])
def test_an_error_of_the_system_ends_with_1(raised: str) -> None:
    done = _main_with(f"raise {raised}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert ("meshlib: /full: No space left on device" in done.stderr) == ("full" in raised)


def test_an_argument_that_is_no_utf_8_is_a_finding(tmp_path: Path) -> None:
    out = tmp_path / "o"
    command = [sys.executable, "-m", "meshlib", "run", "--out", str(out), "-p", b"greeting=\xff", "--no-html"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert json.loads((out / "latest" / "manifest.json").read_text())["outcome"] == "bad-parameters"


def test_ctrl_c_ends_with_130_and_a_declined_question_with_1() -> None:
    assert (_main_with("raise KeyboardInterrupt").returncode) == 130
    done = _main_with("click.confirm('sure?', abort=True)")
    assert (done.returncode, done.stderr) == (1, "meshlib: nothing was done\n")
    assert _main_with("click.get_current_context().exit(3)").returncode == 3


def _main_with(body: str) -> subprocess.CompletedProcess[str]:
    """The console script with a command of which `body` is what it does."""
    code = f"import click\nfrom meshlib import cli\n@click.command()\ndef it():\n    {body}\n"
    code += "cli.root.get_command = lambda *_: it\nimport sys\nsys.argv = ['meshlib', 'it']\ncli.main()\n"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, input="", check=False)
