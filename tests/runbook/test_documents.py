"""Generated files say what the tables say, and survive the readers that they are for."""

from pathlib import Path

import pytest
import yaml

from meshlib import parameters
from meshlib.runbook import documents, strict_yaml, tables

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(documents.generated()))
def test_the_file_in_the_repository_is_the_generated_one(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == documents.generated()[name], "run: python -m meshlib.runbook.documents"


@pytest.mark.parametrize("name", sorted(tables.FILES))
def test_a_file_of_parameters_means_the_same_to_us_and_to_papermill(name: str) -> None:
    text = tables.yaml_file(name)
    values, found = strict_yaml.parse(text, f"{name}.yaml")
    assert found == []
    assert values == yaml.safe_load(text)
    assert parameters.findings({**parameters.defaults(), **values}) == []
    assert set(values) == set(parameters.TABLE) - {"run_id"}
