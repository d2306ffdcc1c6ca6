"""Where the kernel's hints overflow, run out, or never come."""

import asyncio
import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import inotify_simple
import pytest

from pulse_bridge.mounts import Mounts
from pulse_bridge.watch_inotify import Q_OVERFLOW, Hint, KernelHints
from tests.support.processes import wait_until
from tests.support.watching import HINTS_ONLY, POLLS_ONLY, watching, write

MAX_QUEUED_EVENTS = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
SEARCHING = {"poll_s": 0.03, "quiet_poll_s": 0.06, "search_s": 0.05}


async def test_after_an_overflow_every_file_is_looked_at_and_every_folder_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All real hints are lost, as in an overflow; only the kernel's word that they were comes through."""
    real_read = KernelHints.read

    def read(self: KernelHints) -> Sequence[Hint]:
        return [Hint(-1, Q_OVERFLOW, 0, "")] if real_read(self) else []

    monkeypatch.setattr(KernelHints, "read", read)
    write(tmp_path / "a", "one")
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        write(tmp_path / "a", "two")
        await seen.until("a", "two")
        write(tmp_path / "new/deep", "found")
        await seen.until("new/deep", "found")


async def test_a_folder_replaced_while_hints_were_lost_gives_hints_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_read, lost = KernelHints.read, True

    def read(self: KernelHints) -> Sequence[Hint]:
        hints = real_read(self)
        return [Hint(-1, Q_OVERFLOW, 0, "")] if lost and hints else hints

    monkeypatch.setattr(KernelHints, "read", read)
    write(tmp_path / "top/a", "one")
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        shutil.rmtree(tmp_path / "top")
        write(tmp_path / "top/a", "two")
        await seen.until("top/a", "two")
        await asyncio.sleep(0.05)
        lost = False
        write(tmp_path / "top/a", "three")
        await seen.until("top/a", "three")


async def test_a_real_burst_beyond_the_kernels_queue_loses_no_last_state(tmp_path: Path) -> None:
    limit = MAX_QUEUED_EVENTS
    files = [write(tmp_path / str(number), "one") for number in range(20)]
    async with watching(tmp_path, **HINTS_ONLY) as seen:
        # Alternating files, so that the kernel cannot merge equal neighbours; the loop gets no turn meanwhile.
        for _ in range(limit // 20 + 50):
            for file in files:
                os.close(os.open(file, os.O_WRONLY))
        for number in range(20):
            write(tmp_path / str(number), "last")
        for number in range(20):
            await seen.until(str(number), "last")


async def test_at_the_limit_of_watches_folders_are_polled_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def add_watch(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", add_watch)
    write(tmp_path / "a", "one")
    async with watching(tmp_path, **SEARCHING) as seen:
        write(tmp_path / "a", "two")
        write(tmp_path / "b/c", "new")
        await seen.until("a", "two")
        await seen.until("b/c", "new")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "fs.inotify.max_user_watches" in caplog.text


async def test_at_the_limit_of_instances_everything_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(inotify_simple, "INotify", refuse)
    write(tmp_path / "a", "one")
    async with watching(tmp_path, **SEARCHING) as seen:
        write(tmp_path / "b", "new")
        await seen.until("b", "new")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.fixture
def nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that the mount table calls a network file system."""
    folder = tmp_path / "nfs"
    folder.mkdir()
    table = Mounts({"/": "ext4", str(folder.resolve()): "nfs4"})
    monkeypatch.setattr(Mounts, "read", lambda: table)
    return folder


async def test_a_network_file_system_is_polled_in_a_thread_beside_a_local_one_that_is_not(
    tmp_path: Path, nfs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write(nfs / "a", "one")
    write(tmp_path / "local/b", "one")
    (nfs / "a/training_context.json").write_text('{"profile": "p"}')
    async with watching(nfs, f"named={nfs}/x.json", tmp_path / "local", **SEARCHING) as seen:
        assert seen.message("a") == "one"
        assert seen.sightings
        for number in range(3):
            write(nfs / "a", f"two {number}")
            await seen.until("a", f"two {number}")
        write(nfs / "new/deep", "found")
        write(nfs / "x.json", "named")
        write(tmp_path / "local/b", "two")
        await seen.until("new/deep", "found")
        await seen.until("named", "named")
        await seen.until("b", "two")
        (nfs / "a/training_status.json").write_text("{")
        await seen.until_malformed(1)
        last = seen.last("a")
        assert last is not None
        assert last.labels == {"profile": "p"}
        assert seen.watcher._folders.get(str(nfs)).wd is None  # type: ignore[union-attr]  # the test's own folder
    told = [record for record in caplog.records if "gives no hints" in record.message]
    assert [vars(record)["fs_type"] for record in told] == ["nfs4"]


async def test_a_network_file_system_that_hangs_stops_nobody_else(
    tmp_path: Path, nfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pulse_bridge import watch  # noqa: PLC0415 - patched below

    write(nfs / "a", "one")
    write(tmp_path / "local/b", "one")
    loop = asyncio.get_running_loop()
    hanging, released = asyncio.Event(), asyncio.Event()
    real = watch._look_at

    def look_at(files: Sequence[Any]) -> list[Any]:
        loop.call_soon_threadsafe(hanging.set)
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result()
        return real(files)

    async with watching(nfs, tmp_path / "local", **(POLLS_ONLY | {"search_s": 1000.0})) as seen:
        monkeypatch.setattr(watch, "_look_at", look_at)
        await hanging.wait()
        write(tmp_path / "local/b", "two")
        await seen.until("b", "two")
        assert seen.watcher.look("a") == seen.last("a")
        released.set()
        write(nfs / "a", "two")
        await seen.until("a", "two")


async def test_without_hints_new_files_are_found_by_searching_again(tmp_path: Path) -> None:
    async with watching(tmp_path, **POLLS_ONLY) as seen:
        for number in range(5):
            write(tmp_path / f"a/{number}", "x")
        await wait_until(lambda: len(seen.sightings) == 5, "all are found")
