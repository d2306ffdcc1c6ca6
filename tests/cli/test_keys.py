"""What terminals send is read as keys, in whatever pieces it comes."""

import pytest

from pulse_bridge.cli.keys import Keys


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("q", ["q"]),
        ("\r", ["enter"]),
        ("\x7f", ["backspace"]),
        ("\x15", ["ctrl-u"]),
        ("\x1b[A\x1b[B", ["up", "down"]),
        ("\x1bOA\x1bOB", ["up", "down"]),
        ("\x1b[1;5A", ["up"]),
        ("\x1b[5~\x1b[6~", ["pgup", "pgdn"]),
        ("\x1b[H\x1b[F", ["home", "end"]),
        ("\x1b[1~\x1b[4~", ["home", "end"]),
        ("\x1b[7~\x1b[8~", ["home", "end"]),
        ("\x1bOH\x1bOF", ["home", "end"]),
        ("\x1bOM", ["enter"]),
        ("漢é", ["漢", "é"]),
    ],
)
def test_a_key_is_known_by_what_each_terminal_sends_for_it(sent: str, keys: list[str]) -> None:
    assert Keys().feed(sent.encode()) == keys


@pytest.mark.parametrize("sent", ["\x1b[A", "\x1b[5~", "\x1bOH", "漢", "\x1b[1;5B"])
def test_a_key_that_comes_byte_by_byte_is_one_key(sent: str) -> None:
    keys = Keys()
    found = [key for byte in sent.encode() for key in keys.feed(bytes([byte]))]
    assert found == Keys().feed(sent.encode())
    assert len(found) == 1
    assert not keys.is_waiting


@pytest.mark.parametrize("sent", ["\x1b[200~", "\x1b[15~", "\x1b[[A", "\x1b[?1;2c", "\x1bOP", "\x00"])
def test_a_key_that_means_nothing_types_nothing(sent: str) -> None:
    assert Keys().feed(sent.encode()) == []


def test_a_lone_escape_is_the_key_once_nothing_follows_it() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    waiting = [keys.is_waiting]
    assert keys.flush() == ["esc"]
    waiting.append(keys.is_waiting)
    assert waiting == [True, False]
    assert keys.flush() == []


def test_escape_and_a_letter_typed_fast_are_two_keys() -> None:
    assert Keys().feed(b"\x1bq") == ["esc", "q"]


def test_half_a_sequence_that_never_ends_is_let_go_of() -> None:
    keys = Keys()
    keys.feed(b"\x1b[" + b"1" * 20)
    assert keys.flush() == []
    assert keys.feed(b"q") == ["q"]


def test_bytes_that_are_no_utf_8_are_no_key() -> None:
    assert Keys().feed(b"\xff\xfeq") == ["q"]
