"""What a watcher sees: with hints alone, where polling could not explain it, and with polling alone."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulse_bridge import watch_file
from pulse_bridge.errors import ConfigError
from pulse_bridge.pulse import MAX_FILE_BYTES
from pulse_bridge.watch import Sighting, Watcher
from tests.support.processes import wait_until
from tests.support.watching import HINTS_ONLY, NEVER_S, POLLS_ONLY, Seen, watching, write

BOTH_WAYS = pytest.mark.parametrize("options", [HINTS_ONLY, POLLS_ONLY], ids=["hints", "polls"])


async def test_what_is_there_at_the_start_has_been_given_when_ready_is_set(tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        write(tmp_path / name, name)
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        assert [(sighting.job, seen.message(sighting.job)) for sighting in seen.sightings] == [
            ("b/c", "b/c"),
            ("a", "a"),
        ]


async def test_a_file_that_is_named_and_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    async with watching(tmp_path / "x.json", **HINTS_ONLY) as seen:
        assert seen.sightings == [Sighting("x", str(tmp_path / "x.json"), None, {})]


@BOTH_WAYS
async def test_a_replaced_file_is_seen(tmp_path: Path, options: dict[str, Any]) -> None:
    file = write(tmp_path, "one")
    async with watching(file, **options) as seen:
        write(tmp_path, "two")
        await seen.until(tmp_path.name, "two")


@BOTH_WAYS
async def test_a_file_rewritten_in_place_is_seen(tmp_path: Path, options: dict[str, Any]) -> None:
    file = write(tmp_path, "one")
    async with watching(file, **options) as seen:
        file.write_text(file.read_text().replace("one", "two"))
        await seen.until(tmp_path.name, "two")


@BOTH_WAYS
async def test_a_deleted_file_is_told_once_and_may_come_back(tmp_path: Path, options: dict[str, Any]) -> None:
    file = write(tmp_path / "a", "one")
    async with watching(tmp_path, **options) as seen:
        file.unlink()
        await seen.until_gone("a")
        write(tmp_path / "a", "one")
        await seen.until("a", "one")
    assert [pulse and pulse.message for pulse in seen.of("a")] == ["one", None, "one"]


@BOTH_WAYS
async def test_a_file_in_a_new_folder_is_found(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watching(tmp_path, **options) as seen:
        write(tmp_path / "deep/er/still", "hello")
        await seen.until("deep/er/still", "hello")


@BOTH_WAYS
async def test_a_folder_moved_in_whole_is_found(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "out/run/deep", "hello")
    async with watching(tmp_path / "in", **options) as seen:
        (tmp_path / "out/run").rename(tmp_path / "in/run")
        await seen.until("run/deep", "hello")


@BOTH_WAYS
async def test_a_path_whose_folders_do_not_exist_yet_is_found(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watching(f"late={tmp_path}/p/q/status.json", tmp_path / "r/s", **options) as seen:
        write(tmp_path / "p/q/status.json", "file")
        write(tmp_path / "r/s/t", "folder")
        await seen.until("late", "file")
        await seen.until("t", "folder")


@BOTH_WAYS
async def test_a_folder_moved_away_and_back_keeps_its_jobs_names(tmp_path: Path, options: dict[str, Any]) -> None:
    write(tmp_path / "runs/a/b", "one")
    async with watching(tmp_path / "runs", **options) as seen:
        (tmp_path / "runs/a").rename(tmp_path / "away")
        await seen.until_gone("a/b")
        (tmp_path / "away").rename(tmp_path / "runs/a")
        await seen.until("a/b", "one")
        write(tmp_path / "runs/a/b", "two")
        await seen.until("a/b", "two")


@BOTH_WAYS
async def test_a_watched_root_deleted_and_made_again_works_again(tmp_path: Path, options: dict[str, Any]) -> None:
    root = tmp_path / "up/runs"
    write(root / "a", "one")
    async with watching(root, f"named={root}/x.json", **options) as seen:
        for number in range(3):
            shutil.rmtree(tmp_path / "up")
            await seen.until_gone("a")
            write(root / "a", f"again {number}")
            write(root / "x.json", f"x {number}")
            await seen.until("a", f"again {number}")
            await seen.until("named", f"x {number}")


async def test_a_root_moved_away_is_no_longer_followed_where_it_went(tmp_path: Path) -> None:
    write(tmp_path / "runs/a", "one")
    async with watching(tmp_path / "runs", **HINTS_ONLY) as seen:
        (tmp_path / "runs").rename(tmp_path / "archive")
        await seen.until_gone("a")
        write(tmp_path / "archive/a", "elsewhere")
        write(tmp_path / "runs/b", "here")
        await seen.until("b", "here")
        assert seen.is_gone("a")


async def test_a_folder_above_the_root_moved_away_is_noticed_by_the_next_search(tmp_path: Path) -> None:
    write(tmp_path / "top/mid/runs/a", "one")
    options = HINTS_ONLY | {"search_s": 0.05}
    async with watching(tmp_path / "top/mid/runs", **options) as seen:
        (tmp_path / "top").rename(tmp_path / "elsewhere")
        await seen.until_gone("a")
        write(tmp_path / "top/mid/runs/a", "two")
        await seen.until("a", "two")
        write(tmp_path / "elsewhere/mid/runs/a", "of another")
        write(tmp_path / "top/mid/runs/a", "three")
        await seen.until("a", "three")
    assert "of another" not in [pulse.message for pulse in seen.of("a") if pulse]


async def test_no_folder_made_and_filled_at_once_is_missed_by_hints_alone(tmp_path: Path) -> None:
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        for number in range(200):
            write(tmp_path / f"run{number}" / "deep", str(number))
            if number % 7 == 0:
                await asyncio.sleep(0)
        names = {f"run{number}/deep" for number in range(200)}
        await wait_until(lambda: names == {sighting.job for sighting in seen.sightings}, "all 200 are found")


async def test_more_new_folders_than_one_hint_may_search_are_all_found(tmp_path: Path) -> None:
    for number in range(300):
        write(tmp_path / f"out/run{number}", "x")
    (tmp_path / "in").mkdir()
    async with watching(tmp_path / "in", **HINTS_ONLY) as seen:
        (tmp_path / "out").rename(tmp_path / "in/out")
        await wait_until(lambda: len(seen.sightings) == 300, "all 300 are found")


@BOTH_WAYS
async def test_a_glob_finds_what_matches_and_nothing_else(tmp_path: Path, options: dict[str, Any]) -> None:
    write(tmp_path / "runs/exp1/status.json", "one")
    async with watching(f"{tmp_path}/runs/exp*/status.json", **options) as seen:
        write(tmp_path / "runs/other/status.json", "no")
        write(tmp_path / "runs/exp2/deep/status.json", "no")
        write(tmp_path / "runs/exp2/status.json", "two")
        await wait_until(lambda: len(seen.sightings) == 2, "both are found")
    assert [sighting.path for sighting in seen.sightings] == [
        f"{tmp_path}/runs/exp1/status.json",
        f"{tmp_path}/runs/exp2/status.json",
    ]


async def test_a_glob_with_two_stars_goes_down_any_number_of_folders(tmp_path: Path) -> None:
    async with watching(f"{tmp_path}/**/pulse.json", **HINTS_ONLY) as seen:
        write(tmp_path / "pulse.json", "top")
        write(tmp_path / "a/b/c/pulse.json", "deep")
        write(tmp_path / ".hidden/pulse.json", "no")
        await wait_until(lambda: len(seen.sightings) == 2, "both are found")


async def test_a_glob_that_matches_folders_searches_them(tmp_path: Path) -> None:
    async with watching(f"{tmp_path}/*", **HINTS_ONLY) as seen:
        (tmp_path / "notes.txt").write_text("no pulse")
        write(tmp_path / "run/a", "folder")
        write(tmp_path / "b.json", "file")
        await seen.until("run/a", "folder")
        await seen.until("b", "file")
        assert len(seen.sightings) == 2


async def test_one_file_found_in_several_ways_is_one_job(tmp_path: Path) -> None:
    file = write(tmp_path / "a", "one")
    paths: list[str | Path] = [tmp_path, f"mine={file}", file, f"{tmp_path}/*/training_status.json"]
    async with watching(*paths, **HINTS_ONLY) as seen:
        write(tmp_path / "a", "two")
        await seen.until("mine", "two")
    assert [pulse and pulse.message for pulse in seen.of("mine")] == ["one", "two"]
    assert len(seen.sightings) == 2


async def test_links_make_neither_loops_nor_a_second_job(tmp_path: Path) -> None:
    write(tmp_path / "runs/z", "one")
    (tmp_path / "runs/latest").symlink_to("z")
    (tmp_path / "runs/z/loop").symlink_to("..")
    async with watching(tmp_path / "runs", **HINTS_ONLY) as seen:
        write(tmp_path / "runs/z", "two")
        await seen.until("z", "two")
    assert {sighting.job for sighting in seen.sightings} == {"z"}


async def test_a_link_to_a_folder_elsewhere_is_followed_also_when_it_comes_later(tmp_path: Path) -> None:
    write(tmp_path / "big/a", "one")
    (tmp_path / "runs").mkdir()
    async with watching(tmp_path / "runs", **HINTS_ONLY) as seen:
        (tmp_path / "runs/out").symlink_to(tmp_path / "big")
        await seen.until("out/a", "one")
        write(tmp_path / "big/a", "two")
        await seen.until("out/a", "two")


async def test_hidden_folders_are_not_searched(tmp_path: Path) -> None:
    write(tmp_path / ".git/a", "no")
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        write(tmp_path / ".cache/b", "no")
        write(tmp_path / "c", "yes")
        await seen.until("c", "yes")
    assert {sighting.job for sighting in seen.sightings} == {"c"}


async def test_the_second_file_of_a_name_gets_its_path_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y"):
        write(tmp_path / name / "status.json", name)
    async with watching("x/status.json", "y/status.json", **HINTS_ONLY) as seen:
        assert {sighting.job for sighting in seen.sightings} == {"status", "y/status"}
    assert len([record for record in caplog.records if "one job name" in record.message]) == 1


def labels_of(seen: Seen, job: str) -> dict[str, str]:
    last = seen.last(job)
    return dict(last.labels) if last is not None else {}


@BOTH_WAYS
async def test_labels_come_from_the_context_beside_the_file_and_follow_it(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    write(tmp_path / "a", "one")
    context = tmp_path / "a/training_context.json"
    context.write_text('{"profile": "TRIZ Engineer"}')
    async with watching(tmp_path, **options) as seen:
        assert labels_of(seen, "a") == {"profile": "TRIZ Engineer"}
        context.write_text('{"profile": "other", "rank": 8}')
        await wait_until(lambda: labels_of(seen, "a") == {"profile": "other", "rank": "8"}, "new labels")
        context.unlink()
        await wait_until(lambda: labels_of(seen, "a") == {}, "no labels")
    assert {pulse and pulse.message for pulse in seen.of("a")} == {"one"}


async def test_a_broken_context_costs_labels_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a", "one")
    (tmp_path / "a/training_context.json").write_text("{")
    async with watching(tmp_path, **POLLS_ONLY) as seen:
        write(tmp_path / "a", "two")
        await seen.until("a", "two")
        assert labels_of(seen, "a") == {}
    assert len([record for record in caplog.records if "context" in record.message]) == 1


async def test_a_half_written_file_is_no_malformed_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path, "one")
    async with watching(file, **HINTS_ONLY) as seen:
        whole = file.read_text().replace("one", "two")
        with file.open("w") as half:
            half.write(whole[:50])
        await asyncio.sleep(0)
        with file.open("a") as half:
            half.write(whole[50:])
        await seen.until(tmp_path.name, "two")
        assert seen.watcher.malformed == 0
    assert caplog.records == []


@BOTH_WAYS
async def test_a_malformed_file_keeps_its_last_state_is_counted_and_told_once(
    tmp_path: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "a", "one")
    async with watching(tmp_path, **options) as seen:
        file.write_text(file.read_text().replace("1.5", "NaN"))
        await seen.until_malformed(1)
        assert seen.watcher.look("a") is None
        assert seen.message("a") == "one"
        write(tmp_path / "a", "two")
        await seen.until("a", "two")
        assert seen.watcher.malformed == 0
        file.write_text("[]")
        await seen.until_malformed(1)
        file.unlink()
        await seen.until_gone("a")
        assert seen.watcher.malformed == 0
    told = [(vars(record)["path"], vars(record)["field"], vars(record)["reason"]) for record in caplog.records]
    assert told == [(str(file), "epoch", "is not finite"), (str(file), None, "input should be an object")]


@BOTH_WAYS
async def test_a_file_that_has_long_been_malformed_is_told_and_not_read_for_ever(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_file, "RACY_NS", -(10**15))  # every file is old
    file = tmp_path / "training_status.json"
    file.write_text("{")
    async with watching(file, **options) as seen:
        await seen.until_malformed(1)
        watched = seen.watcher._finder.by_job[tmp_path.name]
        if options is POLLS_ONLY:
            await wait_until(lambda: watched.known is not None, "its signature is enough")
        write(tmp_path, "mended")
        await seen.until(tmp_path.name, "mended")
        assert seen.watcher.malformed == 0


async def test_look_reads_the_file_now(tmp_path: Path) -> None:
    file = write(tmp_path / "a", "one")
    async with watching(tmp_path, **(HINTS_ONLY | {"use_inotify": False})) as seen:
        write(tmp_path / "a", "two")
        sighting = seen.watcher.look("a")
        assert sighting is not None
        assert sighting.pulse is not None
        assert sighting.pulse.message == "two"
        file.unlink()
        assert seen.watcher.look("a") == Sighting("a", str(file), None, {})
        assert seen.watcher.look("unknown") is None


def make_hostile(folder: Path) -> int:
    """Fill a folder with whatever a disk can hold, and give how many of the entries are malformed status files."""
    name = "training_status.json"
    contents: dict[str, bytes] = {
        "large": b"x" * 5_000_000,
        "brackets": b"[" * 50_000,
        "limit": b" " * MAX_FILE_BYTES,
        "binary": bytes(range(256)) * 4,
        "types": b'{"status":"running","epoch":"1","total_epochs":[],"loss":{},"message":1,"timestamp":true}',
        "empty": b"",
    }
    for kind, content in contents.items():
        (folder / kind).mkdir()
        (folder / kind / name).write_bytes(content)
    makers: dict[str, Callable[[Path], None]] = {
        "fifo": os.mkfifo,
        "folder": Path.mkdir,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "dangling": lambda path: path.symlink_to("nowhere"),
        "loop": lambda path: path.symlink_to(name),
    }
    for kind, make in makers.items():
        (folder / kind).mkdir()
        make(folder / kind / name)
    return len(contents) + len(makers)


@BOTH_WAYS
async def test_hostile_entries_harm_nothing_and_are_all_told(
    tmp_path: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    count = make_hostile(tmp_path)
    write(tmp_path / "good", "one")
    async with watching(tmp_path, **options) as seen:
        await seen.until_malformed(count)
        write(tmp_path / "good", "two")
        await seen.until("good", "two")
        assert {sighting.job for sighting in seen.sightings} == {"good"}
    assert len([record for record in caplog.records if "cannot be used" in record.message]) == count


async def test_a_new_folder_beside_many_makes_no_new_search_of_those(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        write(tmp_path / str(number), "one")
        os.utime(tmp_path / str(number), (1, 1))
    os.utime(tmp_path, (1, 1))
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        listed: list[str] = []
        real = os.scandir

        def scandir(path: str) -> object:
            listed.append(path)
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)

        async def pause() -> None:
            pass

        await seen.watcher._finder.search(pause)
        assert listed == []
        write(tmp_path / "new", "one")
        await seen.until("new", "one")
        await seen.watcher._finder.search(pause)
        assert set(listed) == {str(tmp_path), str(tmp_path / "new")}


async def test_hostile_entries_that_come_later_harm_nothing(tmp_path: Path) -> None:
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        count = make_hostile(tmp_path)
        write(tmp_path / "good", "one")
        await seen.until("good", "one")
        await seen.until_malformed(count)


@pytest.mark.parametrize(
    "name", ["a+b#c", "with space", "..dots..", "эпоха ✓", "n" * 200, "lr=0.1", "line\nbreak", "[1]*?"]
)
async def test_any_folder_name_makes_a_job_name(tmp_path: Path, name: str) -> None:
    async with watching(tmp_path, f"{tmp_path}/{name}", **HINTS_ONLY) as seen:
        write(tmp_path / name, "one")
        await wait_until(lambda: len(seen.sightings) == 1, "it is found")
        assert seen.sightings[0].job in {name, "name"}


async def test_a_folder_name_that_is_no_text_makes_a_job_name_that_is(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/run\xff"
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        write(Path(os.fsdecode(folder)), "one")
        await seen.until("run\N{REPLACEMENT CHARACTER}", "one")


async def test_a_file_without_permission_is_malformed_until_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "one")
    real = os.open
    refused = True

    def refuse(path: str, *args: Any) -> int:
        if refused and path == str(file):
            raise PermissionError(13, "Permission denied")
        return real(path, *args)

    monkeypatch.setattr(os, "open", refuse)
    async with watching(file, **POLLS_ONLY) as seen:
        await seen.until_malformed(1)
        refused = False
        await seen.until(tmp_path.name, "one")
        assert seen.watcher.malformed == 0


async def test_a_replacement_within_one_tick_of_the_clock_is_found_by_polling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "one")
    async with watching(file, **POLLS_ONLY) as seen:
        real = os.stat
        frozen = real(file)
        monkeypatch.setattr(os, "stat", lambda path, **o: frozen if path == str(file) else real(path, **o))
        file.write_text(file.read_text().replace("one", "two"))
        await seen.until(tmp_path.name, "two")


async def test_what_the_sink_raises_ends_the_run(tmp_path: Path) -> None:
    calls = 0

    def sink(_sightings: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise RuntimeError("the journal is broken")

    file = write(tmp_path, "one")
    watcher = Watcher([str(file)], sink, **HINTS_ONLY)
    task = asyncio.create_task(watcher.run())
    await watcher.ready.wait()
    write(tmp_path, "two")
    with pytest.raises(ExceptionGroup) as caught:
        await task
    assert str(caught.value.exceptions[0]) == "the journal is broken"


async def test_a_run_that_ends_leaves_no_descriptor_open(tmp_path: Path) -> None:
    file = write(tmp_path, "one")
    before = set(os.listdir("/proc/self/fd"))
    async with watching(file, **HINTS_ONLY):
        assert set(os.listdir("/proc/self/fd")) > before
    assert len(os.listdir("/proc/self/fd")) <= len(before)


async def test_quiet_files_are_looked_at_less_often_and_a_change_ends_that(tmp_path: Path) -> None:
    file = write(tmp_path, "one")
    os.utime(file, (1, 1))
    async with watching(file, poll_s=0.02, quiet_poll_s=0.08, search_s=NEVER_S, use_inotify=False) as seen:
        watched = seen.watcher._finder.by_job[tmp_path.name]
        await wait_until(lambda: watched.interval_s == 0.08, "it is quiet")
        write(tmp_path, "two")
        await wait_until(lambda: watched.interval_s == 0.02, "it is not")


@pytest.mark.parametrize("paths", [[""], [" "], ["=x.json"], ["a="], ["a=x.json", "a=y.json"], ["a\0b"]])
def test_a_path_that_cannot_be_meant_is_refused(paths: list[str]) -> None:
    with pytest.raises(ConfigError, match="PATH"):
        Watcher(paths, lambda _sightings: None)
