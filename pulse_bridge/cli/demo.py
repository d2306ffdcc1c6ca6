"""`pulse-bridge demo`: a real small training, the sidecar, the live table and the page in one command."""

import asyncio
import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pulse_bridge.cli.lines import format_loss
from pulse_bridge.cli.options import journal_url
from pulse_bridge.errors import PulseBridgeError
from pulse_bridge.event import JobEvent

if TYPE_CHECKING:
    from pulse_bridge.bus import Batch, Bus
    from pulse_bridge.cli.follow import View

JOB: Final = "two-spirals"
JOURNAL: Final = "journal.db"
CONTEXT: Final = {"profile": "demo", "dataset": "two noisy spirals"}
_PAGE_PORT: Final = 8321
"""The page's own default, so that a second try finds it in the same place."""
END_S: Final = 2.0
"""How long a training that is told to end may take."""

_NEXT: Final = """
Next, with jobs of your own:
  pulse-bridge run ./runs --to redis://localhost   the sidecar; ./runs holds training_status.json files
  pulse-bridge run ./runs --with web               the same with the page, on http://127.0.0.1:8321/
  pulse-bridge watch                               this view of it, in another terminal
  pulse-bridge replay --since 1h                   what was
A training script writes such a file with pulse_bridge.writer, a shell script with 'pulse-bridge write'."""


@click.command(short_help="Train a small model and watch it: nothing to set up.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1, max=86_400),
    metavar="N",
    default=30,
    show_default=True,
    help="Train for so long.",
)
@click.option(
    "--to", multiple=True, metavar="URL", help="Publish here too: redis://HOST, mqtt://HOST; repeatable."
)
@click.option("--no-web", is_flag=True, help="Serve no page.")
def demo(*, seconds: float, to: tuple[str, ...], no_web: bool) -> None:
    """Train a small model in a process of its own and show what its status file says.

    The sidecar, its journal, the live table and a page for the browser run in this one command; no broker is
    needed. It ends with the training, or with Ctrl-C, and leaves nothing behind.
    """
    asyncio.run(_demo(seconds, to, no_web=no_web))


class _Watched:
    """A view that remembers what the training said.

    Args:
        view: Shows it.
    """

    def __init__(self, view: "View") -> None:
        self.view = view
        self.first_loss: float | None = None
        self.newest: JobEvent | None = None
        self.is_left = False
        self.is_over = asyncio.Event()
        """Everything has been shown, the sidecar's goodbye included."""

    def take(self, batch: "Batch") -> None:
        """Show a batch."""
        self.view.take(batch)
        for event in batch.events:
            if isinstance(event, JobEvent):
                self.first_loss = event.loss if self.first_loss is None else self.first_loss
                self.newest = event
            elif event.stopping:
                self.is_over.set()

    def note(self, sentence: str) -> None:
        """Show a sentence."""
        self.view.note(sentence)

    async def run(self) -> None:
        """Let the view do what is due by the clock, until nobody looks any more."""
        await self.view.run()
        self.is_left = True

    def summarize(self) -> str:
        """Say how the training went.

        Raises:
            PulseBridgeError: It failed.
        """
        if self.newest is None or self.newest.state != "done":
            reason = self.newest.message if self.newest and self.newest.state == "error" else "it was ended"
            raise PulseBridgeError(f"the demo's training did not come to its end: {reason}")
        return f"The training is done: its loss fell from {self.first_loss:.4f} to {format_loss(self.newest)}."


async def _demo(seconds: float, urls: Sequence[str], *, no_web: bool) -> None:
    # Imported here, so that --help and a wrong flag need not wait for it.
    from pulse_bridge.bus import open_bus  # noqa: PLC0415
    from pulse_bridge.sidecar import open_destinations  # noqa: PLC0415
    from pulse_bridge.stop import stop_on_signals  # noqa: PLC0415

    open_destinations(urls)  # a wrong URL is said before anything begins
    with (
        stop_on_signals() as stop,
        tempfile.TemporaryDirectory(prefix="pulse-bridge-demo-") as name,
        _listening(wanted=not no_web) as door,
    ):
        bus = open_bus(journal_url(Path(name) / JOURNAL))
        lasting = f"The page: http://127.0.0.1:{door.getsockname()[1]}/" if door else ""
        view = _Watched(_make_view(bus, lasting))
        subscribers = (f"web?fd={door.fileno()}",) if door else ()
        everything_sent = await _run_all(Path(name), bus, seconds, view, stop, urls=urls, subscribers=subscribers)
    if stop.is_set() or view.is_left:
        return
    click.echo(f"\n{view.summarize()}\n{_NEXT}", err=True)
    if not everything_sent:
        raise PulseBridgeError(
            "a destination could not be given everything: is it running, and may we write there?"
        )


