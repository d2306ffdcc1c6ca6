"""A subscriber as it is written, its options, and the suite that every one inherits."""

import time
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from pulse_bridge import plugins
from pulse_bridge.bus import Batch
from pulse_bridge.clock import Instant
from pulse_bridge.errors import ConfigError, PluginError
from pulse_bridge.event import JobEvent
from pulse_bridge.plugins import SUBSCRIBERS
from pulse_bridge.subscriber import (
    NOTHING,
    Changes,
    Subscriber,
    SubscriberOptions,
    SubscriberUrl,
    open_subscriber,
)
from pulse_bridge.testing import SubscriberContract


class Options(SubscriberOptions):
    port: int = 9000
    notify: tuple[str, ...] = ()


class Counting(Subscriber):
    """Counts finished runs, each once."""

    name: ClassVar[str] = "counting"

    def __init__(self, url: SubscriberUrl | None = None) -> None:
        self.options = url.parse_options(Options) if url else Options()
        self.told: set[str] = set()

    async def on_connect(self, saved: Mapping[str, str], at: Instant) -> None:  # noqa: ARG002 - the port's signature
        self.told = set(saved)

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
        events = [event for event in batch.events if isinstance(event, JobEvent)]
        found = {f"{event.host}/{event.job}/{event.run}" for event in events if event.state in {"done", "error"}}
        new, self.told = found - self.told, self.told | found
        return dict.fromkeys(new, "told")


class TestCounting(SubscriberContract):
    @pytest.fixture
    def subscriber(self) -> Subscriber:
        return Counting()


class TestTheLeastThatASubscriberCanBe(SubscriberContract):
    @pytest.fixture
    def subscriber(self) -> Subscriber:
        class Least(Subscriber):
            async def on_batch(self, batch: Batch, at: Instant) -> Changes:  # noqa: ARG002 - the port's signature
                return NOTHING

        return Least()


# What the suite finds


class Forgetful(Counting):
    """Gives back another state each time."""

    calls = 0

    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        await super().on_batch(batch, at)
        self.calls += 1
        return {"calls": str(self.calls)}


class Returnless(Counting):
    async def on_batch(self, batch: Batch, at: Instant) -> Any:
        await super().on_batch(batch, at)


class Numeric(Counting):
    async def on_tick(self, at: Instant) -> Any:
        return {"now": at.now_s}


class Dividing(Counting):
    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        _ = [event.epoch / event.total_epochs for event in batch.events if isinstance(event, JobEvent)]
        return await super().on_batch(batch, at)


class Trusting(Counting):
    async def on_connect(self, saved: Mapping[str, str], at: Instant) -> None:
        await super().on_connect(saved, at)
        self.first = saved["node1/llm/run a/1790000000"] if self.told else saved["not there at the first start"]


class Lossy(Counting):
    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        _ = [f"{event.loss:.4f}" for event in batch.events if isinstance(event, JobEvent)]
        return await super().on_batch(batch, at)


class Sleeping(Counting):
    async def on_batch(self, batch: Batch, at: Instant) -> Changes:
        time.sleep(0.0)  # noqa: ASYNC251 - what the suite is to find
        return await super().on_batch(batch, at)


@pytest.mark.parametrize(
    ("subscriber", "test"),
    [
        (Forgetful(), "what_comes_again_changes_nothing"),
        (Returnless(), "an_empty_snapshot_is_no_mistake"),
        (Numeric(), "ticks_need_no_events"),
        (Dividing(), "an_absent_number_and_one_out_of_all_measure_are_numbers"),
        (Lossy(), "an_absent_number_and_one_out_of_all_measure_are_numbers"),
        (Trusting(), "it_goes_on_from_what_it_gave_back"),
        (Sleeping(), "no_verb_blocks_the_event_loop"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Subscriber) else value,
)
async def test_the_suite_finds_a_subscriber_that_breaks_a_promise(subscriber: Subscriber, test: str) -> None:
    if test == "no_verb_blocks_the_event_loop":
        pytest.importorskip("blockbuster")
    with pytest.raises(Exception) as error:  # noqa: PT011 - each breaks in a way of its own
        await getattr(SubscriberContract(), f"test_{test}")(subscriber)
    assert not isinstance(error.value, AttributeError)


# As it is written


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("web", "web", {}),
        ("web?port=9000", "web", {"port": ["9000"]}),
        ("alerts?notify=a&notify=b", "alerts", {"notify": ["a", "b"]}),
        ("alerts?notify=json://h:9/x%26y+z", "alerts", {"notify": ["json://h:9/x&y+z"]}),
        ("alerts?name=", "alerts", {"name": [""]}),
    ],
)
def test_a_name_and_its_options_are_taken_apart(text: str, name: str, options: dict[str, list[str]]) -> None:
    assert SubscriberUrl.parse(text) == SubscriberUrl(name, options)


