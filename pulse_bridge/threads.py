"""Work that may never return, such as reading a file of a dead file server."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

ResultT = TypeVar("ResultT")


async def run_in_daemon_thread(work: Callable[[], ResultT]) -> ResultT:
    """Run `work` in a thread of its own, which holds up neither a pool nor the end of the process.

    A caller that is cancelled leaves the thread to itself.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[ResultT] = loop.create_future()

    def hand_over(outcome: ResultT | None, error: BaseException | None) -> None:
        if result.done():
            return  # nobody waits any more
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(outcome)  # type: ignore[arg-type]  # there is one where there is no error

    def run() -> None:
        outcome, error = None, None
        try:
            outcome = work()
        except Exception as caught:  # noqa: BLE001 - carried to whoever waits
            error = caught
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(hand_over, outcome, error)

    threading.Thread(target=run, name="slow-file", daemon=True).start()
    return await result
