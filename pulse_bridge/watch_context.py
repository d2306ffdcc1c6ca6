"""Labels from `training_context.json`: what does not change during a run, such as profile and dataset.

It lies beside the status file and is one flat object. Whatever is wrong with it costs labels, never a job.
"""

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Final

from pulse_bridge.errors import PulseFileError
from pulse_bridge.pulse import Signature, read_file
from pulse_bridge.watch_paths import CONTEXT_NAME

logger = logging.getLogger(__name__)

MAX_LABELS: Final = 20
MAX_LABEL_CHARS: Final = 256
_MAX_NAME_CHARS: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_BOM: Final = b"\xef\xbb\xbf"
_RACY_NS: Final = 2_000_000_000


class Context:
    """The labels of one folder's jobs.

    Args:
        folder: The folder, absolute.
    """

    __slots__ = ("_known", "_warned", "labels", "path")

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, CONTEXT_NAME)
        self.labels: Mapping[str, str] = {}
        self._known: Signature | None = None
        self._warned = False

    def refresh(self) -> None:
        """Read the file anew if it may have changed. `labels` is another object only if they differ."""
        try:
            if Signature.of(os.stat(self.path)) == self._known:
                return
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not (self.labels or self._warned):
                return  # the usual case, at every look at every file
        labels = self._read()
        if labels != self.labels:
            self.labels = labels

    def _read(self) -> Mapping[str, str]:
        self._known = None
        read_ns = time.time_ns()
        try:
            found = read_file(self.path)
            if found is None:
                self._warned = False
                return {}
            content, signature = found
            if max(signature.mtime_ns, signature.ctime_ns) < read_ns - _RACY_NS:
                self._known = signature
            return parse_labels(content, self.path)
        except PulseFileError as refusal:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "training context ignored, its jobs have no labels",
                    extra={"path": self.path, "reason": refusal.reason},
                )
            return {}


def parse_labels(content: bytes, path: str) -> dict[str, str]:
    """Take the labels out of a context file.

    Text, numbers and true or false become labels; other values, and names that are not `[A-Za-z0-9_]+`, are
    left out. At most `MAX_LABELS`, each cut at `MAX_LABEL_CHARS` characters.

    Raises:
        PulseFileError: It is no JSON object.
    """
    try:
        document = json.loads(content.removeprefix(_BOM))
    except (ValueError, RecursionError) as error:
        raise PulseFileError(path, f"is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise PulseFileError(path, "is no JSON object")
    labels: dict[str, str] = {}
    for name, value in document.items():
        text = _as_text(value)
        if (
            text is not None
            and len(name) <= _MAX_NAME_CHARS
            and _NAME.fullmatch(name)
            and len(labels) < MAX_LABELS
        ):
            labels[name] = text
    return labels


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        # JSON can spell half a surrogate pair, which no bus can carry.
        return value[:MAX_LABEL_CHARS].encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)[:MAX_LABEL_CHARS] if isinstance(value, int | float) else None
