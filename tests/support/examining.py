"""What a bus finds when it looks at itself, for a test."""

import time
from typing import Any

from pulse_bridge.bus import open_bus
from pulse_bridge.doctor import Examination, Finding, examine_bus


def examination(**changes: Any) -> Examination:
    """Make one of a machine on which no sidecar has ever run."""
    fields: dict[str, Any] = {
        "subject": "the bus",
        "host": "node1",
        "owner": None,
        "running": False,
        "sidecar_pid": None,
        "jobs": None,
        "publishes": True,
        "wall_s": time.time(),
    }
    return Examination(**(fields | changes))


async def examine(url: str, **changes: Any) -> list[Finding]:
    """Have the bus of a URL look at itself."""
    return [finding async for finding in examine_bus(open_bus(url), examination(**changes))]


def problems(findings: list[Finding]) -> list[Finding]:
    """Give what is wrong; each says what to do."""
    assert all(finding.remedy for finding in findings if finding.level != "fine")
    return [finding for finding in findings if finding.level == "problem"]


def the(findings: list[Finding], part: str) -> Finding:
    """Give the one finding whose sentence has a part."""
    found = [finding for finding in findings if part in finding.sentence]
    assert len(found) == 1, (part, findings)
    return found[0]
