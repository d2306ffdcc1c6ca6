"""Signs of life where a source has dropped them; pure.

A journal keeps the newest host event and the newest heartbeat of each job and no other, so its past is silent
between changes though nobody was. Whoever judges silence is told that the hosts in it lived on.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from pulse_bridge import __version__
from pulse_bridge.event import UNNUMBERED, Event, HostEvent, JobEvent, State

EACH_MS: Final = 10_000
"""As often as a sidecar speaks."""


class SignsOfLife:
    """What each host would have said of itself."""

    def __init__(self) -> None:
        self._spoke_ms: dict[str, int] = {}
        self._states: dict[tuple[str, str], State] = {}

    def note(self, events: Sequence[Event]) -> None:
        """Take in what was really said."""
        for event in events:
            self._spoke_ms[event.host] = event.observed_ms
            if isinstance(event, JobEvent):
                self._states[event.host, event.job] = event.state
            elif event.stopping:
                del self._spoke_ms[event.host]

    def due(self, at_ms: int) -> list[HostEvent]:
        """Give a sign of life of each host that has not spoken for so long that one is due."""
        due = [host for host, spoke_ms in self._spoke_ms.items() if at_ms - spoke_ms >= EACH_MS]
        for host in due:
            self._spoke_ms[host] = at_ms
        return [self._sign(host, at_ms) for host in due]

    def _sign(self, host: str, at_ms: int) -> HostEvent:
        states = Counter(state for (of, _), state in self._states.items() if of == host)
        return HostEvent(
            id=UNNUMBERED,
            host=host,
            owner="replay",
            version=__version__,
            stopping=False,
            jobs=dict(states),
            malformed=0,
            dropped=0,
            lag={},
            observed_ms=at_ms,
        )
