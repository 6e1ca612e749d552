"""The request matrix: configurations through real Envoy, and what becomes of each request."""

from __future__ import annotations

import pytest

from tests.lab.istiod.translate import (
    cases_action,
    cases_delegate,
    cases_gateway,
    cases_match,
    cases_security,
)
from tests.lab.istiod.translate.rig import Case, Rig

pytestmark = pytest.mark.lab
CASES = [
    *cases_match.CASES,
    *cases_action.CASES,
    *cases_delegate.CASES,
    *cases_gateway.CASES,
    *cases_security.CASES,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_request_goes_where_it_must(rig: Rig, case: Case) -> None:
    rig.apply(case.objects)
    for ask in case.asks:
        rig.check(ask)
