"""Which backend takes the next connection: round robin by service port, with session affinity by client address.

Pure: it knows no sockets, and the time is handed in. Kubernetes' LoadBalancerRR shuffles the backends and starts again
from the first whenever they change; ours keeps its turn: those that stay keep their order, and new ones come last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kube.proxy.services import Backend, ServicePortName


class _Affinity(NamedTuple):
    backend: Backend
    last_used: float


@dataclass(slots=True)
class _Balance:
    """The state of one service port."""

    affinity_seconds: int = 0
    turn: deque[Backend] = field(default_factory=deque)
    """The backends, each once; the first is next."""
    clients: dict[str, _Affinity] = field(default_factory=dict)
    """By client address, least recently used first. Their backends are all in `turn`."""


class RoundRobin:
    """Hands out backends in turn."""

    def __init__(self) -> None:
        self._balances: dict[ServicePortName, _Balance] = {}

    def set_affinity(self, name: ServicePortName, seconds: int) -> None:
        """Keep a client with its backend for so long after its last connection; 0: not at all."""
        balance = self._balances.setdefault(name, _Balance())
        balance.affinity_seconds = seconds
        if not seconds:
            balance.clients.clear()

    def set_backends(self, name: ServicePortName, backends: Iterable[Backend]) -> None:
        """Replace the backends of a service port. Clients of those that went are free to go elsewhere."""
        balance = self._balances.setdefault(name, _Balance())
        wanted = dict.fromkeys(backends)
        if wanted.keys() == set(balance.turn):
            return
        staying = [backend for backend in balance.turn if backend in wanted]
        balance.turn = deque(dict.fromkeys([*staying, *wanted]))
        balance.clients = {client: pin for client, pin in balance.clients.items() if pin.backend in wanted}

    def remove(self, name: ServicePortName) -> None:
        """Forget a service port."""
        self._balances.pop(name, None)

    def backends(self, name: ServicePortName) -> Collection[Backend]:
        """The backends of a service port, the next one first."""
        balance = self._balances.get(name)
        return tuple(balance.turn) if balance else ()

    def next(
        self, name: ServicePortName, client: str, now: float, *, avoid: Collection[Backend] = ()
    ) -> Backend | None:
        """The backend for a new connection of a client, other than those to `avoid`; None if there is no other.

        A client whose own backend is to be avoided stays with the one it is given instead.
        """
        balance = self._balances.get(name)
        if balance is None:
            return None
        if not balance.affinity_seconds:
            return _rotate(balance.turn, avoid)
        _expire(balance, now)
        pin = balance.clients.pop(client, None)
        backend = pin.backend if pin and pin.backend not in avoid else _rotate(balance.turn, avoid)
        if backend:
            balance.clients[client] = _Affinity(backend, now)
        return backend


def _rotate(turn: deque[Backend], avoid: Collection[Backend]) -> Backend | None:
    """The first backend not to be avoided; it goes to the end, and those passed over keep their place."""
    for place, backend in enumerate(turn):
        if backend not in avoid:
            if place == 0:
                turn.rotate(-1)
            else:
                del turn[place]
                turn.append(backend)
            return backend
    return None


def _expire(balance: _Balance, now: float) -> None:
    while balance.clients:
        client = next(iter(balance.clients))
        if now - balance.clients[client].last_used <= balance.affinity_seconds:
            return
        del balance.clients[client]
