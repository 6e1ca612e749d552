"""The table of rights against the notebooks."""

from __future__ import annotations

from pathlib import Path

from meshlib.istio import needs
from meshlib.parameters import complete
from meshlib.runbook import notebooks

STEPS = notebooks.discover(Path(__file__).parents[2] / "notebooks")


def test_it_knows_every_step_and_who_observes() -> None:
    assert needs.steps_of("") == [step.number for step in STEPS]
    assert [step.number for step in STEPS if step.observes] == list(needs.OBSERVERS)


def test_a_read_only_run_asks_for_no_write_and_no_secret() -> None:
    cfg = complete({"read_only": True})
    asked = needs.rights(cfg, needs.OBSERVERS)
    assert {verb for verb, _, _ in asked} == {"get", "list"}
    assert not [resource for _, resource, _ in asked if resource.startswith("secrets")]
    assert [each for each in asked if needs.optional(each, cfg)] == [
        ("get", "services/proxy", "istio-system")
    ]
