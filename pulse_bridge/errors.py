"""Every error, named by the reaction it asks for.

PulseBridgeError
├── ConfigError              a person must act: exit 2, never retried
│   └── PluginError          not installed (names the extra), not importable, or of the wrong kind
├── PulseFileError           this file cannot be used now: keep the last known state, read it again later
├── EventFormatError         this text is no event: count it and go on
└── BusError
    ├── BusUnavailableError  connect anew and send the same events again
    ├── HostTakenError       a newer sidecar has the host's name: leave this destination for good
    ├── PublishRejectedError this event can never be taken: dead-letter it, count it, go on
    └── HistoryUnsupportedError  this bus keeps no past: say so, name what does
"""

import os
from collections.abc import Sequence


class PulseBridgeError(Exception):
    """Whatever pulse-bridge raises on purpose; its text is one sentence that a user can act on."""


class ConfigError(PulseBridgeError):
    """Something that only a person can put right, found before the first connection.

    Args:
        sentence: What is wrong.
        also: What else is wrong in the same place, a sentence each, for who wants to know all at once.
    """

    def __init__(self, sentence: str = "", *, also: Sequence[str] = ()) -> None:
        self.also = tuple(also)
        super().__init__(sentence)

    @property
    def sentences(self) -> list[str]:
        """Everything that is wrong, the error's own text first."""
        return [str(self), *self.also]


class PluginError(ConfigError):
    """A bus or subscriber that is not installed, cannot be imported, or is none."""


class PulseFileError(PulseBridgeError):
    """A status file that cannot be used as it is now.

    Args:
        path: The file.
        reason: What is wrong, in words, without a final full stop.
        field: The field of the PULSE object that is wrong, if it is one.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str, field: str | None = None) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        self.field = field
        where = f"{self.path}: {field}" if field else self.path
        super().__init__(f"{where}: {reason}")


class EventFormatError(PulseBridgeError):
    """A text or mapping that is no event of ours."""


class BusError(PulseBridgeError):
    """Something went wrong on one bus; the others and the journal are not concerned."""


class BusUnavailableError(BusError):
    """The bus cannot be used now; connect anew and send the same events again.

    Args:
        reason: What happened, in words.
        refused: The bus answered and said no (a password, a right, its memory): retry at the slow end.
    """

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(reason)


class HostTakenError(BusError):
    """A newer sidecar uses this host name; the name is never taken back."""


class PublishRejectedError(BusError):
    """The bus can never take this event; dead-letter it and go on with the next."""


class HistoryUnsupportedError(BusError):
    """The bus keeps no past events."""
