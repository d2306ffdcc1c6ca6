"""What can be configured, and that every mistake is one sentence without a secret."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pulse_bridge.errors import ConfigError
from pulse_bridge.subscriber import SubscriberUrl
from pulse_bridge_alerts.config import Alerts, read_alerts
from pulse_bridge_alerts.policy import DEFAULT_RULES, RULES, Match, Policy, Route, Silence

SECRET = "s3cr3t-T0KEN"
URL = f"tgram://{SECRET}/123?silent=yes&x=1"
INSTANT_MS = 1_790_000_000_000
EVERYTHING = """
repeat_interval = "4h"
group_s = 20
quiet_s = 300
forget_s = 200
timeout_s = 5
give_up_after_s = 60

[rules.stuck]
after_s = 600
[rules.host-silent]
after_s = 45
[rules.loss-spike]
factor = 5
window = 20
[rules.done]
enabled = false

[targets.phone]
notify = "tgram://TOKEN/123"
[targets.team]
webhook = "https://HOOK.example/x"

[[routes]]
name = "urgent"
rules = ["stale", "error"]
jobs = ["llm/*"]
hosts = ["node[0-3]"]
labels = { profile = "big*" }
targets = ["phone", "team"]
[[routes]]
targets = ["team"]

[[silences]]
rules = ["stuck"]
jobs = ["toy/*"]
until = 2026-09-21T16:13:20+02:00
[[silences]]
hosts = ["test*"]
"""


def read(text: str) -> Alerts:
    return read_alerts(SubscriberUrl.parse(text))


def write(folder: Path, text: str) -> str:
    path = folder / "alerts.toml"
    path.write_text(text, encoding="utf-8")
    return f"alerts?config={quote(str(path), safe='')}"


def test_one_url_is_enough() -> None:
    found = read(f"alerts?notify={quote(URL, safe='')}")
    (target,) = found.targets
    assert (target.name, target.kind, target.url, target.shown) == ("notify-1", "notify", URL, "tgram://***")
    assert found.policy == Policy(routes=(Route("all", ("notify-1",)),))
    assert found.policy.rules == DEFAULT_RULES
    assert found.name is None


def test_targets_are_repeatable_and_named_in_order() -> None:
    found = read("alerts?notify=json://h/a&webhook=http://h/b&notify=json://h/c&name=night")
    assert [target.name for target in found.targets] == ["notify-1", "notify-2", "webhook-1"]
    assert found.policy.routes == (Route("all", ("notify-1", "notify-2", "webhook-1")),)
    assert found.name == "night"


def test_urls_may_come_from_the_environment_and_from_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALERT_URLS", f"{URL}\n\n# a note\n  json://h/b  \n")
    hooks = tmp_path / "hooks"
    hooks.write_text("\ufeffhttps://h/c\r\n", encoding="utf-8")
    found = read(f"alerts?notify_env=ALERT_URLS&webhook_file={hooks}")
    assert [target.url for target in found.targets] == [URL, "json://h/b", "https://h/c"]


def test_every_option_arrives_in_the_policy() -> None:
    found = read(
        "alerts?notify=json://h&rules=stale,loss-spike&stuck_after_s=60&host_silent_after_s=50&loss_spike_factor=4"
        "&repeat_interval=90m&jobs=llm/*&jobs=vit&hosts=n*&silence=toy/*@2026-09-21T14:13:20Z&silence=host:test*"
        "&silence=a@b&group_s=1&quiet_s=2&forget_s=3&timeout_s=4"
    )
    assert found.policy == Policy(
        routes=(Route("all", ("notify-1",), match=Match(("llm/*", "vit"), ("n*",))),),
        rules=frozenset({"stale", "loss-spike"}),
        silences=(
            Silence(Match(jobs=("toy/*",)), until_ms=INSTANT_MS),
            Silence(Match(hosts=("test*",))),
            Silence(Match(jobs=("a@b",))),
        ),
        stuck_after_s=60,
        host_silent_after_s=50,
        loss_spike_factor=4,
        repeat_s=5400,
        group_s=1,
        quiet_s=2,
        forget_s=3,
    )
    assert found.timeout_s == 4


def test_the_file_expresses_everything(tmp_path: Path) -> None:
    found = read(write(tmp_path, EVERYTHING))
    assert [(target.name, target.kind) for target in found.targets] == [("phone", "notify"), ("team", "webhook")]
    assert found.policy == Policy(
        routes=(
            Route(
                "urgent",
                ("phone", "team"),
                frozenset({"stale", "error"}),
                Match(("llm/*",), ("node[0-3]",), {"profile": "big*"}),
            ),
            Route("team", ("team",)),
        ),
        rules=frozenset(RULES) - {"done"},
        silences=(
            Silence(Match(jobs=("toy/*",)), frozenset({"stuck"}), INSTANT_MS),
            Silence(Match(hosts=("test*",))),
        ),
        stuck_after_s=600,
        host_silent_after_s=45,
        loss_spike_factor=5,
        loss_spike_window=20,
        repeat_s=4 * 3600,
        group_s=20,
        quiet_s=300,
        forget_s=200,
    )
    assert found.timeout_s == 5


def test_an_option_wins_over_the_file(tmp_path: Path) -> None:
    found = read(write(tmp_path, EVERYTHING) + "&repeat_interval=off&stuck_after_s=9&rules=error&timeout_s=1")
    assert (found.policy.repeat_s, found.policy.stuck_after_s, set(found.policy.rules)) == (None, 9, {"error"})
    assert found.timeout_s == 1


def test_who_sets_the_threshold_of_a_rule_wants_the_rule(tmp_path: Path) -> None:
    target = '[targets.a]\nnotify = "json://h"\n'
    assert "loss-spike" in read(write(tmp_path, f"{target}[rules.loss-spike]\nfactor = 4")).policy.rules
    assert "loss-spike" in read("alerts?notify=json://h&loss_spike_factor=4").policy.rules
    off = read(write(tmp_path, f"{target}[rules.loss-spike]\nfactor = 4\nenabled = false"))
    assert "loss-spike" not in off.policy.rules


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("alerts", r"^alerts: there is no target: give notify=URL or webhook=URL"),
        ("alerts?notify=" + SECRET, r"^alerts: notify: that is no URL; it begins with a scheme"),
        (f"alerts?notify=json://h&notify={SECRET}", r"^alerts: notify: that is no URL"),
        (f"alerts?rulez=x&notify={SECRET}:/x", r"^alerts: notify: that is no URL"),
        (f"alerts?notify=json://h&webhook=ftp://{SECRET}", r"^alerts: webhook: ftp://\*\*\* is no webhook"),
        (f"alerts?webhook=tgram://{SECRET}/1", r"^alerts: webhook: tgram://\*\*\* is no webhook: write http://"),
        (f"alerts?webhook=http://{SECRET}:99999/1", r"^alerts: webhook: http://\*\*\* is no webhook"),
        ("alerts?notify_env=NOT_SET_AT_ALL", r"notify_env: the environment variable NOT_SET_AT_ALL is not set"),
        ("alerts?notify_file=/none/at/all", r"notify_file: the file /none/at/all cannot be read: No such file"),
        ("alerts?config=/none/a.toml", r"^the alerts file /none/a\.toml is not there"),
        (f"alerts?notfy={SECRET}://x", r"unknown option 'notfy'; known are: config, dead_letters, .*notify"),
        (
            "alerts?notify=json://h&rules=stale,stail",
            r"^alerts: rules: there is no rule 'stail'; known are: stale",
        ),
        (
            "alerts?notify=json://h&repeat_interval=4",
            r"^alerts: repeat_interval: '4' is no interval.*write 30m, 4h",
        ),
        ("alerts?notify=json://h&repeat_interval=5s", r"no interval of a minute or more"),
        ("alerts?notify=json://h&silence=a@2026-01-01", r"silence: '2026-01-01' is no instant with a zone"),
        ("alerts?notify=json://h&silence=host:", r"silence: 'host:' names nothing"),
        ("alerts?notify=json://h&stuck_after_s=-1", r"option 'stuck_after_s': .*greater than 0"),
        ("alerts?notify=json://h&timeout_s=1&timeout_s=2", r"the option 'timeout_s' stands there twice"),
    ],
)
def test_a_mistake_in_the_options_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        read(text)
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


TARGET = f'[targets.a]\nnotify = "tgram://{SECRET}/1"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = [", r"alerts\.toml: no TOML: "),
        ("tagets = 1", r"alerts\.toml: there is no key 'tagets'; known are: dead_letters, .*targets"),
        ("targets = 1", r"alerts\.toml: key 'targets': it is a table; write \[targets\]"),
        ("[targets]\na = 1", r"\[targets\.a\]: that is no table but a int"),
        (
            f'[targets.a]\nnotfy = "{SECRET}"',
            r"\[targets\.a\]: there is no key 'notfy'; known are: notify, notify_env",
        ),
        (f'{TARGET}webhook = "{SECRET}"', r"\[targets\.a\]: a target has exactly one of: notify, notify_env"),
        ("[targets.a]", r"\[targets\.a\]: a target has exactly one of"),
        (f'[targets.a]\nnotify = "{SECRET}"', r"\[targets\.a\]: notify: that is no URL"),
        (f'[targets.a]\nnotify = ["{SECRET}"]', r"\[targets\.a\]: key 'notify': .*string"),
        ('[targets.a]\nwebhook_env = "NOT_SET"', r"\[targets\.a\]: webhook_env: the environment variable NOT_SET"),
        (f"{TARGET}[rules.stail]\nenabled = true", r"\[rules\]: there is no rule 'stail'; known are: stale"),
        (
            f"{TARGET}[rules.stale]\nafter_s = 4",
            r"\[rules\.stale\]: there is no key 'after_s'; known are: enabled",
        ),
        (f"{TARGET}[rules.stuck]\nafter_s = 0", r"\[rules\.stuck\]: key 'after_s': .*greater than 0"),
        (f"{TARGET}[[routes]]\ntargets = ['b']", r"\[\[routes\]\] 1: there is no target 'b'; known are: a"),
        (f"{TARGET}[[routes]]\nrules = ['stale']", r"\[\[routes\]\] 1: the key 'targets' is missing"),
        (
            f"{TARGET}[[routes]]\ntargets = 'a'",
            r"\[\[routes\]\] 1: key 'targets': it is a list; write targets = \[",
        ),
        (f"{TARGET}[[routes]]\ntargets = ['a']\nrules = ['x']", r"\[\[routes\]\] 1: rules: there is no rule 'x'"),
        (
            f"{TARGET}[[routes]]\ntargets = ['a']\n[[routes]]\ntargets = ['a']",
            r"\[\[routes\]\] 2: there is another",
        ),
        (
            f"{TARGET}[targets.b]\nnotify='json://h'\n[[routes]]\ntargets = ['b']",
            r"no route leads to the target 'a'",
        ),
        (
            f"{TARGET}[[silences]]\nuntil = 2026-01-01",
            r"\[\[silences\]\] 1: key 'until'|until: the instant has no",
        ),
        (
            f"{TARGET}[[silences]]\nuntil = 2026-01-01T10:00:00",
            r"\[\[silences\]\] 1: until: the instant has no zone",
        ),
        (f"repeat_interval = '1w'\n{TARGET}", r"alerts\.toml: repeat_interval: '1w' is no interval"),
        (f"template = '/none.txt'\n{TARGET}", r"alerts\.toml: template: the file /none\.txt cannot be read"),
    ],
)
def test_a_mistake_in_the_file_names_file_key_and_remedy(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as error:
        read(write(tmp_path, text))
    assert "alerts.toml" in str(error.value)
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


def test_jobs_and_hosts_in_the_options_contradict_routes_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the routes in .*alerts\.toml say which jobs and hosts: leave out jobs="
    ):
        read(write(tmp_path, EVERYTHING) + "&jobs=a")


def test_a_named_target_has_one_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TWO", "json://h/a\njson://h/b")
    with pytest.raises(ConfigError, match=r"\[targets\.a\]: a target with a name has one URL, and there are 2"):
        read(write(tmp_path, '[targets.a]\nnotify_env = "TWO"'))


def test_a_variable_without_a_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "\n# nothing\n")
    with pytest.raises(ConfigError, match="the environment variable EMPTY holds no URL; write one a line"):
        read("alerts?notify_env=EMPTY")


def test_nothing_that_is_made_of_a_secret_shows_it(tmp_path: Path) -> None:
    found: list[Any] = [read(write(tmp_path, TARGET)), read(f"alerts?webhook=https://{SECRET}/x")]
    for alerts in found:
        for thing in (alerts, alerts.targets, alerts.make_delivery, alerts.make_delivery(), alerts.policy):
            assert SECRET not in repr(thing)
            assert SECRET not in str(thing)
        assert SECRET in alerts.targets[0].url


def test_the_file_for_what_is_not_delivered_is_the_group_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    paths = [
        str(read(f"alerts?notify=json://h{more}").make_delivery()._undelivered.path)
        for more in ("", "&name=a/b", "&dead_letters=/x.jsonl")
    ]
    assert paths == [
        "/state/pulse-bridge/alerts.undelivered.jsonl",
        "/state/pulse-bridge/a%2Fb.undelivered.jsonl",
        "/x.jsonl",
    ]
