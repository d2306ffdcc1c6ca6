"""What the doctor says of a broker, each made so for real."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pulse_bridge.bus import Presence
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.doctor import Cure, Finding
from pulse_bridge.event import Event
from pulse_bridge.testing import PRESENCE, make_host_event, make_job_event
from pulse_bridge_mqtt import MqttBus
from pulse_bridge_mqtt import examine as mqtt_examine
from tests.support.examining import examine, problems, the
from tests.support.mosquitto import Authority, Mosquitto, MqttListener, retained
from tests.support.processes import free_port, require_binary

NOW_MS = int(time.time() * 1000)
LONG_AGO_MS = NOW_MS - 8 * 86_400_000


async def publish(broker: Mosquitto, *events: Event, query: str = "", presence: Presence = PRESENCE) -> None:
    bus = MqttBus(BusUrl.parse(f"mqtt://127.0.0.1:{broker.port}{query}"))
    async with bus.publisher(presence) as publisher:
        assert not await publisher.publish(events)


def cure_of(finding: Finding) -> Cure:
    assert finding.cure is not None
    return finding.cure


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_an_ordinary_broker_is_fine_and_nobody_gets_an_event(tmp_path: Path, version: str) -> None:
    with Mosquitto(tmp_path) as broker, MqttListener(broker.port, ["pulse/#"]) as listener:
        findings = await examine(f"mqtt://127.0.0.1:{broker.port}?version={version}")
        assert {finding.level for finding in findings} == {"fine"}
        the(findings, "it is mosquitto version 2")
        assert not [one for one in listener.received if one.payload.strip()]
        assert not [topic for topic in retained(broker.port) if topic.startswith("pulse/")]


async def test_one_that_is_down_is_one_problem() -> None:
    (found,) = await examine(f"mqtt://127.0.0.1:{free_port()}")
    assert (found.level, "Connection refused" in found.sentence) == ("problem", True)


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    """Give a file that knows the user `bob` with the password `right`."""
    file = tmp_path / "passwords"
    program = require_binary("mosquitto_passwd")
    subprocess.run([program, "-b", "-c", str(file), "bob", "right"], check=True, capture_output=True)
    return file


async def test_a_wrong_password_is_one_problem_without_the_password(tmp_path: Path, passwords: Path) -> None:
    with Mosquitto(tmp_path, anonymous=False, extra_lines=[f"password_file {passwords}"]) as broker:
        (found,) = await examine(f"mqtt://bob:wr0ng@127.0.0.1:{broker.port}")
        assert "refused the connection" in found.sentence
        assert "wr0ng" not in str(found)
        assert not problems(await examine(f"mqtt://bob:right@127.0.0.1:{broker.port}"))


async def test_a_certificate_of_nobody_known_is_one_problem(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Mosquitto(tmp_path, extra_lines=authority.server_lines("localhost")) as broker:
        (found,) = await examine(f"mqtts://localhost:{broker.port}")
        assert "certificate is not accepted" in found.sentence
        assert "tls_ca=FILE" in found.remedy
        assert not problems(await examine(f"mqtts://localhost:{broker.port}?tls_ca={authority.ca}"))


async def test_a_broker_that_retains_nothing_is_a_problem(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, extra_lines=["retain_available false"]) as broker:
        found = the(await examine(f"mqtt://127.0.0.1:{broker.port}"), "keeps no retained messages")
        assert (found.level, "retain_available true" in found.remedy) == ("problem", True)


@pytest.mark.parametrize(
    ("line", "part", "remedy"),
    [
        ("max_packet_size 2000", "takes no packet above 2000 bytes", "max_packet_size"),
        ("message_size_limit 2000", "the broker takes no message of 6144 bytes", "message_size_limit"),
    ],
)
async def test_a_limit_that_a_long_message_exceeds_is_a_problem(
    tmp_path: Path, line: str, part: str, remedy: str
) -> None:
    with Mosquitto(tmp_path, extra_lines=[line]) as broker:
        found = the(await examine(f"mqtt://127.0.0.1:{broker.port}"), part)
        assert (found.level, remedy in found.remedy) == ("problem", True)


async def test_a_topic_that_may_not_be_written_to_is_named_and_a_reader_need_not(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read pulse/#\ntopic readwrite pulse/+/mark\ntopic read $SYS/#\n")
    with Mosquitto(tmp_path, extra_lines=[f"acl_file {acl}"]) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        found = the(await examine(url), "may not publish to pulse/node1/+/state: Not authorized")
        assert (found.level, found.remedy) == ("problem", "add 'topic readwrite pulse/#' to the broker's ACL")
        assert not problems(await examine(url, publishes=False))


async def test_a_queue_that_is_too_small_is_a_problem(tmp_path: Path) -> None:
    jobs = [make_job_event(seq, job=f"job{seq}", observed_ms=NOW_MS) for seq in range(1, 101)]
    with Mosquitto(tmp_path, extra_lines=["max_queued_messages 10", "max_inflight_messages 10"]) as broker:
        await publish(broker, *jobs, make_host_event(101, jobs={"running": 100}, observed_ms=NOW_MS))
        url = f"mqtt://127.0.0.1:{broker.port}?version=3.1.1"
        found = the(await examine(url, publishes=False), "less than host 'node1' tells of")
        assert (found.level, "max_queued_messages 0" in found.remedy) == ("problem", True)


async def test_another_sidecar_under_this_host_s_name_is_found(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        bus = MqttBus(BusUrl.parse(url))
        async with bus.publisher(Presence("node1", "theirs")) as publisher:
            await publisher.publish([make_host_event(1, owner="theirs", jobs={}, observed_ms=NOW_MS)])
            found = the(await examine(url, owner="ours", running=True), "another sidecar publishes here")
            assert (found.level, "--host" in found.remedy) == ("problem", True)
            assert not problems(await examine(url, owner="theirs", running=True))
        found = the(await examine(url, owner="ours", running=True), "is not online here as host 'node1'")
        assert found.level == "problem"


# What jobs left behind


async def test_what_a_job_of_this_host_left_is_found_and_cleared_and_nothing_else(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        await publish(
            broker,
            make_job_event(1, job="old", observed_ms=NOW_MS),
            make_job_event(2, job="new", observed_ms=NOW_MS),
            make_job_event(3, host="node2", job="old", observed_ms=NOW_MS),
        )
        before = retained(broker.port, ["pulse/#"])
        assert not [one for one in await examine(url) if one.cure]  # nothing is known of this host's jobs
        found = the(
            await examine(url, jobs=frozenset({"new"})), "1 topic retained for jobs or hosts that are no more"
        )
        assert found.level == "advice"
        assert "pulse/node1/old/state" in cure_of(found).question
        assert retained(broker.port, ["pulse/#"]) == before
        assert await cure_of(found).apply() == f"1 retained topic removed from {url}"
        after = retained(broker.port, ["pulse/#"])
        assert before.keys() - after.keys() == {"pulse/node1/old/state"}


async def test_what_another_host_left_is_known_by_its_age(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        presence = Presence("node9", "o")
        await publish(
            broker,
            make_job_event(1, host="node9", job="a", state="running", observed_ms=LONG_AGO_MS),
            make_host_event(2, host="node9", owner="o", observed_ms=LONG_AGO_MS),
            presence=presence,
        )
        found = the(await examine(url), "3 topics retained for jobs or hosts that are no more")
        await cure_of(found).apply()
        assert not [topic for topic in retained(broker.port, ["pulse/#"]) if topic.startswith("pulse/node9")]
        assert not [one for one in await examine(f"{url}?forget_after_s=86400000") if one.cure]


async def test_a_job_that_spoke_meanwhile_is_spared(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        await publish(broker, make_job_event(1, job="a", observed_ms=NOW_MS))
        found = the(await examine(url, jobs=frozenset()), "1 topic retained")
        await publish(broker, make_job_event(2, job="a", loss=0.1, observed_ms=NOW_MS))
        assert (await cure_of(found).apply()).startswith("0 retained topics removed")
        assert "pulse/node1/a/state" in retained(broker.port, ["pulse/#"])


async def test_a_device_of_home_assistant_that_nobody_publishes_is_found_and_cleared(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, MqttListener(broker.port) as client:
        url = f"mqtt://127.0.0.1:{broker.port}"
        events = [make_job_event(1, job="a", observed_ms=NOW_MS), make_job_event(2, job="b", observed_ms=NOW_MS)]
        await publish(broker, make_host_event(3, observed_ms=NOW_MS), *events, query="?homeassistant=true")
        theirs = "homeassistant/device/theirs/config"
        foreign = b'{"origin": {"name": "other"}, "state_topic": "pulse/x/y/state"}'
        client._client.publish(theirs, foreign, 1, retain=True)
        client._client.publish("pulse/node1/a/state", b"", 1, retain=True).wait_for_publish(20)
        configs = retained(broker.port, ["homeassistant/#"])
        assert len(configs) == 4
        found = the(await examine(url), "Home Assistant is told of 1 device that nobody publishes")
        assert found.level == "advice"
        assert await cure_of(found).apply() == f"1 retained topic removed from {url}"
        left = retained(broker.port, ["homeassistant/#"])
        assert theirs in left
        assert len(left) == 3
        assert not [one for one in await examine(url) if one.cure]
        assert "pulse/node1/b/state" in retained(broker.port, ["pulse/#"])


@pytest.mark.parametrize(
    "state_topic", ["pulse/#", "pulse/a#b", "pulse/+/x/state", "pulse/\\u0000", "pulse//state"]
)
async def test_what_claims_to_be_a_device_of_ours_and_shows_no_topic_is_left_alone(
    tmp_path: Path, state_topic: str
) -> None:
    with Mosquitto(tmp_path) as broker, MqttListener(broker.port) as client:
        payload = f'{{"origin": {{"name": "pulse-bridge"}}, "state_topic": "{state_topic}"}}'
        client._client.publish("homeassistant/device/x/config", payload, 1, retain=True).wait_for_publish(20)
        findings = await examine(f"mqtt://127.0.0.1:{broker.port}")
        assert not [finding for finding in findings if finding.cure]


async def test_a_device_whose_state_was_dropped_while_all_was_read_is_nobodys_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = mqtt_examine._Reader.read

    async def read_with_a_loss(reader: mqtt_examine._Reader, filters: Sequence[str]) -> list[str]:
        """As where the broker's queue is full: what it drops, it drops without a word."""
        refused = await read(reader, filters)
        assert reader.payloads.pop("pulse/node1/b/state")
        return refused

    monkeypatch.setattr(mqtt_examine._Reader, "read", read_with_a_loss)
    with Mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        events = [make_job_event(1, job="a", observed_ms=NOW_MS), make_job_event(2, job="b", observed_ms=NOW_MS)]
        await publish(broker, make_host_event(3, observed_ms=NOW_MS), *events, query="?homeassistant=true")
        assert not [one for one in await examine(url) if one.cure]
        with MqttListener(broker.port) as client:
            client._client.publish("pulse/node1/a/state", b"", 1, retain=True).wait_for_publish(20)
        found = the(await examine(url), "Home Assistant is told of 1 device that nobody publishes")
        assert await cure_of(found).apply() == f"1 retained topic removed from {url}"
        assert len(retained(broker.port, ["homeassistant/#"])) == 2
