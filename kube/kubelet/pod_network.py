"""The node's place in the cluster's network: its range of pod addresses, and the ways to the other nodes' pods.

A kubelet that is not told its range (`--pod-cidr=`) takes that of its Node, which the controller manager gives
(`--allocate-node-cidrs`). Then pods of all nodes reach each other by their own addresses, without any overlay: the
other nodes' ranges are routed to those nodes (host-gw), and what stays within the cluster is not masqueraded. It is
the kubelet that keeps the routes, not the proxy: it is who makes the network that they lead to, and a node without a
proxy still has pods. All nodes must be on one L2 network, so that each is a next hop of the others.

Everything is compared with the kernel's state on every change of a node, and every 30 s, so that what others remove
comes back. Only routes of our own protocol number are touched. `plan_routes` is pure.

Source of the rules: upstream's kubenet (`--non-masquerade-cidr`), and the host-gw of its route controllers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kube.api.core import Node
from kube.client.informer import Informer
from kube.kubelet.runtime import RuntimeFailure

log = logging.getLogger(__name__)

PROTOCOL = "89"
"""The number by which the kernel remembers that a route is ours (see rtnetlink(7); above those that are reserved)."""
RESYNC = 30.0
COMMENT = "kubelet: pods"
NO_RANGE = "the node has no podCIDR: the controller manager gives it (--allocate-node-cidrs)"


class NetworkFailed(Exception):
    """A command failed; the text is the command and what it said."""


class PodRuntime(Protocol):
    """What is told the range, once it is known."""

    def set_pod_cidr(self, cidr: str) -> None: ...

    async def ensure_network(self) -> None: ...


class PodNetwork:
    """Keeps this node's part of the cluster's network."""

    def __init__(
        self,
        node: str,
        nodes: Informer[Node],
        runtime: PodRuntime,
        *,
        non_masquerade_cidr: str,
        command: Sequence[str] = (),
    ) -> None:
        """`command` stands before every command that is run, such as `ip netns exec`, for tests."""
        self._node, self._nodes, self._runtime = node, nodes, runtime
        self._non_masquerade_cidr, self._command = non_masquerade_cidr, tuple(command)
        self._news = asyncio.Event()
        self._made = ""
        nodes.on_change(self._node_changed)

    @property
    def problem(self) -> str:
        """Why no pod can get an address; empty when it can."""
        return "" if self._made else NO_RANGE

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is None or new is None or way_to(old) != way_to(new):
            self._news.set()

    async def run(self) -> None:
        """Keep it until cancelled."""
        while True:
            self._news.clear()
            try:
                await self.ensure()
            except (NetworkFailed, RuntimeFailure) as failure:
                log.warning("cannot set up the pods' network, will retry: %s", failure)
            try:
                async with asyncio.timeout(RESYNC):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def ensure(self) -> None:
        """Make the kernel's state as it ought to be. Raises NetworkFailed, RuntimeFailure."""
        me = self._nodes.get(self._node)
        cidr = me.spec.podCIDR if me else ""
        if cidr and cidr != self._made:
            self._runtime.set_pod_cidr(cidr)
            await self._runtime.ensure_network()
            self._made = cidr
            log.info("pods get addresses of the node's range", extra={"cidr": cidr})
        if self._made:
            await self._ensure_rules(self._made)
            await self._ensure_routes()

    async def _ensure_routes(self) -> None:
        present = json.loads(await self._run("ip", "-json", "route", "show", "proto", PROTOCOL) or "[]")
        here = {route["dst"]: route.get("gateway", "") for route in present}
        for change in plan_routes(self._node, self._nodes.list(), here):
            try:
                await self._run("ip", "route", *change, "proto", PROTOCOL)
            except NetworkFailed as failure:
                # One node that is no neighbour must not keep the others from being reached.
                log.warning("cannot reach a node's pods: %s", failure)
            else:
                log.info("route changed: %s", " ".join(change))

    async def _ensure_rules(self, cidr: str) -> None:
        for table, chain, rule in rules(cidr, self._non_masquerade_cidr):
            where = ("iptables", "-w", "5", "-t", table)
            try:
                await self._run(*where, "-C", chain, *rule)
            except NetworkFailed:
                await self._run(*where, "-I", chain, "1", *rule)

    async def _run(self, *command: str) -> str:
        command = (*self._command, *command)
        try:
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise NetworkFailed(f"{command[0]}: {error.strerror}") from None
        if done.returncode:
            raise NetworkFailed(f"{' '.join(command)}: {' '.join(done.stderr.split())}")
        return done.stdout


def way_to(node: Node) -> tuple[str, str]:
    """A node's range, and the address by which it is reached; either may be empty."""
    address = next((each.address for each in node.status.addresses if each.type == "InternalIP"), "")
    return node.spec.podCIDR, address


def plan_routes(me: str, nodes: Iterable[Node], present: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The changes that lead to every other node's pods: arguments of `ip route`. `present`: range → gateway.

    A range that two nodes claim is the first one's, by name, so that all agree; ours is never routed away.
    """
    wanted: dict[str, str] = {}
    everyone = sorted(nodes, key=lambda node: node.name)
    own = {way_to(node)[0] for node in everyone if node.name == me}
    for node in everyone:
        cidr, address = way_to(node)
        if node.name != me and cidr not in own and _is_network(cidr) and _is_address(address):
            wanted.setdefault(cidr, address)
    changes: list[tuple[str, ...]] = [("del", cidr) for cidr in sorted(present.keys() - wanted.keys())]
    changes += [("replace", cidr, "via", via) for cidr, via in wanted.items() if present.get(cidr) != via]
    return changes


def rules(cidr: str, non_masquerade_cidr: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Table, chain and rule: what leaves the cluster bears the node's address, what stays within keeps the pod's.

    The second lets in what comes from the other nodes: Docker lets nothing in that it has not published.
    """
    comment = ("-m", "comment", "--comment", COMMENT)
    outward = ("-s", cidr, "!", "-d", non_masquerade_cidr, "-m", "addrtype", "!", "--dst-type", "LOCAL")
    inward = ("-s", non_masquerade_cidr, "-d", cidr)
    return [
        ("nat", "POSTROUTING", (*outward, *comment, "-j", "MASQUERADE")),
        ("filter", "FORWARD", (*inward, *comment, "-j", "ACCEPT")),
    ]


def _is_network(text: str) -> bool:
    try:
        return ipaddress.ip_network(text).version == 4
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False
