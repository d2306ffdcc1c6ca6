"""What a person reads, and what names and messages cannot do to it."""

import json
import time
import unicodedata
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pulse_bridge.errors import ConfigError
from pulse_bridge.event import State, to_json
from pulse_bridge.testing import SAMPLE_MS, make_job_event
from pulse_bridge_alerts.notice import Message, Notice
from pulse_bridge_alerts.outgoing import make_outgoing, make_test
from pulse_bridge_alerts.policy import RULES
from pulse_bridge_alerts.template import FIELDS, read_template
from pulse_bridge_alerts.text import MAX_BODY_CHARS, compose, defuse, span

CET = timezone(timedelta(hours=1), "CET")
NOW_MS = SAMPLE_MS + 12 * 60_000


def make_notice(**changes: Any) -> Notice:
    notice = Notice(
        incident="stale-0123",
        phase="open",
        rule="stale",
        host="node1",
        job="llm/run a",
        since_ms=SAMPLE_MS,
        at_ms=SAMPLE_MS + 65_000,
        detail="no sign of life for 65 s",
        event=to_json(make_job_event()),
    )
    return notice._replace(**changes)


def make_message(*notices: Notice, more: int = 0) -> Message:
    return Message("m1", "phone", notices or (make_notice(),), more)


def test_one_job_is_told_with_all_that_a_person_needs_at_night() -> None:
    text = compose(make_message(), NOW_MS, CET)
    assert text.title == "ALERT llm/run a on node1: no sign of life"
    assert text.body == (
        "no sign of life for 65 s\n"
        "Job: llm/run a\n"
        "Host: node1\n"
        "Since: 2026-09-21 15:13:20 CET (12 min ago)\n"
        "Epoch: 1.5 of 3 (50 %)\n"
        "Loss: 0.125\n"
        "Message: épique ✓ step 150/800\n"
        "Labels: profile=TRIZ Engineer\n"
        "Incident: stale-0123"
    )


def test_a_closing_says_how_long_it_lasted() -> None:
    text = compose(make_message(make_notice(phase="close", detail="running again")), NOW_MS, CET)
    assert text.title == "OK llm/run a on node1: alive again"
    assert "Since: 2026-09-21 15:13:20 CET, over at 2026-09-21 15:14:25 CET (after 65 s)" in text.body


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("gone", "OVER llm/run a on node1: no longer stale: its file is gone"),
        ("error", "OVER llm/run a on node1: no longer stale: it failed"),
        ("done", "OVER llm/run a on node1: no longer stale: it is done"),
        ("idle", "OK llm/run a on node1: alive again"),
    ],
)
def test_the_end_of_a_trouble_is_no_good_news_where_the_job_came_to_an_end(state: State, title: str) -> None:
    event = to_json(make_job_event(state=state))
    assert compose(make_message(make_notice(phase="close", event=event)), NOW_MS, CET).title == title


def test_the_zone_of_the_machine_is_named_where_none_is_given() -> None:
    zone = time.strftime("%Z", time.localtime(SAMPLE_MS / 1000))
    assert f" {zone} (12 min ago)" in compose(make_message(), NOW_MS).body


def test_a_host_has_no_epoch_and_no_job() -> None:
    text = compose(make_message(make_notice(rule="host-silent", job=None, event=None)), NOW_MS, CET)
    assert text.title == "ALERT node1: the sidecar is silent"
    assert "Epoch" not in text.body
    assert "Job" not in text.body


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("phase", ["open", "close", "flapping", "reminder"])
def test_every_rule_and_phase_has_words_of_its_own(rule: Any, phase: Any) -> None:
    title = compose(make_message(make_notice(rule=rule, phase=phase)), NOW_MS, CET).title
    assert title.split()[0] in {"ALERT", "OK", "FLAPPING", "STILL", "DONE"}
    assert title.isascii()


def test_a_done_job_is_no_alert() -> None:
    assert compose(make_message(make_notice(rule="done")), NOW_MS).title == "DONE llm/run a on node1: done"


