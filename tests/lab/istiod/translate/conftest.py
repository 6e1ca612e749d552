"""A gateway and a sidecar of real Envoy for a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.istiod.translate.rig import Rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig"))
    try:
        yield made
    finally:
        made.close()
