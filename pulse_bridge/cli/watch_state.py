"""What a person has chosen to see, and what each key makes of it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from pulse_bridge.cli.watch_rows import ORDERS, JobKey

Page = Literal["table", "job", "help"]

_MOVES: Final = {"up": -1, "k": -1, "down": 1, "j": 1}
_ORDER_KEYS: Final = {order.key: title for title, order in ORDERS.items()}
_MAX_FILTER_CHARS: Final = 200


@dataclass(frozen=True)
class Browse:
    """Where a person is.

    Args:
        back: The page that the help was called from.
        order: The column that is sorted by; empty for the order without any.
        words: The filter.
        typing: The filter is being written.
        selected: The job under the cursor; None at the top, whatever stands there.
        index: Its place in the list, kept for when it leaves.
        top: The first line of the list that is on the screen.
        scroll: So many events of the job's page, or lines of the help, are above what is shown.
        log: The curve is logarithmic.
        over: The person wants to leave.
    """

    page: Page = "table"
    back: Page = "table"
    order: str = ""
    backwards: bool = False
    grouped: bool = True
    words: str = ""
    typing: bool = False
    selected: JobKey | None = None
    index: int = 0
    top: int = 0
    scroll: int = 0
    log: bool = False
    over: bool = False

    @property
    def listing(self) -> tuple[str, bool, bool, str]:
        """Give what decides which jobs are listed, and in which order."""
        return self.order, self.backwards, self.grouped, self.words


def settle(browse: Browse, listed: Sequence[JobKey]) -> Browse:
    """Follow the selected job to where it stands now; if it has left, take the one in its place."""
    if not listed:
        return replace(browse, index=0, selected=browse.selected if browse.page == "job" else None)
    if browse.selected is None:
        return replace(browse, index=0)
    if browse.selected in listed:
        return replace(browse, index=listed.index(browse.selected))
    if browse.page == "job":
        return browse  # a filter or its end does not take a page away that is being read
    index = min(browse.index, len(listed) - 1)
    return replace(browse, index=index, selected=listed[index])


def press(browse: Browse, key: str, listed: Sequence[JobKey], page_rows: int) -> Browse:
    """Do what a key asks for; one that means nothing here changes nothing.

    Args:
        listed: The jobs in the order in which they are shown.
        page_rows: So many lines are shown at once.
    """
    browse = settle(browse, listed)
    if browse.typing:
        return _type(browse, key, listed, page_rows)
    if browse.page == "help":
        is_left = key in {"esc", "q", "?", "enter"}
        return replace(browse, page=browse.back, scroll=0) if is_left else _scroll(browse, key, page_rows)
    if key == "?":
        return replace(browse, page="help", back=browse.page, scroll=0)
    if browse.page == "job":
        return _press_on_job(browse, key, listed, page_rows)
    return _press_on_table(browse, key, listed, page_rows)


def _type(browse: Browse, key: str, listed: Sequence[JobKey], page_rows: int) -> Browse:
    if key in {"enter", "esc"}:
        return replace(browse, typing=False, words=browse.words if key == "enter" else "")
    if key == "backspace":
        # With nothing left to take back, the filter is left, as in less and vi.
        return replace(browse, words=browse.words[:-1], typing=bool(browse.words))
    if key == "ctrl-u":
        return replace(browse, words="")
    if key == "ctrl-w":
        return replace(browse, words=browse.words.rstrip().rpartition(" ")[0])
    if len(key) == 1:
        return replace(browse, words=(browse.words + key)[:_MAX_FILTER_CHARS])
    return _move(browse, key, listed, page_rows)


def _press_on_table(browse: Browse, key: str, listed: Sequence[JobKey], page_rows: int) -> Browse:
    if key in {"enter", "right"} and listed:
        return replace(browse, page="job", selected=listed[browse.index], scroll=0)
    simple = {
        "q": replace(browse, over=True),
        "/": replace(browse, typing=True),
        "esc": replace(browse, words=""),
        "g": replace(browse, grouped=not browse.grouped),
    }
    return simple.get(key) or _sort(browse, key) or _move(browse, key, listed, page_rows)


def _sort(browse: Browse, key: str) -> Browse | None:
    if key == "r":
        return replace(browse, backwards=not browse.backwards)
    if key == "O":
        return replace(browse, order="", backwards=False)
    if key in _ORDER_KEYS:
        title = _ORDER_KEYS[key]
        return replace(browse, order=title, backwards=browse.order == title and not browse.backwards)
    if key in {"<", ">"}:
        orders = ["", *ORDERS]
        place = orders.index(browse.order) + (1 if key == ">" else -1)
        return replace(browse, order=orders[place % len(orders)], backwards=False)
    return None


def _move(browse: Browse, key: str, listed: Sequence[JobKey], page_rows: int) -> Browse:
    last = len(listed) - 1
    steps = {
        **_MOVES,
        "pgup": -max(1, page_rows - 1),
        "ctrl-b": -max(1, page_rows - 1),
        "pgdn": max(1, page_rows - 1),
        "ctrl-f": max(1, page_rows - 1),
        " ": max(1, page_rows - 1),
        "home": -last,
        "end": last,
        "G": last,
    }
    if key not in steps or last < 0:
        return browse
    index = min(last, max(0, browse.index + steps[key]))
    # At the top the cursor stays at the top, though jobs come in above.
    return replace(browse, index=index, selected=listed[index] if index else None)


def _press_on_job(browse: Browse, key: str, listed: Sequence[JobKey], page_rows: int) -> Browse:
    if key in {"esc", "q", "left", "h", "backspace"}:
        return replace(browse, page="table")
    if key == "l":
        return replace(browse, log=not browse.log)
    if key in {"n", "p"} and listed:
        here = listed.index(browse.selected) if browse.selected in listed else browse.index
        index = min(len(listed) - 1, max(0, here + (1 if key == "n" else -1)))
        return replace(browse, index=index, selected=listed[index], scroll=0)
    return _scroll(browse, key, page_rows)


def _scroll(browse: Browse, key: str, page_rows: int) -> Browse:
    """Move what is below or above into sight; the drawing knows where the end is."""
    steps = {**_MOVES, "pgup": -page_rows, "pgdn": page_rows, " ": page_rows, "home": -browse.scroll}
    return replace(browse, scroll=max(0, browse.scroll + steps.get(key, 0)))
