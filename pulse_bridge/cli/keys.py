"""What a terminal sends for a key, as the name of the key; pure.

A name is the character itself, or a word of more than one letter: `up`, `enter`, `ctrl-u`.

Source: ECMA-48 §5.4 (control sequences), and the keys of xterm, rxvt, the Linux console, screen and tmux.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Final

ESCAPE_S: Final = 0.1
"""So long after an escape the rest of a key's sequence may come, over a slow line too; then it was the key Esc."""

_CONTROL: Final = {"\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace"}
_FINAL: Final = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "Z": "backtab"}
_NUMBERED: Final = {"1": "home", "7": "home", "4": "end", "8": "end", "5": "pgup", "6": "pgdn", "3": "delete"}

# CSI with its parameters and end; the Linux console's function keys; SS3.
_SEQUENCE: Final = re.compile("\x1b(?:\\[\\[[A-E]|\\[([0-?]*)[ -/]*([@-~])|O([ -~]))")
_BEGUN: Final = re.compile("\x1b(?:\\[\\[?[0-?]*[ -/]*|O)?")
_MAX_BEGUN_CHARS: Final = 32


class Keys:
    """Reads keys from bytes as they come, in whatever pieces."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._rest = ""

    @property
    def is_waiting(self) -> bool:
        """Say whether the beginning of a key is there; call `flush` after `ESCAPE_S` without a byte."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """Take bytes in; gives the names of the keys that they complete, in order."""
        text, self._rest = self._rest + self._decoder.decode(data), ""
        return list(self._read(text))

    def flush(self) -> list[str]:
        """Take what has come for all that comes: a lone escape is the key Esc."""
        text, self._rest = self._rest, ""
        return ["esc"] if text == "\x1b" else []

    def _read(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            char = text[at]
            if char != "\x1b":
                at += 1
                yield from _name(char)
            elif found := _SEQUENCE.match(text, at):
                at = found.end()
                yield from _name_sequence(*found.groups())
            elif _BEGUN.fullmatch(text, at) and len(text) - at <= _MAX_BEGUN_CHARS:
                self._rest = text[at:]
                return
            else:
                at += 1
                yield "esc"


def _name(char: str) -> Iterator[str]:
    if char in _CONTROL:
        yield _CONTROL[char]
    elif char >= " ":
        yield char
    elif "\x01" <= char <= "\x1a":
        yield f"ctrl-{chr(ord(char) + 0x60)}"


def _name_sequence(parameters: str | None, final: str | None, third: str | None) -> Iterator[str]:
    """Name a sequence; one that we have no use for is no key."""
    if third == "M":  # the keypad's
        yield "enter"
    elif third in _FINAL:
        yield _FINAL[third]
    elif final in _FINAL:
        yield _FINAL[final]
    elif final == "~" and parameters is not None:
        number = parameters.partition(";")[0]
        if number in _NUMBERED:
            yield _NUMBERED[number]
