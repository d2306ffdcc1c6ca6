"""What docs/doctor.md says is so."""

import re
from pathlib import Path
from typing import Any

from pulse_bridge.doctor import Examinable
from tests.support.examining import examination

DOC = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")


async def test_the_example_finds_what_it_says() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "doctor.md", "exec"), names)
    bus = names["MyBus"]()
    assert isinstance(bus, Examinable)
    found = [finding async for finding in bus.examine(examination(publishes=True))]
    assert [finding.level for finding in found] == ["fine", "problem"]
