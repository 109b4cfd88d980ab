"""What names in the cluster's domain stand for: pure answers from services and their endpoints.

The rules are Kubernetes' DNS specification (kubernetes/dns, docs/specification.md, schema 1.1.0):

* `<service>.<namespace>.svc.<domain>`: the cluster IP; without one (headless) the addresses of all that is ready.
* `_<port>._<protocol>.<service>…`: SRV records of the port, to the service or to each endpoint.
* `<hostname>.<service>…`: one endpoint of a headless service; one without a host name goes by its address, as
  `10-244-0-7`. So a pod with `hostname` and `subdomain` has a name.
* ExternalName: a CNAME. Addresses lead back by PTR. `10-244-0-7.<namespace>.pod.<domain>` is that address.

A name that exists without a record of the wanted type (AAAA: there is no IPv6) is answered with nothing, which is not
the same as a name that does not exist. Names are lower case here; the caller folds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from kube.api.core import EndpointAddress, Endpoints, Service

TTL = 5
"""Seconds an answer may be kept: endpoints come and go."""
SCHEMA = "1.1.0"


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record: its owner, type, and data in text form."""

    name: str
    type: str
    data: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a name."""

    exists: bool = True
    records: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)


NOWHERE = Answer(exists=False)


@dataclass(frozen=True, slots=True)
class Known:
    """Where services and endpoints are looked up: by key, by namespace, and by address."""

    service: Callable[[str], Service | None]
    endpoints: Callable[[str], Endpoints | None]
    has_services: Callable[[str], bool]
    services_of_ip: Callable[[str], Sequence[Service]]
    endpoints_of_ip: Callable[[str], Sequence[Endpoints]]


class Records:
    """Answers for one domain."""

    def __init__(self, domain: str, known: Known) -> None:
        """`domain`: `cluster.local`."""
        self.domain, self._known = domain.strip(".").lower(), known

    def answer(self, name: str, type_: str) -> Answer | None:
        """What is known of a name (lower case, no dot at its end); None if it is not ours to know.

        Records of other types than asked for are left out, but for a CNAME, which stands for all.
        """
        if name.endswith(".in-addr.arpa"):
            return self._reverse(name, type_)
        if name == self.domain:
            return Answer()
        if not name.endswith(f".{self.domain}"):
            return None
        labels = name.removesuffix(f".{self.domain}").split(".")
        found = self._find(name, labels)
        return Answer(
            found.exists, [record for record in found.records if record.type in (type_, "CNAME")], found.additional
        )

    def _find(self, name: str, labels: list[str]) -> Answer:
        match labels:
            case ["dns-version"]:
                return Answer(records=[Record(name, "TXT", f'"{SCHEMA}"')])
            case ["svc"] | ["pod"]:
                return Answer()
            case [namespace, "svc" | "pod"]:
                return Answer() if self._known.has_services(namespace) else NOWHERE
            case [dashed, _, "pod"]:
                address = _address(dashed)
                return Answer(records=[Record(name, "A", address)]) if address else NOWHERE
            case [*below, service_name, namespace, "svc"]:
                service = self._known.service(f"{namespace}/{service_name}")
                return self._of_service(name, below, service) if service is not None else NOWHERE
        return NOWHERE

    def _of_service(self, name: str, below: list[str], service: Service) -> Answer:
        if service.spec.type == "ExternalName":
            target = service.spec.externalName.rstrip(".") + "."
            return NOWHERE if below else Answer(records=[Record(name, "CNAME", target)])
        headless = service.spec.clusterIP in ("", "None")
        match below:
            case []:
                if headless:
                    return Answer(records=[Record(name, "A", a.ip) for a in _unique(self._ready(service))])
                return Answer(records=[Record(name, "A", service.spec.clusterIP)])
            case [hostname] if not hostname.startswith("_"):
                if not headless:
                    return NOWHERE
                found = [a for a in _unique(self._ready(service)) if endpoint_name(a) == hostname]
                return Answer(records=[Record(name, "A", a.ip) for a in found]) if found else NOWHERE
            case [protocol] if any(port.protocol.lower() == protocol[1:] for port in service.spec.ports):
                return Answer()
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                return self._srv(name, port[1:], protocol[1:], service, headless=headless)
        return NOWHERE

    def _srv(self, name: str, port: str, protocol: str, service: Service, *, headless: bool) -> Answer:
        own = self.service_name(service)
        answer = Answer()
        if not headless:
            for each in service.spec.ports:
                if each.name == port and each.protocol.lower() == protocol:
                    answer.records.append(Record(name, "SRV", f"0 100 {each.port} {own}."))
                    answer.additional.append(Record(own, "A", service.spec.clusterIP))
            return answer if answer.records else NOWHERE
        endpoints = self._known.endpoints(service.key)
        for subset in endpoints.subsets if endpoints is not None else ():
            for offered in subset.ports:
                if offered.name != port or (offered.protocol or "TCP").lower() != protocol:
                    continue
                for address in subset.addresses:
                    target = f"{endpoint_name(address)}.{own}"
                    answer.records.append(Record(name, "SRV", f"0 100 {offered.port} {target}."))
                    answer.additional.append(Record(target, "A", address.ip))
        return answer if answer.records else NOWHERE

    def _ready(self, service: Service) -> Iterator[EndpointAddress]:
        endpoints = self._known.endpoints(service.key)
        for subset in endpoints.subsets if endpoints is not None else ():
            yield from subset.addresses

    def _reverse(self, name: str, type_: str) -> Answer | None:
        """Where an address leads back to; None if no service or endpoint has it."""
        ip = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
        names = [self.service_name(service) for service in self._known.services_of_ip(ip)]
        if not names:
            for endpoints in self._known.endpoints_of_ip(ip):
                service = self._known.service(endpoints.key)
                if service is None or service.spec.clusterIP not in ("", "None"):
                    continue
                found = {endpoint_name(a) for subset in endpoints.subsets for a in subset.addresses if a.ip == ip}
                names += [f"{each}.{self.service_name(service)}" for each in sorted(found)]
        if not names:
            return None
        return Answer(records=[Record(name, "PTR", f"{each}.") for each in names] if type_ == "PTR" else [])

    def service_name(self, service: Service) -> str:
        """A service's full name."""
        return f"{service.name}.{service.namespace}.svc.{self.domain}"


def endpoint_name(address: EndpointAddress) -> str:
    """What an endpoint is called below its service: its host name, or its address with dashes."""
    return (address.hostname or address.ip.replace(".", "-").replace(":", "-")).lower()


def _address(dashed: str) -> str:
    try:
        return str(IPv4Address(dashed.replace("-", ".")))
    except ValueError:
        return ""


def _unique(addresses: Iterator[EndpointAddress]) -> list[EndpointAddress]:
    """Each address once: it stands in a subset for each of its sets of ports."""
    return list({(address.ip, address.hostname): address for address in addresses}.values())
