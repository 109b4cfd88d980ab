"""From a question to a response: what is ours from records.py, everything else from the node's name servers.

A CNAME out of the cluster is followed: a pod's resolver asks once. Answers that do not fit a datagram are truncated,
and the client asks again by TCP, or makes do with those that fit.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterable, Sequence

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from prometheus_client import Counter

from kube.dns.records import TTL, Answer, Record, Records

log = logging.getLogger(__name__)

FORWARD_SECONDS = 2.0
"""How long a name server may take before the next is asked."""
FORWARDS = 1000
"""Questions that wait for name servers at most; more are answered with SERVFAIL."""
PAYLOAD = 1232
"""Bytes of a datagram that pass everywhere without being fragmented (DNS flag day 2020)."""
PLAIN_PAYLOAD = 512
LONGEST = 65535
"""Bytes of a message by TCP: its length is written before it, in two."""
LONGEST_CHAIN = 8

COUNTED = frozenset(("A", "AAAA", "ANY", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS", "NSEC", "PTR", "RRSIG",
                     "SOA", "SRV", "SVCB", "TXT"))  # fmt: skip
"""Types that have a count of their own: there are 65,536, and a client may ask for each."""

REQUESTS = Counter("kube_dns_requests_total", "Questions, by transport, type and where the answer came from.",
                   ["proto", "type", "source"])  # fmt: skip
RESPONSES = Counter("kube_dns_responses_total", "Responses, by their code.", ["rcode"])


class Resolver:
    """Answers questions."""

    def __init__(self, records: Records, upstreams: Sequence[tuple[str, int]] = ()) -> None:
        """`upstreams`: addresses and ports of the name servers for everything else."""
        self._records, self._upstreams = records, list(upstreams)
        self._forwarding = 0

    async def respond(self, wire: bytes, proto: str = "udp") -> bytes | None:
        """The response to a query, both as they are sent; None for what deserves none."""
        try:
            query = dns.message.from_wire(wire)
        except dns.message.ShortHeader:
            return None
        except (dns.exception.DNSException, ValueError):
            return _format_error(wire)
        if query.flags & dns.flags.QR:
            return None  # a response: answering it could go on for ever
        response = await self._respond(query, proto)
        RESPONSES.labels(dns.rcode.to_text(response.rcode())).inc()
        if proto != "udp":
            return _fitted(response, LONGEST)
        size = max(PLAIN_PAYLOAD, min(query.payload, PAYLOAD)) if query.edns >= 0 else PLAIN_PAYLOAD
        return _fitted(response, size)

    async def _respond(self, query: dns.message.Message, proto: str) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True, our_payload=PAYLOAD)
        if query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
            return response
        if len(query.question) != 1 or query.question[0].rdclass != dns.rdataclass.IN:
            response.set_rcode(dns.rcode.REFUSED)
            return response
        question = query.question[0]
        name, type_ = _text(question.name), dns.rdatatype.to_text(question.rdtype)
        answer = self._records.answer(name, type_)
        REQUESTS.labels(
            proto, type_ if type_ in COUNTED else "other", "cluster" if answer is not None else "forward"
        ).inc()
        if answer is None:
            return await self._forward(query, proto)
        await self._fill(response, question.name, answer, question.rdtype)
        return response

    async def _fill(
        self, response: dns.message.Message, owner: dns.name.Name, answer: Answer, rdtype: dns.rdatatype.RdataType
    ) -> None:
        response.flags |= dns.flags.AA
        if not answer.exists:
            response.set_rcode(dns.rcode.NXDOMAIN)
        records = list(answer.records)
        random.shuffle(records)  # a client that takes the first spreads over all
        # The owner is written as it was asked for: some resolvers check it letter by letter.
        response.answer += _rrsets(records, owner)
        response.additional += _rrsets(answer.additional, None)
        alias = next((record.data for record in records if record.type == "CNAME"), None)
        if alias is not None and rdtype != dns.rdatatype.CNAME:
            await self._follow(response, alias, rdtype)
        elif not records:
            response.authority.append(self._soa())

    async def _follow(self, response: dns.message.Message, alias: str, rdtype: dns.rdatatype.RdataType) -> None:
        """Add what the alias stands for, in the cluster or outside."""
        for _ in range(LONGEST_CHAIN):
            answer = self._records.answer(alias.rstrip(".").lower(), dns.rdatatype.to_text(rdtype))
            if answer is None:
                found = await self._forward(dns.message.make_query(alias, rdtype), "udp")
                response.answer += found.answer
                if found.rcode() != dns.rcode.NOERROR:
                    response.set_rcode(found.rcode())
                return
            response.answer += _rrsets(answer.records, None)
            alias_again = next((record.data for record in answer.records if record.type == "CNAME"), None)
            if alias_again is None:
                return
            alias = alias_again

    async def _forward(self, query: dns.message.Message, proto: str) -> dns.message.Message:
        """What the first name server that answers says; SERVFAIL if none does."""
        asked = dns.message.make_query(query.question[0].name, query.question[0].rdtype, use_edns=0, payload=PAYLOAD)
        response = dns.message.make_response(query, recursion_available=True, our_payload=PAYLOAD)
        response.set_rcode(dns.rcode.SERVFAIL)
        if self._forwarding >= FORWARDS:
            return response
        self._forwarding += 1
        try:
            for address, port in self._upstreams:
                try:
                    if proto == "tcp":
                        found = await dns.asyncquery.tcp(asked, address, timeout=FORWARD_SECONDS, port=port)
                    else:
                        found, _ = await dns.asyncquery.udp_with_fallback(
                            asked, address, timeout=FORWARD_SECONDS, port=port, ignore_unexpected=True
                        )
                except (dns.exception.DNSException, OSError, EOFError) as error:  # EOF: it hung up on us
                    extra = {"question": _text(asked.question[0].name), "server": address, "error": error}
                    log.debug("a name server does not answer", extra=extra)
                    continue
                response.answer, response.authority, response.additional = (
                    found.answer,
                    found.authority,
                    found.additional,
                )
                response.set_rcode(found.rcode())
                return response
        finally:
            self._forwarding -= 1
        return response

    def _soa(self) -> dns.rrset.RRset:
        domain = self._records.domain
        data = f"ns.dns.{domain}. hostmaster.{domain}. 1 7200 1800 86400 {TTL}"
        return dns.rrset.from_text(f"{domain}.", TTL, "IN", "SOA", data)


def _fitted(response: dns.message.Message, size: int) -> bytes:
    """A response as it is sent, in so many bytes.

    What merely comes along is left out without a word. Is it still too long, then the client is told (TC), and given
    as many records as fit: not every one asks again by TCP (musl did not before 1.2.4).
    """
    if (wire := _wire(response, size)) is not None:
        return wire
    response.additional = []
    if (wire := _wire(response, size)) is not None:
        return wire
    response.flags |= dns.flags.TC
    response.authority = []
    answer = response.answer
    fits, too_many = 0, sum(map(len, answer))
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        response.answer = _first(answer, middle)
        fits, too_many = (middle, too_many) if _wire(response, size) is not None else (fits, middle)
    response.answer = _first(answer, fits)
    return response.to_wire(max_size=size)


def _wire(response: dns.message.Message, size: int) -> bytes | None:
    """The bytes of a response; None if they are more than so many."""
    try:
        return response.to_wire(max_size=size)
    except dns.exception.TooBig:
        return None


def _first(rrsets: Iterable[dns.rrset.RRset], count: int) -> list[dns.rrset.RRset]:
    """The first records of an answer."""
    found = []
    for rrset in rrsets:
        if count > 0:
            some = [*itertools.islice(rrset, count)]
            found.append(dns.rrset.from_rdata_list(rrset.name, rrset.ttl, some))
            count -= len(some)
    return found


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _rrsets(records: Sequence[Record], owner: dns.name.Name | None) -> list[dns.rrset.RRset]:
    """The records, gathered by owner and type."""
    gathered: dict[tuple[str, str], list[str]] = {}
    for record in records:
        gathered.setdefault((record.name, record.type), []).append(record.data)
    return [
        dns.rrset.from_text(owner or f"{name}.", TTL, "IN", type_, *data) for (name, type_), data in gathered.items()
    ]


def _format_error(wire: bytes) -> bytes:
    """FORMERR, with the id of the query and nothing else of it: the rest could not be read."""
    return wire[:2] + bytes([0x80 | (wire[2] & 0x79), 0x81]) + bytes(8)