@pytest.mark.parametrize("text", ["", "?port=1", "web?", "web?port", "web?port=1&&x=2"])
def test_another_form_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match=r"names no subscriber: write NAME or NAME\?option=value&option=value"):
        SubscriberUrl.parse(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tgram://hunter2/1", "'tgram://***'"),
        ("https://h/hunter2?x=1", "'https://***'"),
        ("alerts?https://h/hunter2", "'alerts?https://***'"),
        ("alerts?password=hunter2&&notify=json://h/hunter2", "'alerts?password=***&&notify=json://***'"),
    ],
)
def test_a_url_where_a_name_should_stand_is_not_shown(text: str, shown: str) -> None:
    with pytest.raises(ConfigError) as error:
        SubscriberUrl.parse(text)
    assert str(error.value).startswith(f"{shown} names no subscriber")


def test_options_are_read_by_the_subscriber_s_model() -> None:
    options = SubscriberUrl.parse("x?port=80&notify=a&notify=b&name=night").parse_options(Options)
    assert options == Options(port=80, notify=("a", "b"), name="night")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x?bogus=1", "x?bogus=1: unknown option 'bogus'; known are: name, notify, port"),
        ("x?port=many", "x?port=many: option 'port': Input should be a valid integer"),
        ("x?port=1&port=2", "x?port=1&port=2: the option 'port' stands there twice"),
        ("x?name=", "x?name=: option 'name': String should have at least 1 character"),
        ("x?bogus=json://u:hunter2@h", "x?bogus=***: unknown option 'bogus'"),
        ("x?token=hunter2", r"x?token=***: unknown option 'token'"),
        ("x?notify=json://h?a=b&key=hunter2", r"x?notify=***&key=***: unknown option 'key'"),
    ],
)
def test_a_wrong_option_is_one_sentence_without_a_secret(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        SubscriberUrl.parse(text).parse_options(Options)
    assert sentence in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "group"), [("alerts", "alerts"), ("alerts?port=1", "alerts"), ("alerts?name=night", "night")]
)
def test_its_group_is_its_name_or_the_one_that_is_given(text: str, group: str) -> None:
    assert SubscriberUrl.parse(text).group == group


# As it is installed


def announce(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint("mine", value, SUBSCRIBERS.entry_point_group)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == point.group else [])


def test_a_third_party_s_subscriber_is_made_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SubscriberUrl] = []

    def factory(url: SubscriberUrl) -> Subscriber:
        made.append(url)
        return Counting(url)

    monkeypatch.setattr("tests.support.recorder.Recorder", factory)
    announce(monkeypatch, "tests.support.recorder:Recorder")
    assert isinstance(open_subscriber(SubscriberUrl.parse("mine?port=1")), Counting)
    assert made == [SubscriberUrl("mine", {"port": ["1"]})]


def test_one_that_is_not_there_is_refused_with_the_list_of_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, "tests.support.recorder:Recorder")
    with pytest.raises(PluginError, match=r"^yours: there is no subscriber 'yours'; installed are: mine$"):
        open_subscriber(SubscriberUrl.parse("yours"))


def test_a_plugin_that_makes_no_subscriber_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, "builtins:str")
    with pytest.raises(ConfigError, match="the plugin 'mine' made no subscriber but a str"):
        open_subscriber(SubscriberUrl.parse("mine"))
