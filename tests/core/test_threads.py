"""Work that may never return."""

import asyncio
import threading

import pytest

from pulse_bridge.threads import run_in_daemon_thread


async def test_the_work_is_done_elsewhere_and_its_result_given() -> None:
    assert await run_in_daemon_thread(threading.get_ident) != threading.get_ident()


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await run_in_daemon_thread(lambda: 1 / 0)


async def test_work_that_hangs_holds_up_nobody_who_gives_up() -> None:
    release = threading.Event()
    task = asyncio.ensure_future(run_in_daemon_thread(release.wait))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "slow-file"]
    assert thread.daemon
    release.set()
    thread.join(10)
    assert not thread.is_alive()
