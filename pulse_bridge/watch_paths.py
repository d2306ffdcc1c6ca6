"""What a PATH means, and what a job is called. No I/O but for asking whether a path exists.

A PATH is a file, a folder (searched for `training_status.json`), a glob, or `NAME=FILE`. Folders and globs
become a `Search`: a root folder, and patterns over the path below it that are followed folder by folder, so
that a new folder can be judged from its parent alone.
"""

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pulse_bridge.errors import ConfigError

STATUS_NAME: Final = "training_status.json"
CONTEXT_NAME: Final = "training_context.json"
_SUFFIX: Final = ".json"
_MAGIC: Final = re.compile(r"[*?\[]")
_ANY_FOLDERS: Final = "**"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")  # how Python holds a byte of a name that is no UTF-8

States = frozenset[tuple[int, int]]
"""How far each pattern of a search has come: (number of the pattern, parts of it matched)."""


class _Part(NamedTuple):
    """One part of a pattern; `regex` is None for `**`."""

    regex: re.Pattern[str] | None
    hidden: bool

    def matches(self, name: str) -> bool:
        if name.startswith(".") and not self.hidden:
            return False
        return self.regex is None or self.regex.fullmatch(name) is not None


def _part(text: str) -> _Part:
    if text == _ANY_FOLDERS:
        return _Part(None, hidden=False)
    return _Part(re.compile(fnmatch.translate(text)), hidden=text.startswith("."))


_BELOW: Final = (_part(_ANY_FOLDERS), _part(STATUS_NAME))


@dataclass(frozen=True)
class FilePath:
    """One file, there or to come.

    Args:
        path: Absolute.
        name: What the user called the job, if they did.
    """

    path: str
    name: str | None

    @property
    def root(self) -> str:
        """The folder to watch."""
        return os.path.dirname(self.path)


@dataclass(frozen=True)
class Search:
    """A folder or a glob.

    Args:
        root: The absolute folder that the search starts in, there or to come.
        patterns: Each a sequence of parts for the path below `root`.
        any_name: The pattern ends in `*`, so that files of all kinds match; only `.json` is meant.
    """

    root: str
    patterns: tuple[tuple[_Part, ...], ...]
    any_name: bool = False

    @property
    def start(self) -> States:
        """The states in the root itself."""
        return self._close({(number, 0) for number in range(len(self.patterns))})

    def advance(self, states: States, name: str) -> States:
        """Go one part down; an empty result matches nothing there or below."""
        following: set[tuple[int, int]] = set()
        for number, index in states:
            pattern = self.patterns[number]
            if index < len(pattern) and pattern[index].matches(name):
                following.add((number, index if pattern[index].regex is None else index + 1))
        return self._close(following)

    def is_open(self, states: States) -> bool:
        """Say whether something below can match."""
        return any(index < len(self.patterns[number]) for number, index in states)

    def accepts(self, states: States, name: str) -> bool:
        """Say whether a file called `name` in a folder with these states is a status file."""
        if name.endswith(".tmp") or name == CONTEXT_NAME or (self.any_name and not name.endswith(_SUFFIX)):
            return False
        return any(index == len(self.patterns[number]) for number, index in self.advance(states, name))

    def _close(self, states: set[tuple[int, int]]) -> States:
        """Add the states in which a `**` matches no folder at all."""
        for number, start in tuple(states):
            pattern, index = self.patterns[number], start
            while index < len(pattern) and pattern[index].regex is None:
                index += 1
                states.add((number, index))
        return frozenset(states)


Target = FilePath | Search


def parse_paths(paths: Sequence[str]) -> list[Target]:
    """Say what each PATH means; the same one given twice counts once.

    Raises:
        ConfigError: One cannot be meant, or two jobs have one name or one file two names.
    """
    targets: dict[Target, None] = {}
    named: dict[str, str] = {}
    name_of: dict[str, str] = {}
    for text in paths:
        target = _parse(text)
        targets[target] = None
        if isinstance(target, FilePath) and target.name is not None:
            if named.setdefault(target.name, target.path) != target.path:
                raise ConfigError(
                    f"PATH {text!r}: another PATH is named {target.name!r} already; choose another name"
                )
            if name_of.setdefault(target.path, target.name) != target.name:
                raise ConfigError(
                    f"PATH {text!r}: this file is named {name_of[target.path]!r} already; name it once"
                )
    # Named files first: a file that a folder's search finds too keeps the name that the user gave it.
    return sorted(targets, key=lambda target: not (isinstance(target, FilePath) and target.name is not None))


