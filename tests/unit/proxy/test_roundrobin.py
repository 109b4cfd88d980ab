"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kube.proxy.roundrobin import RoundRobin
from kube.proxy.services import Backend, ServicePortName

WEB = ServicePortName("default", "web")
A, B, C, D = (Backend(f"10.244.0.{n}", 80) for n in (1, 2, 3, 4))


def balancer(*backends: Backend, affinity: int = 0) -> RoundRobin:
    made = RoundRobin()
    made.set_affinity(WEB, affinity)
    made.set_backends(WEB, backends)
    return made


def turns(balancer: RoundRobin, count: int, client: str = "10.244.0.99") -> list[Backend | None]:
    return [balancer.next(WEB, client, now=0) for _ in range(count)]


def test_each_backend_in_turn() -> None:
    assert turns(balancer(A, B, C), 7) == [A, B, C, A, B, C, A]


def test_no_backends_no_turn() -> None:
    assert turns(balancer(), 1) == [None]
    assert turns(RoundRobin(), 1) == [None]


def test_services_take_turns_by_themselves() -> None:
    two = balancer(A, B)
    other = ServicePortName("default", "other")
    two.set_backends(other, [C, D])
    assert turns(two, 1) == [A]
    assert two.next(other, "c", 0) == C
    assert turns(two, 1) == [B]


def test_an_update_keeps_the_turn() -> None:
    three = balancer(A, B, C)
    assert turns(three, 1) == [A]
    three.set_backends(WEB, [A, B, C])
    assert turns(three, 1) == [B]
    three.set_backends(WEB, [C, B, A])  # the same, told in another order
    assert turns(three, 1) == [C]


def test_a_backend_that_goes_is_left_out_of_the_turn() -> None:
    three = balancer(A, B, C)
    assert turns(three, 1) == [A]
    three.set_backends(WEB, [A, C])
    assert turns(three, 3) == [C, A, C]


def test_a_new_backend_comes_after_those_that_wait() -> None:
    two = balancer(A, B)
    assert turns(two, 1) == [A]
    two.set_backends(WEB, [D, A, B])
    assert turns(two, 4) == [B, A, D, B]


def test_one_to_be_avoided_is_passed_over_and_keeps_its_place() -> None:
    three = balancer(A, B, C)
    assert three.next(WEB, "c", 0, avoid={A}) == B
    assert turns(three, 3) == [A, C, B]
    assert three.next(WEB, "c", 0, avoid={A, B, C}) is None


def test_affinity_keeps_a_client_with_its_backend() -> None:
    three = balancer(A, B, C, affinity=60)
    assert turns(three, 3, "alice") == [A, A, A]
    assert turns(three, 2, "bob") == [B, B]
    assert turns(three, 1, "alice") == [A]


def test_affinity_ends_after_its_time_without_a_connection() -> None:
    two = balancer(A, B, affinity=60)
    assert two.next(WEB, "alice", now=0) == A
    assert two.next(WEB, "alice", now=60) == A
    assert two.next(WEB, "alice", now=120) == A, "the time counts from the last connection"
    assert two.next(WEB, "alice", now=181) == B


def test_affinity_ends_with_its_backend() -> None:
    two = balancer(A, B, affinity=60)
    assert turns(two, 2, "alice") == [A, A]
    two.set_backends(WEB, [B, C])
    assert turns(two, 2, "alice") == [B, B]


def test_a_client_whose_backend_refuses_stays_with_the_next() -> None:
    two = balancer(A, B, affinity=60)
    assert turns(two, 1, "alice") == [A]
    assert two.next(WEB, "alice", 0, avoid={A}) == B
    assert turns(two, 2, "alice") == [B, B]


def test_affinity_can_be_turned_off() -> None:
    two = balancer(A, B, affinity=60)
    assert turns(two, 2, "alice") == [A, A]
    two.set_affinity(WEB, 0)
    assert turns(two, 2, "alice") == [B, A]


def test_what_is_removed_is_forgotten() -> None:
    two = balancer(A, B)
    two.remove(WEB)
    assert turns(two, 1) == [None]
    assert two.backends(WEB) == ()


@given(st.lists(st.sampled_from([A, B, C, D]), min_size=1, unique=True), st.integers(1, 8), st.integers(0, 9))
def test_shares_are_equal_to_within_one(backends: list[Backend], rounds: int, more: int) -> None:
    count = Counter(turns(balancer(*backends), rounds * len(backends) + more % len(backends)))
    assert max(count.values()) - min(count.values()) <= 1
    assert set(count) == set(backends)
