"""Sends through Apprise, in a thread of each target's own.

Apprise's async call is its blocking one in a pool that all services share, of four threads more than there are
processors: a few services that hang would hold up every other, and the end of the program too. Here a target has
one thread at a time, which nothing waits for at the end.
"""

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from pulse_bridge.threads import run_in_daemon_thread
from pulse_bridge_alerts.outgoing import Outgoing
from pulse_bridge_alerts.quiet import failure_from, listening
from pulse_bridge_alerts.sending import SendError, overdue

if TYPE_CHECKING:
    from apprise import NotifyBase


class _Running(NamedTuple):
    """A call that may hang: a thread cannot be stopped."""

    message_id: str
    task: "asyncio.Task[SendError | None]"


class ServiceSender:
    """One service that Apprise knows.

    Args:
        plugin: Apprise's object for the URL.
        timeout_s: So long a call is waited for.
    """

    def __init__(self, plugin: "NotifyBase", timeout_s: float) -> None:
        self._plugin = plugin
        self._timeout_s = timeout_s
        self._running: _Running | None = None

    async def send(self, outgoing: Outgoing) -> None:
        """Send. A call that was overdue and still runs is waited for, instead of sending a second copy."""
        if self._running is not None and self._running.message_id != outgoing.id:
            await self._outcome(self._running)  # of a message that was given up; whatever came of it
            self._running = None
        if self._running is None:
            task = asyncio.ensure_future(run_in_daemon_thread(lambda: _notify(self._plugin, outgoing)))
            self._running = _Running(outgoing.id, task)
        failure = await self._outcome(self._running)
        self._running = None
        if failure is not None:
            raise failure

    async def _outcome(self, running: _Running) -> SendError | None:
        done, _ = await asyncio.wait([running.task], timeout=self._timeout_s)
        if not done:
            raise overdue(self._timeout_s)
        return running.task.result()

    async def close(self) -> None:
        """Leave a call that still runs to itself."""
        if self._running is not None:
            self._running.task.cancel()
            await asyncio.wait([self._running.task])


def _notify(plugin: "NotifyBase", outgoing: Outgoing) -> SendError | None:
    from apprise import NotifyFormat, NotifyType, OverflowMode  # noqa: PLC0415 - loaded long before this

    # What is too long for a service is cut; by default Apprise passes it on, and most services refuse it.
    is_default = plugin.overflow_mode == OverflowMode.UPSTREAM
    with listening() as said:
        try:
            taken = plugin.notify(
                title=outgoing.title,
                body=outgoing.body,
                notify_type=NotifyType(outgoing.severity),
                # Says that it is no HTML or Markdown, so that Apprise escapes it for services that want these.
                body_format=NotifyFormat.TEXT,
                overflow=OverflowMode.TRUNCATE if is_default else None,
            )
        except Exception as error:  # noqa: BLE001 - more than a hundred plugins, and their libraries
            return SendError(f"its plugin failed ({type(error).__name__})")
    return None if taken else failure_from(said)
