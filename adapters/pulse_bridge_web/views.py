"""How a job and a host read as JSON, as bytes that are made once and joined; pure."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from pydantic_core import to_json as encode_json

from pulse_bridge.event import JobEvent, format_time, to_json
from pulse_bridge.fleet import Hearing, Host

SPARK_POINTS: Final = 60
"""A sparkline has so many points at most: the newest ones."""


class Spark:
    """The newest points of one run's loss, each kept as the JSON that it becomes."""

    __slots__ = ("_points", "run")

    def __init__(self, run: int) -> None:
        self.run = run
        self._points: deque[bytes] = deque(maxlen=SPARK_POINTS)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._points)

    def add(self, event: JobEvent) -> None:
        """Take a point in; a heartbeat repeats the last and adds none."""
        if event.loss is None:
            return
        point = encode_json((event.epoch, event.loss))
        if not self._points or self._points[-1] != point:
            self._points.append(point)

    def put_before(self, earlier: "Spark") -> None:
        """Put what came before in front, as far as there is room."""
        known = list(earlier)
        self._points = deque([*known, *(point for point in self if point not in known)], maxlen=SPARK_POINTS)

    def view(self) -> bytes:
        """Give `[[epoch, loss], …]`, oldest first."""
        return b"[" + b",".join(self._points) + b"]"


def draw_sparks(events: Iterable[JobEvent]) -> dict[tuple[str, str], Spark]:
    """Give host and job to the sparkline of its newest run.

    Args:
        events: Oldest first.
    """
    sparks: dict[tuple[str, str], Spark] = {}
    for event in events:
        key = (event.host, event.job)
        spark = sparks.get(key)
        if spark is None or spark.run != event.run:
            spark = sparks[key] = Spark(event.run)
        spark.add(event)
    return sparks


def open_view(event: JobEvent) -> bytes:
    """Give a job's fields as JSON without the closing brace, so that more can be put behind."""
    return to_json(event)[:-1].encode()


def close_view(opened: bytes, hearing: Hearing, spark: Spark | None = None) -> bytes:
    """Put behind a job's fields how its host is heard and, where it is asked for, the sparkline."""
    rest = b',"hearing":"' + hearing.encode() + b'"'
    if spark is not None:
        rest += b',"spark":' + spark.view()
    return opened + rest + b"}"


def host_view(name: str, host: Host, hearing: Hearing) -> bytes:
    """Give a host: what its sidecar last said of itself, if it has."""
    view: dict[str, object] = {"host": name, "hearing": hearing, "last_seen": format_time(host.last_ms)}
    if host.newest is not None:
        newest = host.newest
        view |= {
            "version": newest.version,
            "stopping": newest.stopping,
            "malformed": newest.malformed,
            "dropped": newest.dropped,
            "lag": dict(newest.lag),
        }
    return encode_json(view)
