"""Commands as bytes."""

from hiredis import pack_command

Word = str | int | bytes


def pack(*words: Word) -> bytes:
    """Pack one command; text becomes UTF-8.

    Raises:
        UnicodeEncodeError: A text has no UTF-8 form.
    """
    # hiredis' hints say a tuple of exactly one word, and any result.
    packed: bytes = pack_command(words)  # type: ignore[arg-type]
    return packed
