"""What the pages say exists: links lead somewhere, commands and their options are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from meshlib.cli import root

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
COMMAND = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(meshlib .+)$", re.M)
COMMANDS = [(page.name, line) for page in PAGES for line in COMMAND.findall(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    targets = LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_and_their_options_exist(page: str, line: str) -> None:
    command: click.Command = root
    context = click.Context(root)
    words = shlex.split(line.split("  #")[0])[1:]
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{page}: no command {name!r} in: {line}"
        command, context = found, click.Context(found, parent=context)
    known = {option for each in command.params for option in each.opts} | {"--help", "-h"}
    assert [word for word in words if re.match(r"--?[a-z]", word) and word not in known] == []


def test_the_readme_lists_every_notebook() -> None:
    listed = re.findall(r"^\| `(\d\d_\w+)` \|", (ROOT / "README.md").read_text(), re.M)
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
