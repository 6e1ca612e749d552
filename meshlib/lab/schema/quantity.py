"""Amounts of resources (`500m`, `1Gi`) in the one spelling in which the API server gives them back."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from typing import Any

_FORM = re.compile(r"^([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?$")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_PRECISE = Context(prec=60)
MAX_EXPONENT = 60


def parse_quantity(text: str) -> tuple[Decimal, str] | None:
    """The amount and its family of suffixes (`binary`, `decimal` or `exponent`); None for what is no
    quantity.
    """
    match = _FORM.match(text.strip())
    if match is None:
        return None
    sign, digits, suffix = match[1], match[2], match[3] or ""
    try:
        number = Decimal(sign + digits)
        if suffix in _BINARY:
            return _PRECISE.multiply(number, Decimal(1024) ** _BINARY[suffix]), "binary"
        if suffix[:1] in ("e", "E") and len(suffix) > 1:
            exponent = int(suffix[1:])
            if abs(exponent) > MAX_EXPONENT:
                return None
            return _PRECISE.scaleb(number, exponent), "exponent"
        return _PRECISE.scaleb(number, _DECIMAL[suffix]), "decimal"
    except InvalidOperation:
        return None


def canonical_quantity(value: Any) -> Any:
    """A quantity as the API server shows it: `1000m` is `1`, `1024Mi` is `1Gi`; anything else comes back as
    it is.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return value
    parsed = parse_quantity(str(value))
    if parsed is None:
        return value
    amount, family = parsed
    if amount == 0:
        return "0"
    if family == "binary":
        if abs(amount) >= 1024:
            return _binary(amount)
        family = "decimal"
    nano = (amount / Decimal("1e-9")).to_integral_value(ROUND_CEILING)
    exponent = -9
    while nano % 1000 == 0 and exponent < 18:
        nano, exponent = nano // 1000, exponent + 3
    if family == "exponent":
        return f"{nano}e{exponent}" if exponent else str(nano)
    suffix = next(each for each, power in _DECIMAL.items() if power == exponent)
    return f"{nano}{suffix}"


def _binary(amount: Decimal) -> str:
    whole = amount.to_integral_value(ROUND_CEILING)
    power = 0
    while whole % 1024 == 0 and power < 6:
        whole, power = whole // 1024, power + 1
    suffix = next((each for each, count in _BINARY.items() if count == power), "")
    return f"{whole}{suffix}"