def _parse(text: str) -> Target:
    if not text.strip():
        raise ConfigError("PATH is empty; give a status file, a folder or a glob")
    if "\0" in text:
        raise ConfigError(f"PATH {text!r}: no path can hold a NUL character")
    name, equals, rest = text.partition("=")
    # A name has no slash, so that runs/lr=0.1 to come is a path; what exists is a path whatever it holds.
    if not equals or "/" in name or os.sep in name or os.path.lexists(text):
        return _parse_path(text)
    if not name.strip():
        raise ConfigError(f"PATH {text!r}: the name before '=' is empty; write NAME=FILE")
    if not rest.strip():
        raise ConfigError(f"PATH {text!r}: there is no file after '='; write NAME=FILE")
    path = _absolute(rest)
    if os.path.isdir(path) or rest.endswith(("/", os.sep)):
        raise ConfigError(f"PATH {text!r}: a name is for one file, and {rest} is a folder; leave the name out")
    if _MAGIC.search(rest) and not os.path.lexists(path):
        raise ConfigError(f"PATH {text!r}: a name is for one file, and {rest} is a glob; leave the name out")
    return FilePath(path, clean_name(name))


def _parse_path(text: str) -> Target:
    path = _absolute(text)
    if os.path.isdir(path):
        return Search(path, (_BELOW,))
    if os.path.lexists(path):
        return FilePath(path, None)
    if _MAGIC.search(text):
        return _parse_glob(path)
    if text.endswith(_SUFFIX):
        return FilePath(path, None)
    return Search(path, (_BELOW,))


def _parse_glob(path: str) -> Search:
    """Take a pattern apart; a folder that it matches is searched, as if the shell had expanded it."""
    parts = path.split(os.sep)
    first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    root = os.sep.join(parts[:first]) or os.sep
    pattern = tuple(_part(part) for part in parts[first:])
    return Search(root, (pattern, pattern + _BELOW), any_name=parts[-1].endswith("*"))


def _absolute(text: str) -> str:
    return os.path.abspath(text if os.path.lexists(text) else os.path.expanduser(text))


def clean_name(text: str) -> str:
    """Make a job name that is valid UTF-8; what a file name holds of other bytes is shown as U+FFFD."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def job_name(target: Target, path: str) -> str:
    """Give the name that a file would have if no other had it.

    Args:
        target: The PATH that led to it.
        path: The file, absolute.
    """
    if isinstance(target, FilePath) and target.name is not None:
        return target.name
    folder, base = os.path.split(path)
    if base == STATUS_NAME:
        below = os.path.relpath(folder, target.root)
        name = below if below != os.curdir else os.path.basename(folder) or "root"
    else:
        name = base.removesuffix(_SUFFIX) or base
    return clean_name(name.replace(os.sep, "/"))


def relative_name(path: str) -> str:
    """Give a file's path from the current folder, as a name; its absolute path where it lies elsewhere."""
    folder, base = os.path.split(path)
    place = folder if base == STATUS_NAME else path.removesuffix(_SUFFIX)
    below = os.path.relpath(place)
    return clean_name((place if below.startswith(os.pardir) else below).replace(os.sep, "/"))


class JobNames:
    """Gives every file a name of its own, for as long as the program runs.

    Args:
        targets: The names that users gave are taken from the start.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._path_by_name = {
            target.name: target.path
            for target in targets
            if isinstance(target, FilePath) and target.name is not None
        }

    def name(self, target: Target, path: str) -> str:
        """Take a name for a file; the plain one, else its relative path, else that with a number."""
        plain = job_name(target, path)
        if self._take(plain, path):
            return plain
        relative = relative_name(path)
        name, count = relative, 1
        while not self._take(name, path):
            count += 1
            name = f"{relative}-{count}"
        return name

    def _take(self, name: str, path: str) -> bool:
        return self._path_by_name.setdefault(name, path) == path