def test_a_loss_that_is_not_finite_is_said_to_be_so() -> None:
    event = to_json(make_job_event(loss=None, diverged=True))
    assert "Loss: NaN or infinite" in compose(make_message(make_notice(event=event)), NOW_MS).body


def test_a_group_lists_the_first_ten_and_counts_the_rest() -> None:
    notices = [make_notice(job=f"job{number:02}") for number in range(64)]
    text = compose(make_message(*notices), NOW_MS, CET)
    lines = text.body.splitlines()
    assert text.title == "ALERT 64 jobs on node1: no sign of life"
    assert len(lines) == 11
    assert lines[0] == (
        "- job00 on node1: no sign of life for 65 s, since 2026-09-21 15:13:20 CET (12 min ago),"
        " epoch 1.5 of 3, loss 0.125"
    )
    assert lines[-1] == "and 54 more"


def test_what_the_message_does_not_list_is_counted_too() -> None:
    text = compose(make_message(make_notice(), make_notice(host="node2"), more=900), NOW_MS)
    assert text.title == "ALERT 902 jobs on several hosts: no sign of life"
    assert text.body.splitlines()[-1] == "and 900 more"


def test_hosts_are_counted_as_hosts() -> None:
    silent = make_notice(rule="host-silent", job=None, event=None)
    assert compose(make_message(silent, silent._replace(host="node2")), NOW_MS).title.startswith("ALERT 2 hosts:")


def test_the_length_is_bounded_whatever_the_names() -> None:
    notice = make_notice(
        job="j" * 5000,
        host="h" * 5000,
        detail="d" * 5000,
        event=to_json(make_job_event(message="m" * 4096, labels={f"k{n}": "v" * 200 for n in range(50)})),
    )
    for message in (make_message(notice), make_message(*[notice] * 100, more=10_000)):
        text = compose(message, NOW_MS, CET)
        assert len(text.body) <= MAX_BODY_CHARS
        assert len(text.title) <= 300


HOSTILE = "a\nSince: never\r\x1b[31m\x00\u202e\u2028`code`<!channel><@U1> @everyone [x](http://evil) ```"


def test_names_and_messages_begin_no_line_make_no_link_and_call_nobody() -> None:
    event = to_json(make_job_event(message=HOSTILE, labels={"l": HOSTILE}))
    notice = make_notice(job=HOSTILE, host=HOSTILE, detail=HOSTILE, event=event)
    plain = compose(make_message(), NOW_MS, CET)
    for message in (make_message(notice), make_message(notice, notice)):
        text = compose(message, NOW_MS, CET)
        assert "\n" not in text.title
        everything = text.title + text.body.replace("\n", "")
        assert not {unicodedata.category(character) for character in everything} & {"Cc", "Cf", "Zl", "Zp"}
        for harm in ("`", "<", ">", "@", "]("):
            assert harm not in everything
    assert len(compose(make_message(notice), NOW_MS, CET).body.splitlines()) == len(plain.body.splitlines())


