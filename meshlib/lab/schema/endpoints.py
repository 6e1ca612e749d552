"""What the API server checks in Endpoints and EndpointSlices: addresses that traffic may be sent to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from . import findings as say
from .meta import IMMUTABLE
from .model import Finding, Obj

_MOST_ADDRESSES = 100


def validate_endpoints(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    for index, subset in enumerate(obj.get("subsets") or ()):
        at = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield say.required(at, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for place, address in enumerate(subset.get(field) or ()):
                yield from _endpoint_address(address, f"{at}.{field}[{place}].ip")
        ports = subset.get("ports") or []
        for place, port in enumerate(ports):
            if len(ports) > 1 and not port.get("name"):
                yield say.required(f"{at}.ports[{place}].name")


def _endpoint_address(address: Obj, path: str) -> Iterator[Finding]:
    ip = address.get("ip") or ""
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        yield say.invalid(path, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
        yield say.invalid(path, ip, "must be a valid IP address")
    else:
        yield from _special(ip, path)


def validate_endpoint_slice(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    kind = obj.get("addressType")
    if old is not None and kind != old.get("addressType"):
        yield say.invalid("addressType", kind, IMMUTABLE)
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        at = f"endpoints[{index}].addresses"
        addresses = endpoint.get("addresses") or []
        if len(addresses) > _MOST_ADDRESSES:
            yield say.too_many(at, len(addresses), _MOST_ADDRESSES)
        for place, address in enumerate(addresses):
            if kind in ("IPv4", "IPv6"):
                yield from _slice_address(address, kind, f"{at}[{place}]")


def _slice_address(address: str, kind: str, path: str) -> Iterator[Finding]:
    try:
        fits = f"IPv{ipaddress.ip_address(address).version}" == kind
    except ValueError:
        fits = False
    if not fits:
        yield say.invalid(path, address, f"must be a valid {kind} address")
    else:
        yield from _special(address, path)


def _special(address: str, path: str) -> Iterator[Finding]:
    """Where no Service may lead: the API server's proxy would go there for whoever may write endpoints.

    Loopback addresses are no finding here: every pod of the lab has one.
    """
    ip = ipaddress.ip_address(address)
    if ip.is_unspecified:
        yield say.invalid(path, address, f"may not be unspecified ({address})")
    elif ip.is_link_local:
        detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        yield say.invalid(path, address, detail)
    elif ip in ipaddress.ip_network("224.0.0.0/24" if ip.version == 4 else "ff02::/16"):
        detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        yield say.invalid(path, address, detail)
