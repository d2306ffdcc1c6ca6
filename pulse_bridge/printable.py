"""Text from outside, made harmless for a terminal and a line of its own."""

import re
from typing import Final

# C0, DEL and C1; what turns the direction of text or is not seen; line separators; lone surrogates.
_HARMFUL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Write each control character as Python would in a string, e.g. `\n` and `\x1b`; the rest stays."""
    if text.isascii() and text.isprintable():  # nearly all of it, and three times as fast
        return text
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_json(text: str) -> str:
    """Write what JSON leaves as it is though a terminal would obey it as an escape; the value stays the same."""
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
