"""What the doctor makes of facts that cannot be made on every machine: network file systems."""

from collections.abc import Mapping

import pytest

from pulse_bridge.doctor import Finding
from pulse_bridge.doctor_files import FileFacts, LookFacts, check_files
from pulse_bridge.mounts import Mounts
from pulse_bridge.pulse import Pulse
from pulse_bridge.watch_paths import parse_paths

PATH = "/data/runs/a/training_status.json"
PULSE = Pulse("running", 1, 3, 0.5, False, "", 1_790_000_000)  # noqa: FBT003 - a record


def findings(fs_type: str, options: Mapping[str, str], stale_after_s: float = 60) -> list[Finding]:
    look = LookFacts(
        targets={"/data/runs": parse_paths(["/data/runs"])[0]},
        files=[FileFacts("a", PATH, PULSE, written_at_s=1_790_000_000.5)],
        mounts=Mounts({"/": "ext4", "/data": fs_type}, {"/data": options}),
    )
    return list(check_files(look, real_paths={}, stale_after_s=stale_after_s, wall_s=1_790_000_001))


@pytest.mark.parametrize(
    ("options", "stale_after_s", "delay_s"),
    [
        ({}, 60, 60),  # nfs(5): the defaults are not shown
        ({"acregmax": "120"}, 90, 120),
        ({"acregmax": "5", "acdirmax": "300"}, 299, 300),
        ({"acregmax": "5", "acdirmax": "5"}, 60, None),
        ({"noac": ""}, 60, None),
        ({}, 61, None),
    ],
)
def test_an_nfs_cache_that_outlasts_the_threshold_calls_for_a_larger_one(
    options: Mapping[str, str], stale_after_s: float, delay_s: int | None
) -> None:
    found = [one for one in findings("nfs4", options, stale_after_s) if "/data is nfs4" in one.sentence]
    (finding,) = found
    assert finding.level == "advice"
    if delay_s is None:
        assert "polled" in finding.sentence
    else:
        assert f"as it was {delay_s} s ago" in finding.sentence
        assert f"set stale_after_s to {2 * delay_s} or more" in finding.remedy


@pytest.mark.parametrize("fs_type", ["cifs", "fuse.sshfs", "9p"])
def test_other_file_systems_without_hints_are_polled_and_that_is_told_once(fs_type: str) -> None:
    assert [one.level for one in findings(fs_type, {})] == ["fine", "advice"]


def test_a_local_file_system_needs_no_word() -> None:
    assert [one.level for one in findings("xfs", {})] == ["fine"]


def test_a_search_that_does_not_end_is_a_problem() -> None:
    look = LookFacts(targets={"/d": parse_paths(["/d"])[0]}, files=[], complete=False)
    found = list(check_files(look, real_paths={}, stale_after_s=60, wall_s=0))
    assert {one.level for one in found} == {"problem"}
    assert "a file server does not answer" in found[0].sentence
