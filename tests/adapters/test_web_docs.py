"""What docs/web.md says of the page is so."""

import re
from pathlib import Path

from pulse_bridge_web.history import MOST_CHARACTERS
from pulse_bridge_web.hub import FRAME_S
from pulse_bridge_web.openapi import make_document
from pulse_bridge_web.options import WebOptions
from pulse_bridge_web.pieces import UNDER_WAY_BYTES
from pulse_bridge_web.stream import DROP_S
from pulse_bridge_web.views import SPARK_POINTS

DOC = (Path(__file__).parents[2] / "docs" / "web.md").read_text(encoding="utf-8")


def test_every_option_is_told_with_its_default() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| (\S*) ?\|", DOC, re.MULTILINE))
    assert set(told) == set(WebOptions.model_fields)
    for name, info in WebOptions.model_fields.items():
        if name != "name":
            assert told[name] == str(info.default or ""), name


def test_every_path_is_told() -> None:
    told = re.findall(r"^\| `(/\S+)` \|", DOC, re.MULTILINE)
    assert sorted(told) == sorted(path.format(host="HOST", job="JOB") for path in make_document("")["paths"])


def test_the_figures_are_the_program_s() -> None:
    assert FRAME_S == 1 / 4
    assert "four times a second at most" in DOC
    assert f"takes nothing for {DROP_S:g} s is dropped" in DOC
    assert f"longer than {MOST_CHARACTERS // 2**20} Mi characters together" in DOC
    assert f"more than {UNDER_WAY_BYTES // 2**20} MiB of the\npast" in DOC
    assert f"up to {SPARK_POINTS} of the run's newest" in DOC