@contextmanager
def _listening(*, wanted: bool) -> Iterator[socket.socket | None]:
    """Listen for the page; None where it is not installed, which is no fault of a demo's.

    The page is given the socket, not its number: two demos that start at once would both find the port free.
    """
    from pulse_bridge.errors import PluginError  # noqa: PLC0415
    from pulse_bridge.plugins import SUBSCRIBERS, load_plugin  # noqa: PLC0415

    try:
        load_plugin(SUBSCRIBERS, "web", shown="the page")
    except PluginError:
        wanted = False
    if not wanted:
        yield None
        return
    try:
        door = _listen(_PAGE_PORT)
    except OSError:
        door = _listen(0)  # any free one, if another demo or page has the usual one
    with door:
        yield door


def _listen(port: int) -> socket.socket:
    door = socket.socket()
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", port))
        door.listen()
    except OSError:
        door.close()
        raise
    return door


def _make_view(bus: "Bus", lasting: str) -> "View":
    """Make the view that fits the output.

    Args:
        bus: Has a job's past, where a view shows it.
        lasting: A sentence to be seen all the time, or once where lines are printed.
    """
    from pulse_bridge.cli.follow import LineView  # noqa: PLC0415
    from pulse_bridge.cli.output import is_terminal, say  # noqa: PLC0415

    if not is_terminal(sys.stdout):
        if lasting:
            say(lasting)
        return LineView()
    from pulse_bridge.cli.live import LiveTable  # noqa: PLC0415

    return LiveTable(lasting, bus=bus)


async def _run_all(
    folder: Path,
    bus: "Bus",
    seconds: float,
    view: _Watched,
    stop: asyncio.Event,
    *,
    urls: Sequence[str],
    subscribers: Sequence[str],
) -> bool:
    """Run training, sidecar and view, until the training is over or `stop` is set.

    Returns:
        Whether every destination has everything.
    """
    from pulse_bridge.cli.follow import follow  # noqa: PLC0415
    from pulse_bridge.config import SidecarSettings  # noqa: PLC0415
    from pulse_bridge.journal import open_journal  # noqa: PLC0415
    from pulse_bridge.relay import first_of  # noqa: PLC0415
    from pulse_bridge.sidecar import Sidecar, open_destinations  # noqa: PLC0415
    from pulse_bridge.subscribe import open_subscriptions  # noqa: PLC0415

    status = folder / "runs" / JOB / "training_status.json"
    status.parent.mkdir(parents=True)
    status.with_name("training_context.json").write_text(json.dumps(CONTEXT), encoding="utf-8")
    journal_path = folder / JOURNAL
    settings = SidecarSettings(
        paths=(str(folder / "runs"),),
        to=tuple(urls),
        # Its own, because the newest sidecar under a host's name takes it from the one before.
        host=f"demo-{os.getpid()}",
        journal=journal_path,
        exit_when_done=True,
    )
    subscriptions = open_subscriptions(subscribers, bus, shown=str(bus), dead_letters=folder / "demo.dead.jsonl")
    with open_journal(journal_path) as journal:
        sidecar = Sidecar(settings, open_destinations(urls), journal, subscriptions=subscriptions)
        end = asyncio.Event()
        async with _training(status, seconds) as training:
            viewing = first_of(stop.wait(), _failure_of(training), view.run(), follow(bus, view))
            return await _join(sidecar.run(end), viewing, end, view.is_over)


async def _join(
    working: Coroutine[Any, Any, bool],
    viewing: Coroutine[Any, Any, None],
    end: asyncio.Event,
    is_over: asyncio.Event,
) -> bool:
    """Let the sidecar come to its end in order, whoever is the first to have had enough.

    Args:
        working: The sidecar, which `end` ends.
        viewing: Ends when told to, when the training fails, or when nobody looks any more.
        is_over: Set once everything is shown.
    """
    sidecar, viewer = asyncio.create_task(working), asyncio.create_task(viewing)
    try:
        await asyncio.wait({sidecar, viewer}, return_when=asyncio.FIRST_COMPLETED)
        end.set()
        everything_sent = await sidecar
        if not viewer.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await is_over.wait()
    finally:
        was_viewing = viewer.cancel()
        outcome, _ = await asyncio.gather(viewer, sidecar, return_exceptions=True)
    if isinstance(outcome, BaseException) and not was_viewing:
        raise outcome
    return everything_sent


@asynccontextmanager
async def _training(status: Path, seconds: float) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the training beside us; at the end of the block it is no more."""
    command = [
        sys.executable,
        "-m",
        "pulse_bridge.demo_training",
        "--path",
        str(status),
        "--seconds",
        str(seconds),
    ]
    # A session of its own, so that Ctrl-C reaches us alone and the end has an order.
    training = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield training
    finally:
        if training.returncode is None:
            training.terminate()
            try:
                async with asyncio.timeout(END_S):
                    await training.wait()
            except TimeoutError:
                training.kill()
                await training.wait()


async def _failure_of(training: asyncio.subprocess.Process) -> None:
    """Return if the training fails; its good end is for its status file to tell."""
    if await training.wait() == 0:
        await asyncio.get_running_loop().create_future()
