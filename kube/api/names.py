"""What names, labels, ports and addresses may look like: one function a rule, each answering with what is wrong.

The rules and their texts are apimachinery's (util/validation); an empty answer means that the value is fine.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Callable
from functools import lru_cache, wraps

DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_SUBDOMAIN = DNS_LABEL + r"(\." + DNS_LABEL + ")*"
_DNS_1035_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_UNDERSCORE = _LABEL_UNDERSCORE + r"(\." + _LABEL_UNDERSCORE + ")*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Of generated names: no vowels, so that no word comes out (apimachinery/pkg/util/rand)."""
_ALNUM_ENDS = "must start and end with an alphanumeric character"


def _mismatch(rule: str, pattern: str, *examples: str) -> str:
    shown = "".join((" or " if i else "") + f"'{example}', " for i, example in enumerate(examples))
    return f"{rule} ({f'e.g. {shown}' if shown else ''}regex used for validation is '{pattern}')"


def too_long(length: int) -> str:
    """What is said of a value that has more bytes than this."""
    return f"must be no more than {length} bytes"


def out_of_range(low: int, high: int) -> str:
    """What is said of a number that is not between the two."""
    return f"must be between {low} and {high}, inclusive"


def _bytes(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())


def _remembered(rule: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """A rule for what objects have in common: the same labels and keys come again with every write.

    The answer is shared: whoever gets it must not change it. What is far too long is not kept.
    """
    remembered = lru_cache(maxsize=4096)(rule)

    @wraps(rule)
    def answer(value: str) -> list[str]:
        return remembered(value) if len(value) < 256 else rule(value)

    return answer


@_remembered
def dns_label(value: str) -> list[str]:
    """RFC 1123 label: containers, namespaces, volumes."""
    problems = [too_long(63)] if _bytes(value) > 63 else []
    if not re.fullmatch(DNS_LABEL, value):
        if re.fullmatch(DNS_SUBDOMAIN, value):
            problems.append("must not contain dots")
        else:
            rule = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                f"and {_ALNUM_ENDS}"
            )
            problems.append(_mismatch(rule, DNS_LABEL, "my-name", "123-abc"))
    return problems


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: pods, nodes, most names."""
    problems = [too_long(253)] if _bytes(value) > 253 else []
    if not re.fullmatch(DNS_SUBDOMAIN, value):
        rule = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            f"and {_ALNUM_ENDS}"
        )
        problems.append(_mismatch(rule, DNS_SUBDOMAIN, "example.com"))
    return problems


def dns_subdomain_with_underscore(value: str) -> list[str]:
    """RFC 1123 subdomain in which underscores are allowed: search domains."""
    problems = [too_long(253)] if _bytes(value) > 253 else []
    if not re.fullmatch(_SUBDOMAIN_UNDERSCORE, value):
        rule = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
            f"and {_ALNUM_ENDS}"
        )
        problems.append(_mismatch(rule, _SUBDOMAIN_UNDERSCORE, "example.com"))
    return problems


def dns_1035_label(value: str) -> list[str]:
    """RFC 1035 label: services."""
    problems = [too_long(63)] if _bytes(value) > 63 else []
    if not re.fullmatch(_DNS_1035_LABEL, value):
        rule = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character"
        )
        problems.append(_mismatch(rule, _DNS_1035_LABEL, "my-name", "abc-123"))
    return problems


def path_segment(value: str) -> list[str]:
    """What may stand between two slashes of a path: roles and their bindings."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{character}'" for character in "/%" if character in value]


@_remembered
def qualified(value: str) -> list[str]:
    """`name` or `domain/name`: keys of labels, finalizers, resource names."""
    rule = f"must consist of alphanumeric characters, '-', '_' or '.', and {_ALNUM_ENDS}"
    examples = ("MyName", "my.name", "123-abc")
    parts = value.split("/")
    if len(parts) > 2:
        form = _mismatch(f"a qualified name {rule}", _QUALIFIED, *examples)
        return [form + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    problems: list[str] = []
    if len(parts) == 2:
        if not parts[0]:
            problems.append("prefix part must be non-empty")
        else:
            problems += ["prefix part " + problem for problem in dns_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        problems.append("name part must be non-empty")
    elif _bytes(name) > 63:
        problems.append("name part " + too_long(63))
    if not re.fullmatch(_QUALIFIED, name):
        problems.append("name part " + _mismatch(rule, _QUALIFIED, *examples))
    return problems


@_remembered
def label_value(value: str) -> list[str]:
    """The value of a label."""
    problems = [too_long(63)] if _bytes(value) > 63 else []
    if not re.fullmatch(_LABEL_VALUE, value):
        rule = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            f"and {_ALNUM_ENDS}"
        )
        problems.append(_mismatch(rule, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return problems


def port_number(value: int) -> list[str]:
    """A port that can be listened on."""
    return [] if 1 <= value <= 65535 else [out_of_range(1, 65535)]


def port_name(value: str) -> list[str]:
    """The name of a container's port (RFC 6335)."""
    problems = [too_long(15)] if _bytes(value) > 15 else []
    if not re.fullmatch("[-a-z0-9]+", value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def env_var(value: str) -> list[str]:
    """The name of an environment variable, by the relaxed rule (Kubernetes from 1.32 on)."""
    if not value:
        return ["environment variable name must be non-empty"]
    if not re.fullmatch("[ -<>-~]+", value):
        return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
    return []


def http_header(value: str) -> list[str]:
    """The name of a HTTP header."""
    pattern = "[-A-Za-z0-9]+"
    if re.fullmatch(pattern, value):
        return []
    rule = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [_mismatch(rule, pattern, "X-Header-Name")]


def config_key(value: str) -> list[str]:
    """A key of a config map or secret."""
    pattern = "[-._a-zA-Z0-9]+"
    problems = [too_long(253)] if _bytes(value) > 253 else []
    if not re.fullmatch(pattern, value):
        rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        problems.append(_mismatch(rule, pattern, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        problems.append(f"must not be '{value}'")
    elif value.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def parse_ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, if it is one; leading zeros and zones are not allowed."""
    try:
        return ipaddress.ip_address(value) if "%" not in value else None
    except ValueError:
        return None


def ip(value: str) -> list[str]:
    """An IPv4 or IPv6 address."""
    return [] if parse_ip(value) is not None else ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]


def cidr(value: str) -> list[str]:
    """A network as `address/length`; host bits may be set."""
    try:
        if "/" in value and value.rpartition("/")[2].isdigit():
            ipaddress.ip_interface(value)
            return []
    except ValueError:
        pass
    return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]


def generate_name(prefix: str) -> str:
    """`web-` → `web-x7k2p`; a long prefix is cut: a name has at most 63 bytes (apiserver/pkg/storage/names)."""
    return prefix[:58] + "".join(random.choices(SUFFIX_LETTERS, k=5))
