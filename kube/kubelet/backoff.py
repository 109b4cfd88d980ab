"""The delay between attempts that keep failing: 10 s, doubling up to 5 min, as Kubernetes' kubelet waits.

The first attempt after a failure comes at once; it is the second failure that waits. What has gone well for twice the
longest delay (10 min) starts from the beginning again. Times are seconds of any one clock; values are immutable, so
that a plan can ask "what if" without changing anything. A restarted kubelet reads the delay off the pause between the
last two attempts, which the engine has kept.
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL = 10.0
MAXIMUM = 300.0


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait after the next failure."""

    seconds: float = 0.0
    updated: float = 0.0
    """When the last attempt began."""

    def remaining(self, failed_at: float, now: float) -> float:
        """Seconds still to wait after a failure at `failed_at`; 0: try now."""
        if not self.seconds or self._expired(failed_at):
            return 0.0
        return max(0.0, failed_at + self.seconds - now)

    def next(self, failed_at: float, now: float) -> BackOff:
        """The delay to keep when an attempt begins now, after a failure at `failed_at`."""
        if not self.seconds or self._expired(failed_at):
            return BackOff(INITIAL, now)
        return BackOff(min(self.seconds * 2, MAXIMUM), now)

    def _expired(self, failed_at: float) -> bool:
        return failed_at - self.updated > 2 * MAXIMUM


def after_pause(pause: float, began_at: float) -> BackOff:
    """The delay that belongs to an attempt of which is known how long it came after the failure before it."""
    if pause < INITIAL / 2:
        return BackOff(INITIAL, began_at)  # the first attempt after a failure comes at once
    waited = INITIAL
    while waited * 1.5 < pause:  # nearer to the next step than to this one
        waited *= 2
    return BackOff(min(waited * 2, MAXIMUM), began_at)


def duration(seconds: float) -> str:
    """Whole seconds as Go prints a duration: `10s`, `1m20s`, `5m0s`, `1h0m0s`."""
    total = round(seconds)
    hours, minutes, rest = total // 3600, total % 3600 // 60, total % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def exact(seconds: float) -> str:
    """Seconds to the millisecond as Go prints a duration: `312ms`, `1.2s`, `1m2.5s`."""
    milliseconds = int(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text
