"""What docs/alerts.md says is so."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from pulse_bridge.cli import cli
from pulse_bridge.event import to_json
from pulse_bridge.subscriber import SubscriberUrl
from pulse_bridge.testing import SAMPLE_MS, make_job_event
from pulse_bridge_alerts.config import read_alerts
from pulse_bridge_alerts.notice import Message, Notice
from pulse_bridge_alerts.options import AlertsOptions, FileTable
from pulse_bridge_alerts.outgoing import make_outgoing
from pulse_bridge_alerts.policy import RULES
from pulse_bridge_alerts.template import FIELDS, read_template
from pulse_bridge_alerts.text import compose
from tests.adapters.test_alerts_text import CET, NOW_MS

DOC = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
MESSAGE = Message(
    "m1",
    "phone",
    [
        Notice(
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
    ],
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


def test_the_file_is_valid_and_uses_every_key_at_its_top(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    path = tmp_path / "alerts.toml"
    path.write_text(block, encoding="utf-8")
    policy = read_alerts(SubscriberUrl("alerts", {"config": [str(path)]})).policy
    assert [route.name for route in policy.routes] == ["at night", "team"]
    for key in FileTable.model_fields:
        assert re.search(rf"^(# )?{key} = |^\[+{key}\b", block, re.MULTILINE), key


def test_the_message_is_what_is_sent() -> None:
    (block,) = blocks("text")
    text = compose(MESSAGE, NOW_MS, CET)
    assert block == f"{text.title}\n\n{text.body}\n"


def test_the_webhook_gets_what_is_shown() -> None:
    (block,) = blocks("json")
    shown: dict[str, Any] = json.loads(block)
    sent = dict(make_outgoing(MESSAGE, compose(MESSAGE, NOW_MS, CET)).payload)
    assert sent.pop("body").startswith(shown.pop("body").rstrip("…"))
    assert sent == shown


def test_every_field_of_a_template_has_its_row() -> None:
    for name, meaning in FIELDS.items():
        assert f"| `{name}` | {meaning} |" in DOC


def test_the_template_is_valid(tmp_path: Path) -> None:
    (block,) = blocks("template")
    path = tmp_path / "alert.txt"
    path.write_text(block, encoding="utf-8")
    assert read_template(path, "docs")(MESSAGE, NOW_MS, CET).body.endswith("for what to do.")


def test_every_rule_and_option_is_named() -> None:
    for name in (*RULES, *AlertsOptions.model_fields):
        assert f"`{name}`" in DOC, name


@pytest.mark.parametrize(
    "line", [line for block in blocks("sh") for line in block.splitlines() if line.startswith("pulse-bridge")]
)
def test_the_commands_are_understood(line: str) -> None:
    command: click.Command | None = cli
    words = shlex.split(line)[1:]
    context = click.Context(cli)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    assert command is not None
    command.make_context("docs", list(words))
    for word in words:
        if word.startswith("alerts?"):
            assert read_alerts(SubscriberUrl.parse(word)).targets
