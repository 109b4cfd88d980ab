"""What the scheduler counts, under upstream's names."""

from __future__ import annotations

from functools import partial

from prometheus_client import Counter, Gauge, Histogram

from kube.scheduler.queue import SchedulingQueue, State

ATTEMPTS = Counter("scheduler_schedule_attempts", "Attempts to schedule pods, by the result.", ["result"])
ATTEMPT_SECONDS = Histogram(
    "scheduler_scheduling_algorithm_duration_seconds",
    "How long a decision takes.",
    buckets=[0.0001 * 2**i for i in range(14)],
)
PENDING = Gauge("scheduler_pending_pods", "Pods that wait for a node, by the queue they are in.", ["queue"])
PREEMPTION_ATTEMPTS = Counter("scheduler_preemption_attempts", "Decisions to push pods out.")
PREEMPTION_VICTIMS = Histogram(
    "scheduler_preemption_victims", "How many pods were chosen to go.", buckets=[2**i for i in range(7)]
)


def watch(queue: SchedulingQueue) -> None:
    """Have the pending pods counted whenever the metrics are read."""
    for state in (State.ACTIVE, State.BACKOFF, State.UNSCHEDULABLE):
        PENDING.labels(state.value).set_function(partial(queue.count, state))
