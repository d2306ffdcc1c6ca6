"""Keeps what the bus tells, for whoever scrapes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant, read_clocks
from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.event import FINISHED_STATES, KINDS, HostEvent
from pulse_bridge.fleet import Fleet
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber, SubscriberUrl
from pulse_bridge_prometheus.http_app import NoAnswerError, make_app
from pulse_bridge_prometheus.options import PrometheusOptions
from pulse_bridge_prometheus.server import serve
from pulse_bridge_prometheus.view import View, is_forgotten, is_over, view_hosts

logger = logging.getLogger(__name__)

ANSWER_S: Final = 5.0
"""A scrape waits so long for the event loop; Prometheus' own limit is 10 s unless told otherwise."""

_NEVER_CONNECTED: Final = "not connected to the bus yet"
_NO_SNAPSHOT: Final = "connected, but the bus has not told yet what is so"


class PrometheusSubscriber(Subscriber):
    """Serves `/metrics` and `/healthz`.

    The state belongs to the event loop alone. A request asks it for a copy, so that all of a scrape is of one
    moment, and a loop that hangs is a failed scrape instead of old numbers.

    Args:
        url: As the user wrote it.
        clock: Gives both clocks.

    Raises:
        ConfigError: An option is wrong.
    """

    durable: ClassVar[bool] = False
    tick_s: ClassVar[float] = 60.0

    def __init__(self, url: SubscriberUrl, *, clock: Callable[[], Instant] = read_clocks) -> None:
        self._options = url.parse_options(PrometheusOptions)
        self._shown = str(url)
        self._clock = clock
        self._fleet = Fleet()
        self._received: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._missed = 0
        self._unready: str | None = _NEVER_CONNECTED

    def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        """Tell whether the metrics can be served; see `pulse_bridge.doctor`."""
        from pulse_bridge_prometheus.examine import examine  # noqa: PLC0415 - nothing else needs it

        return examine(self._options, examination)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Listen on the port.

        Raises:
            ConfigError: It is in use, or not to be had.
        """
        app = make_app(self._reader(asyncio.get_running_loop()))
        options = self._options
        async with serve(app, options.bind, options.port, shown=self._shown):
            logger.info("serving metrics", extra={"bind": options.bind, "port": options.port})
            yield

    async def on_connect(self, saved: Mapping[str, str], at: Instant) -> None:  # noqa: ARG002 - nothing is saved
        """Wait for the snapshot: until then nothing is known of the present."""
        self._unready = _NO_SNAPSHOT
        self._fleet.connect(at.now_s)

    async def on_disconnect(self, reason: str) -> None:
        """Withhold everything: a value without a time is taken for the present."""
        self._unready = f"not connected to the bus: {reason}"

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        """Take events in. A snapshot is all that there is: what it does not name has been forgotten."""
        if batch.snapshot:
            self._forget_all_but(batch)
            self._unready = None
        self._missed += batch.lost
        for event in batch.events:
            if self._fleet.apply(event, at, snapshot=batch.snapshot) and not batch.snapshot:
                self._received[event.kind] += 1
        return NOTHING

    async def on_tick(self, at: Instant) -> Changes:
        """Forget what is not shown any more."""
        fleet, options = self._fleet, self._options
        for host in view_hosts(fleet, at.now_s):
            if is_forgotten(host, at, options.keep_silent_s):
                del fleet.hosts[host.name]
        for key, job in list(fleet.jobs.items()):
            unknown = job.state not in FINISHED_STATES and job.host not in fleet.hosts
            if unknown or is_over(job, at, options.keep_finished_s):
                del fleet.jobs[key]
        return NOTHING

    def _forget_all_but(self, snapshot: Batch) -> None:
        fleet = self._fleet
        hosts = {event.host for event in snapshot.events}
        jobs = {(event.host, event.job) for event in snapshot.events if not isinstance(event, HostEvent)}
        for name in fleet.hosts.keys() - hosts:
            del fleet.hosts[name]
        for key in fleet.jobs.keys() - jobs:
            del fleet.jobs[key]

    def _view(self) -> View:
        at = self._clock()
        return View(
            at=at,
            unready=self._unready,
            received=dict(self._received),
            missed=self._missed,
            hosts=view_hosts(self._fleet, at.now_s),
            jobs=tuple(self._fleet.jobs.values()),
            keep_finished_s=self._options.keep_finished_s,
            keep_silent_s=self._options.keep_silent_s,
        )

    def _reader(self, loop: asyncio.AbstractEventLoop) -> Callable[[], View]:
        """Make the way for other threads to ask the loop."""

        def read_view() -> View:
            answer: Future[View] = Future()

            def tell() -> None:
                if answer.set_running_or_notify_cancel():
                    answer.set_result(self._view())

            try:
                loop.call_soon_threadsafe(tell)
                return answer.result(ANSWER_S)
            except RuntimeError:
                raise NoAnswerError("it is ending") from None
            except TimeoutError:
                answer.cancel()
                raise NoAnswerError(f"the event loop has not answered for {ANSWER_S:g} s") from None

        return read_view
