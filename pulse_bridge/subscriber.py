"""The port of whoever acts on events: alerts, a page, metrics, yours.

A subscriber is one class and one entry point in the group `pulse_bridge.subscribers`, whose factory takes a
`SubscriberUrl`. `subscribe.py` runs it: it connects, reconnects, retries, and keeps what cannot be taken.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Protocol, TypeVar, runtime_checkable
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pulse_bridge.bus import Batch, Bus
from pulse_bridge.bus_url import hide_secret, is_secret
from pulse_bridge.clock import Instant
from pulse_bridge.errors import ConfigError
from pulse_bridge.mistakes import refuse_options
from pulse_bridge.plugins import SUBSCRIBERS, load_plugin

Changes = Mapping[str, str | None]
"""What to store with the cursor: name to text; None removes one."""

NOTHING: Changes = {}


@runtime_checkable
class Subscriber(Protocol):
    """Acts on events. Inherit it: only `on_batch` must be written.

    All verbs are called one after the other, never two at once, and none may block the event loop: what blocks
    belongs into `asyncio.to_thread`. Nothing isolates from one that does: it holds up every other subscriber, and
    inside `run --with` the sidecar itself, which must not miss a state. What may block without knowing it runs as
    `pulse-bridge subscribe`, a process of its own.

    A verb that raises, or takes longer than the time limit of 30 s, is called again with the same arguments, five
    times in all; meanwhile there are no ticks. `on_batch` is then given the events one by one, each in a batch of
    its own; those that fail again are kept as dead letters and passed over. `on_disconnect`, `on_commit` and
    `on_stop` are not tried again. A failure of one subscriber never ends another.
    """

    durable: ClassVar[bool] = True
    """Go on behind the last commit after a restart. If not, each connection begins with a snapshot."""

    tick_s: ClassVar[float] = 1.0
    """Seconds between two calls of `on_tick`."""

    def attach(self, bus: Bus) -> None:  # noqa: ARG002 - the port's signature
        """Keep the bus for questions about its past; called before each `lifespan`, and nothing is connected yet.

        Reading a bus's `history` may hold up the event loop: a journal is read without a pause.
        """
        return

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold what lives as long as the process: a server, a client.

        Raises:
            ConfigError: On entering; a person must act: it ends the program. Anything else is tried again, and
                in the end loses this subscriber alone.
        """
        return nullcontext()

    async def on_connect(self, saved: Mapping[str, str], at: Instant) -> None:  # noqa: ARG002 - the port's signature
        """Begin anew from what the last commit stored: another replica may have been at work since.

        Called at each connection, before its first batch. Silence is counted from here.
        """
        return  # without a body, a type checker takes a protocol's verb for one that must be written

    async def on_disconnect(self, reason: str) -> None:  # noqa: ARG002 - the port's signature
        """Note that nothing is known of the present until the next `on_connect`. Nothing is called meanwhile.

        Args:
            reason: In words, without a secret.
        """
        return

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        """Take events in; what is given back is stored with the cursor, atomically.

        Safe to repeat: after a crash the events behind the last commit come again. A snapshot tells of the jobs
        and hosts in it, and nothing of others: it may come in parts.
        """
        ...

    async def on_tick(self, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        """Notice what only the clock tells: silence is information, too. What is given back is stored.

        May come before the first batch of a connection: a bus that has nothing new gives none.
        """
        return NOTHING

    async def on_commit(self) -> None:
        """Do what may be done only once: all that was given back so far is stored now."""
        return

    async def on_stop(self, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        """Finish what is under way, within a second or two: nothing but `on_commit` is called behind it.

        What is given back is stored, and it is called again until that is nothing: what is begun behind that
        commit can be finished, too. Not called where there is no connection to store it with.
        """
        return NOTHING


class SubscriberOptions(BaseModel):
    """What every subscriber may be given behind its `?`; a subscriber's own options inherit from it.

    Args:
        name: The group: replicas under one name share the work. Default: the subscriber's own name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)] | None = None


OptionsT = TypeVar("OptionsT", bound=SubscriberOptions)


@dataclass(frozen=True)
class SubscriberUrl:
    """A subscriber as it is written: `NAME` or `NAME?option=value&…`.

    Args:
        name: Of the plugin.
        options: Option to its values in order; most may stand there once only.
    """

    name: str
    options: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> "SubscriberUrl":
        """Take it apart; a `+` stays a plus, `%XX` is decoded.

        Raises:
            ConfigError: It has another form.
        """
        name, question, query = text.partition("?")
        try:
            pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(query))
        except ValueError:
            pairs = []
        if not name or "://" in name or bool(question) != bool(pairs):
            # With chat services every part of a URL can be the secret.
            before, mark, _ = text.partition("://")
            shown = f"{hide_secret(before)}{mark}{'***' if mark else ''}"
            raise ConfigError(f"{shown!r} names no subscriber: write NAME or NAME?option=value&option=value")
        options: dict[str, list[str]] = {}
        for option, value in pairs:
            options.setdefault(option, []).append(value)
        return cls(name, options)

    @property
    def group(self) -> str:
        """The name under which its cursor and state are kept: `?name=`, or the plugin's."""
        return next(iter(self.options.get("name", ())), "") or self.name

    def parse_options(self, model: type[OptionsT]) -> OptionsT:
        """Validate the options with a subscriber's model; a field that is a tuple or list takes an option again.

        Raises:
            ConfigError: An option is unknown (the known ones are listed), stands there twice, or is wrong.
        """
        values: dict[str, object] = {}
        for option, given in self.options.items():
            info = model.model_fields.get(option)
            repeatable = info is not None and getattr(info.annotation, "__origin__", None) in (list, tuple)
            if len(given) > 1 and not repeatable:
                raise ConfigError(f"{self}: the option {option!r} stands there twice")
            values[option] = given if repeatable else given[0]
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise refuse_options(error, self, model) from None

    def __str__(self) -> str:
        """Show it without secrets: what looks like a URL or a secret is left out, and what stands behind a URL.

        That may be a part of it: to forget to write its `&` as `%26` is the mistake that is made most.
        """
        shown: list[str] = []
        behind_url = False
        for option, values in self.options.items():
            for value in values:
                behind_url = behind_url or "://" in value
                shown.append(f"{option}={'***' if behind_url or is_secret(option) else value}")
        return f"{self.name}?{'&'.join(shown)}" if shown else self.name


def open_subscriber(url: SubscriberUrl) -> Subscriber:
    """Make the subscriber that a text names; nothing is started yet.

    Raises:
        ConfigError: There is no such subscriber, or its options are wrong; the sentence has no secret in it.
    """
    subscriber = load_plugin(SUBSCRIBERS, url.name, shown=str(url))(url)
    if not isinstance(subscriber, Subscriber):
        raise ConfigError(f"the plugin {url.name!r} made no subscriber but a {type(subscriber).__name__}")
    return subscriber
