"""The file bus: one event a line, for recordings and for what a destination could never take."""

import asyncio
import json
import logging
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, NoReturn

from pulse_bridge.bus import Consumer, Presence, Publisher, Query, Rejection
from pulse_bridge.bus_url import BusUrl
from pulse_bridge.doctor import Examination, Finding
from pulse_bridge.doctor_file_bus import check_file
from pulse_bridge.errors import BusUnavailableError, ConfigError, EventFormatError
from pulse_bridge.event import Event, EventId, from_json, to_fields, to_json

logger = logging.getLogger(__name__)

_BEGIN: Final = b'{"id":"'
_BREATH_LINES: Final = 2000


class JsonlBus:
    """A `.jsonl` file as a bus."""

    name = "jsonl"

    def __init__(self, url: BusUrl) -> None:
        self._path = Path(url.path)
        if not url.path:
            raise ConfigError(f"{url}: names no file")

    def __str__(self) -> str:
        return str(self._path)

    @asynccontextmanager
    async def publisher(self, presence: Presence | None) -> AsyncIterator[Publisher]:  # noqa: ARG002 - a file has no viewers
        """Open the file to append to; a line cut by a crash is ended first."""
        try:
            known = await _read_known(self._path)
            with _open_to_append(self._path) as file:
                yield _JsonlPublisher(file, known)
        except OSError as error:
            raise BusUnavailableError(f"{self._path} cannot be written: {error.strerror}") from error

    def consumer(self, group: str | None) -> AbstractAsyncContextManager[Consumer]:  # noqa: ARG002 - no group reads it
        """Refuse: a file is read as history.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self._path}: a recording is read with 'pulse-bridge replay', not followed")

    async def examine(self, examination: Examination) -> AsyncIterator[Finding]:
        """Tell whether the file can be written or read; see `pulse_bridge.doctor`."""
        for finding in check_file(self._path, examination):
            yield finding

    async def history(self, query: Query) -> AsyncIterator[Event]:
        """Yield the file's events in the order of its lines.

        Raises:
            BusUnavailableError: It cannot be read.
        """
        count = 0
        try:
            for event in read_events(self._path, must_exist=True):
                if query.limit is not None and count >= query.limit:
                    return
                if query.matches(event):
                    count += 1
                    yield event
        except OSError as error:
            raise BusUnavailableError(f"{self._path} cannot be read: {error.strerror}") from error


class _JsonlPublisher:
    """Appends lines, flushed to the operating system one batch at a time."""

    max_batch_events = 1000

    def __init__(self, file: TextIOWrapper, known: dict[str, int]) -> None:
        self._file = file
        self._known = known

    async def resume(self, acked: EventId | None) -> EventId | None:
        """Say what the file has of the producer."""
        if acked is None or acked.producer not in self._known:
            return None
        return min(acked, EventId(acked.producer, self._known[acked.producer]))

    async def publish(self, events: Sequence[Event]) -> Sequence[Rejection]:
        """Write what the file does not have yet."""
        lines = []
        for event in events:
            if event.id.seq > self._known.get(event.id.producer, 0):
                self._known[event.id.producer] = event.id.seq
                lines.append(to_json(event) + "\n")
        try:
            self._file.write("".join(lines))
            self._file.flush()
            is_there = os.fstat(self._file.fileno()).st_nlink > 0
        except OSError as error:
            raise BusUnavailableError(f"the recording cannot be written: {error.strerror}") from error
        if not is_there:  # what is written is in no file that anybody finds
            raise BusUnavailableError("the recording cannot be written: its file has been removed")
        return ()

    async def wait_lost(self) -> NoReturn:
        """Wait for ever: a file does not go away."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError


async def _read_known(path: Path) -> dict[str, int]:
    """Give each producer's highest seq in a file. Others have their turn meanwhile: it may be a gigabyte."""
    known: dict[str, int] = {}
    for count, (producer, seq) in enumerate(_read_ids(path)):
        known[producer] = max(seq, known.get(producer, 0))
        if count % _BREATH_LINES == 0:
            await asyncio.sleep(0)
    return known


def _read_ids(path: Path) -> Iterator[EventId]:
    if not path.exists():
        return
    _require_regular(path)
    with path.open("rb") as file:
        for line in file:
            with suppress(EventFormatError):
                yield _read_id(line)


def _read_id(line: bytes) -> EventId:
    """Read a line's id; of one as `to_json` writes it without the rest, which takes ten times as long.

    Raises:
        EventFormatError: It is no event, or a crash has cut it.
    """
    end = line.find(b'"', len(_BEGIN))
    text = line[len(_BEGIN) : end]
    if not (line.startswith(_BEGIN) and line.endswith(b"}\n") and text.isascii()) or b"\\" in text:
        return from_json(line).id
    return EventId.parse(text.decode())


def read_events(path: Path, *, must_exist: bool = False) -> Iterator[Event]:
    """Yield a file's events; a line that is none is counted and said once at the end.

    Raises:
        OSError: The file cannot be read; one that is not there only with `must_exist`.
        ConfigError: It is no file.
    """
    if not must_exist and not path.exists():
        return
    unreadable = 0
    _require_regular(path)
    with path.open("rb") as file:
        for line in file:
            try:
                yield from_json(line)
            except EventFormatError:
                unreadable += bool(line.strip())
    if unreadable:
        logger.warning("lines that are no events were passed over", extra={"path": str(path), "lines": unreadable})


def _require_regular(path: Path) -> None:
    """Refuse what would be waited for, or is read only once: a recording is gone through more than once.

    Raises:
        ConfigError: It is a pipe or a device.
        OSError: It is not there.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder is refused by opening it
        raise ConfigError(f"{path} is a pipe or a device, and no file: a recording is read more than once")


def _open_to_append(path: Path) -> TextIOWrapper:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+b")
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return TextIOWrapper(file, encoding="utf-8", newline="\n")


class DeadLetters:
    """Keeps what a destination can never take, in a file that `pulse-bridge replay` reads.

    Args:
        path: The file; made with the first letter.
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path

    def add(self, destination: str, rejections: Sequence[Rejection]) -> None:
        """Append events with the destination and its reason; said once, then counted."""
        if not self.count:
            logger.error(
                "a destination can never take an event; it is kept as a dead letter",
                extra={"destination": destination, "reason": rejections[0].reason, "path": str(self._path)},
            )
        self.count += len(rejections)
        try:
            with _open_to_append(self._path) as file:
                for event, reason in rejections:
                    fields = {**to_fields(event), "rejected_by": destination, "reason": reason}
                    file.write(json.dumps(fields, ensure_ascii=False) + "\n")
        except OSError as error:
            logger.error(  # noqa: TRY400 - a full disk is no place for a traceback
                "the dead letter cannot be kept", extra={"path": str(self._path), "reason": str(error)}
            )
