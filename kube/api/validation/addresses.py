"""Rules for addresses that traffic is sent to: endpoints' and external ones."""

from __future__ import annotations

from kube.api import names
from kube.api.errors import invalid
from kube.api.validation.meta import Errors, each


def family(ip: str) -> str:
    """`IPv4` or `IPv6`; empty if it is no address."""
    address = names.parse_ip(ip)
    return f"IPv{address.version}" if address is not None else ""


def reachable(field: str, ip: str) -> Errors:
    """An address that traffic may be sent to: neither of this host alone nor of this link alone."""
    address = names.parse_ip(ip)
    if address is None:
        yield from each(field, ip, names.ip(ip))
        return
    if address.is_unspecified:
        yield invalid(field, ip, f"may not be unspecified ({ip})")
    if address.is_loopback:
        yield invalid(field, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        yield invalid(field, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    multicast = str(address).startswith("224.0.0.") if address.version == 4 else str(address).startswith("ff02:")
    if multicast:
        yield invalid(field, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