def test_what_is_harmless_stays_as_it_is() -> None:
    assert defuse("all@everyone: 7@here") == "all(at)everyone: 7(at)here", "some services call all of them, too"
    assert defuse("epoch 2/3 [step 150/800], mail a@b.org, 50% & more") == (
        "epoch 2/3 [step 150/800], mail a@b.org, 50% & more"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (65, "65 s"), (720, "12 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (90_000, "1 d 1 h")],
)
def test_a_span_has_the_two_units_that_matter(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_an_event_that_cannot_be_read_is_left_out_and_the_rest_told() -> None:
    body = compose(make_message(make_notice(event='{"kind": "novel"}')), NOW_MS).body
    assert "Epoch" not in body
    assert "Job: llm/run a" in body


def test_the_webhook_has_everything_uncut_and_as_it_was_written() -> None:
    message = make_message(make_notice(job=HOSTILE), make_notice(job=None, event=None, rule="stale"), more=3)
    payload = make_outgoing(message, compose(message, NOW_MS, CET)).payload
    assert json.loads(json.dumps(payload)) == payload
    assert {key: payload[key] for key in ("schema", "id", "target", "rule", "phase", "more")} == {
        "schema": "pulse-bridge.alert/1",
        "id": "m1",
        "target": "phone",
        "rule": "stale",
        "phase": "open",
        "more": 3,
    }
    job, host = payload["incidents"]
    assert job == {
        "incident": "stale-0123",
        "host": "node1",
        "job": HOSTILE,
        "since": "2026-09-21T14:13:20.123Z",
        "at": "2026-09-21T14:14:25.123Z",
        "detail": "no sign of life for 65 s",
        "run": 1_790_000_000,
        "state": "running",
        "epoch": 1.5,
        "total_epochs": 3,
        "progress": 50.0,
        "loss": 0.125,
        "diverged": False,
        "message": "épique ✓ step 150/800",
        "labels": {"profile": "TRIZ Engineer"},
    }
    assert set(host) == set(job)
    assert host["job"] is None
    assert host["epoch"] is None


@pytest.mark.parametrize(
    ("rule", "phase", "severity"),
    [("stale", "open", "failure"), ("stale", "close", "success"), ("done", "open", "success"),
     ("stuck", "flapping", "warning"), ("stuck", "reminder", "warning")],
)  # fmt: skip
def test_the_severity_follows_from_rule_and_phase(rule: Any, phase: Any, severity: str) -> None:
    message = make_message(make_notice(rule=rule, phase=phase))
    assert make_outgoing(message, compose(message, NOW_MS)).severity == severity


def test_a_test_message_says_so_and_has_the_keys_of_a_real_one() -> None:
    message = make_message()
    test = make_test("t1", "phone")
    assert test.title.startswith("TEST")
    assert set(test.payload) == set(make_outgoing(message, compose(message, NOW_MS)).payload)


def write(folder: Path, text: str) -> Path:
    path = folder / "alert.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_template_replaces_title_and_body(tmp_path: Path) -> None:
    path = write(tmp_path, "$subject: $what\n$job/$host $since\n${epoch} loss=$loss cost 5 $$\n")
    text = read_template(path, "alerts: template")(make_message(), NOW_MS, CET)
    assert text.title == "llm/run a on node1: no sign of life"
    assert text.body == ("llm/run a/node1 2026-09-21 15:13:20 CET (12 min ago)\n1.5 of 3 loss=0.125 cost 5 $")


def test_a_template_may_use_every_field_for_jobs_hosts_and_groups(tmp_path: Path) -> None:
    path = write(tmp_path, "t\n" + "".join(f"{name}=${name};" for name in FIELDS))
    composer = read_template(path, "alerts: template")
    single = composer(make_message(), NOW_MS, CET).body
    assert "=;" not in single
    group = composer(make_message(make_notice(), make_notice(), more=2), NOW_MS, CET).body
    assert "count=4;" in group
    assert "job=;" in group
    assert composer(make_message(make_notice(job=None, event=None)), NOW_MS, CET)


def test_a_name_with_a_placeholder_in_it_is_no_template(tmp_path: Path) -> None:
    composer = read_template(write(tmp_path, "$job\n$message\n"), "alerts: template")
    event = to_json(make_job_event(message="$host ${loss} {0.__class__}"))
    text = composer(make_message(make_notice(job="$host", event=event)), NOW_MS)
    assert (text.title, text.body) == ("$host", "$host ${loss} {0.__class__}")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("$jab\nx\n", r"alerts: template: .*alert\.txt: there is no placeholder \$jab; known are: title, body"),
        ("x\n100 $\n", r"a '\$' begins no placeholder; write '\$\$'"),
        ("only a title\n", "needs a title in its first line and a text below it"),
        ("\nonly a body\n", "needs a title in its first line and a text below it"),
    ],
)
def test_a_template_with_a_mistake_is_refused_at_the_start(tmp_path: Path, source: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_template(write(tmp_path, source), "alerts: template")


def test_a_template_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"alerts: template: the file .*none\.txt cannot be read: No such file"):
        read_template(tmp_path / "none.txt", "alerts: template")
