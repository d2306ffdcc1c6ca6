"""Subscribers of a third party, as a test installs them."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant
from pulse_bridge.errors import ConfigError
from pulse_bridge.event import to_json
from pulse_bridge.subscriber import NOTHING, Changes, Subscriber, SubscriberOptions, SubscriberUrl


class Options(SubscriberOptions):
    file: Path


class Told(Subscriber):
    """Appends every event to a file."""

    def __init__(self, url: SubscriberUrl) -> None:
        self._file = url.parse_options(Options).file

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        with self._file.open("a", encoding="utf-8") as file:
            file.writelines(to_json(event) + "\n" for event in batch.events)
        return NOTHING


class Stubborn(Subscriber):
    """Takes nothing."""

    def __init__(self, url: SubscriberUrl) -> None:
        url.parse_options(SubscriberOptions)

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        raise ValueError("I will not")


class Mistaken(Stubborn):
    """Finds a mistake as it starts."""

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        return _Failing(ConfigError("the port 9000 is taken"))


class Fallen(Stubborn):
    """Cannot live."""

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        return _Failing(OSError("I cannot live"))


class _Failing(AbstractAsyncContextManager[None]):
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __aenter__(self) -> None:
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        """Leave what was never entered."""
