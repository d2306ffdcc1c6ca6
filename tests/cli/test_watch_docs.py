"""docs/watch.md and the help know the same keys."""

import re
from pathlib import Path

from pulse_bridge.cli.watch_help import KEYS

DOC = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.*?`) \|", DOC, re.MULTILINE)
DOCUMENTED = {key for row in ROWS for key in re.findall(r"`([^`]+)`", row)}


def test_every_key_of_the_help_is_documented() -> None:
    assert {key for keys, _ in KEYS for key in keys.split()} <= DOCUMENTED


def test_every_documented_key_is_in_the_help_or_leads_there() -> None:
    assert DOCUMENTED - {key for keys, _ in KEYS for key in keys.split()} == {"?", "Ctrl-L", "Ctrl-C"}
