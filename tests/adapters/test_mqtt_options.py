from pathlib import Path

import pytest

from pulse_bridge.bus import Bus, Query, open_bus
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.errors import ConfigError, HistoryUnsupportedError
from pulse_bridge_mqtt import MqttBus


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        MqttBus(BusUrl.parse(text))
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "mqtt+ws", "mqtt+wss"])
def test_the_scheme_opens_this_bus(scheme: str) -> None:
    bus: Bus = open_bus(f"{scheme}://broker")
    assert isinstance(bus, MqttBus)
    assert bus.name == "mqtt"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mqtt://broker/some/path", "has no path; for another topic prefix write ?prefix=NAME"),
        ("mqtt://", "names no broker"),
        ("mqtt://broker?prefix=Pulse", "option 'prefix': must be 1 to 12 of a-z, 0-9, '_' and '-'"),
        ("mqtt://broker?prefix=a%2Fb", "option 'prefix'"),
        ("mqtt://broker?prefix=", "option 'prefix'"),
        ("mqtt://broker?prefix=thirteen-char", "option 'prefix'"),
        ("mqtt://broker?version=4", "option 'version': Input should be '5' or '3.1.1'"),
        ("mqtt://broker?keepalive_s=1", "option 'keepalive_s'"),
        ("mqtt://broker?forget_after_s=0", "option 'forget_after_s'"),
        ("mqtt://broker?forget_after_s=inf", "option 'forget_after_s'"),
        ("mqtt://broker?qos=2", "unknown option 'qos'; known are: forget_after_s, group_store, homeassistant,"),
        ("mqtt://broker?session_expiry_s=0", "option 'session_expiry_s'"),
        ("mqtt://broker?group_store=", "option 'group_store': must be the path of a file, not of a folder"),
        ("mqtt://broker?group_store=/tmp", "option 'group_store': must be the path of a file, not of a folder"),
        ("mqtt+ws://broker?tls_insecure=true", "the tls options need TLS; write mqtt+wss://"),
        ("mqtts://broker?tls_ca=/nowhere/ca.pem", "option 'tls_ca': Path does not point to a file"),
        ("mqtt://broker?tls_insecure=true", "the tls options need TLS; write mqtts://"),
        (
            "mqtt://user@broker?password_file=/nowhere/password",
            "the password file /nowhere/password cannot be read",
        ),
        ("mqtt://user@broker?password_env=NOT_SET_ANYWHERE", "environment variable NOT_SET_ANYWHERE is not set"),
        ("mqtt://:secret@broker", "a password needs a user name; write mqtt://USER@HOST"),
    ],
)
def test_a_mistake_in_the_url_is_one_sentence_before_any_connection(text: str, words: str) -> None:
    sentence = refusal(text)
    assert words in sentence
    assert "secret" not in sentence
    assert "\n" not in sentence


def test_a_certificate_file_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    assert "the TLS files cannot be used" in refusal(f"mqtts://broker?tls_ca={file}")
    assert "tls_key needs the certificate" in refusal(f"mqtts://broker?tls_key={file}")


def test_no_text_of_a_bus_shows_its_secret() -> None:
    bus = MqttBus(BusUrl.parse("mqtt://user:hunter2@broker?prefix=lab"))
    assert "hunter2" not in f"{bus} {bus!r} {vars(bus)}"
    assert str(bus) == "mqtt://user:***@broker?prefix=lab"


def test_the_past_is_refused_with_a_sentence_that_says_where_it_is() -> None:
    bus = MqttBus(BusUrl.parse("mqtt://broker"))
    with pytest.raises(
        HistoryUnsupportedError,
        match=r"follow it from now on, the past is in the sidecar's journal \(journal:///PATH\) or in Redis",
    ):
        bus.history(Query())
