"""The list of all jobs as rows that fit the terminal; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from rich.cells import cell_len

from pulse_bridge.cli.watch_columns import (
    MIN_NAME,
    PADDING,
    choose_columns,
    draw_job_row,
    draw_titles,
)
from pulse_bridge.cli.watch_rows import (
    Group,
    Job,
    JobKey,
    choose,
    group,
    needs_words,
    sort,
    states_are_over,
    voices,
)
from pulse_bridge.cli.watch_scene import Drawn, Scene, assemble, footer
from pulse_bridge.cli.watch_screen import Row, Size, highlight, line, shown, span
from pulse_bridge.cli.watch_state import Browse, settle
from pulse_bridge.cli.watch_words import VOICE_STYLES, Voice, describe_host
from pulse_bridge.event import FINISHED_STATES, STATES, State

_SMALL_ROWS: Final = 8
"""A terminal of fewer rows shows nothing but jobs and their titles."""

_MAX_HOSTS_BELOW: Final = 3
_STICKY_ROWS: Final = 3
_HINTS: Final = "Enter job  / filter  N S P E L T U sort  r reverse  g hosts  ? help  q quit"
_FEWER_HINTS: Final = ("Enter job  / filter  ? help  q quit", "? help  q quit")


def draw_table(scene: Scene, browse: Browse, size: Size) -> Drawn:
    """Draw the list around the selected job."""
    heard = voices(scene.fleet, scene.at, scene.link)
    groups = _groups(scene, browse, heard)
    listed = _listed(groups)
    browse = settle(browse, listed)
    small = size.height < _SMALL_ROWS
    foot = footer(scene, size)
    foot = [*([] if browse.grouped or small else _hosts_below(scene, heard, size)), *foot]
    head = [] if small else [_title(scene, size)]
    rows = max(1, size.height - len(head) - 1 - len(foot) - (0 if small else 1))
    lines = _lines(groups)
    browse = _scroll(browse, lines, listed, rows)
    window = _window(lines, browse.top, rows)
    columns = choose_columns(scene, size, [job for _, job in window if job], _name_width(groups))
    selected = listed[browse.index] if scene.keys and listed else None
    body = []
    for item, job in window:
        if job is None:
            body.append(_heading(item, scene, heard, size))
            continue
        row = draw_job_row(job, _name(job, item), scene, columns, size, cursor=job.key == selected)
        body.append(highlight(row, size) if job.key == selected else row)
    if not listed:
        body = [*body, line(_why_none(scene, browse), size, "dim", glyphs=scene.glyphs)]
    if not small:
        foot = [*foot, _status(scene, browse, len(listed), len(scene.fleet.jobs), size)]
    head = [*head, draw_titles(columns, browse, scene, size)]
    return Drawn(assemble(head, body, foot, size), listed, rows, browse)


def list_jobs(scene: Scene, browse: Browse) -> list[JobKey]:
    """Give the jobs in the order in which the list has them."""
    return _listed(_groups(scene, browse, voices(scene.fleet, scene.at, scene.link)))


def _groups(scene: Scene, browse: Browse, heard: Mapping[str, Voice]) -> list[Group]:
    jobs = sort(choose(scene.fleet, heard, browse.words), browse.order, backwards=browse.backwards)
    if browse.grouped:
        return group(jobs, scene.fleet, filtered=bool(browse.words.strip()))
    return [Group(None, jobs, {})]


def _listed(groups: Sequence[Group]) -> list[JobKey]:
    return [job.key for item in groups for job in item.jobs]


def last_rows(scene: Scene, browse: Browse, size: Size) -> list[Row]:
    """Draw what stays on the ordinary screen: the jobs in their order, as many as fit, and how many do not."""
    browse = replace(browse, page="table", selected=None, top=0, typing=False)
    tall = Size(size.width, max(_SMALL_ROWS, size.height))
    drawn = draw_table(replace(scene, keys=False), browse, tall)
    end = 2 + drawn.page_rows
    body = [row for row in drawn.frame[2:end] if row]
    more = len(drawn.listed) - _count_jobs(body)
    if more:
        more += _count_jobs(body[-1:])
        body[-1] = line(f"and {more} more jobs", size, glyphs=scene.glyphs)
    return [drawn.frame[1], *body, *drawn.frame[end:-1]]


def _count_jobs(rows: Sequence[Row]) -> int:
    return sum(len(row) > 1 for row in rows)  # a heading is of one piece


def _why_none(scene: Scene, browse: Browse) -> str:
    if scene.fleet.jobs:
        return f"no job matches {browse.words!r}"
    return "no jobs yet"


_Line = tuple[Group, Job | None]


def _lines(groups: Sequence[Group]) -> list[_Line]:
    """Give the list line by line: a heading for each host, then its jobs."""
    lines: list[_Line] = []
    for item in groups:
        if item.host is not None:
            lines.append((item, None))
        lines += [(item, job) for job in item.jobs]
    return lines


def _scroll(browse: Browse, lines: Sequence[_Line], listed: Sequence[JobKey], rows: int) -> Browse:
    """Move the window just so far that the selected job is in it, below its host's heading."""
    top = browse.top
    if listed and browse.index:
        selected = listed[browse.index]
        at = next(number for number, (_, job) in enumerate(lines) if job is not None and job.key == selected)
        above = 1 if browse.grouped and rows >= _STICKY_ROWS else 0
        top = max(min(top, at - above), at - rows + 1)
    else:
        top = 0
    return replace(browse, top=max(0, min(top, len(lines) - rows)))


def _window(lines: Sequence[_Line], top: int, rows: int) -> list[_Line]:
    """Give the lines on the screen. The heading of what stands at the upper edge stays there."""
    window = list(lines[top : top + rows])
    if rows >= _STICKY_ROWS and window and window[0][1] is not None and window[0][0].host is not None:
        window[0] = (window[0][0], None)
    return window


def _name(job: Job, item: Group) -> str:
    return shown(job.event.job if item.host is not None else f"{job.event.host}/{job.event.job}")


def _name_width(groups: Sequence[Group]) -> int:
    return max((cell_len(_name(job, item)) for item in groups for job in item.jobs), default=MIN_NAME)


def _heading(item: Group, scene: Scene, heard: Mapping[str, Voice], size: Size) -> Row:
    name = item.host or ""
    over = states_are_over(item.states)
    sentence = describe_host(name, scene.fleet.hosts[name], heard[name], scene.at, unfinished=not over)
    counts = _counts(item.states)
    text = f"{sentence}; {counts}" if counts else sentence
    return (span(0, size.width, shown(text), VOICE_STYLES[heard[name]] or "bold", cut=scene.glyphs.cut),)


def _counts(states: Mapping[State, int]) -> str:
    return ", ".join(f"{states[state]} {state}" for state in STATES if states.get(state))


def _hosts_below(scene: Scene, heard: Mapping[str, Voice], size: Size) -> list[Row]:
    """Say of hosts without a heading what is to be said of them."""
    unfinished = {job.host for job in scene.fleet.jobs.values() if job.state not in FINISHED_STATES}
    found = [
        (name, host)
        for name, host in sorted(scene.fleet.hosts.items())
        if needs_words(host, heard[name], over=name not in unfinished)
    ]
    rows = [
        line(
            describe_host(name, host, heard[name], scene.at, unfinished=name in unfinished),
            size,
            VOICE_STYLES[heard[name]],
            glyphs=scene.glyphs,
        )
        for name, host in found[:_MAX_HOSTS_BELOW]
    ]
    more = len(found) - len(rows)
    return [*rows, line(f"and {more} more hosts with something to say", size)] if more > 0 else rows


def _title(scene: Scene, size: Size) -> Row:
    """Count the jobs by state, and say where they come from if there is room."""
    states: dict[State, int] = {}
    for event in scene.fleet.jobs.values():
        states[event.state] = states.get(event.state, 0) + 1
    total = len(scene.fleet.jobs)
    text = f"{total} {'job' if total == 1 else 'jobs'} on {len(scene.fleet.hosts)}"
    text += f" {'host' if len(scene.fleet.hosts) == 1 else 'hosts'}"
    text += f": {_counts(states)}" if states else ""
    source = shown(scene.title)
    room = size.width - cell_len(text) - PADDING
    if not source or room < cell_len(source):
        return (span(0, size.width, text, "bold", cut=scene.glyphs.cut),)
    width = cell_len(text)
    return span(0, width, text, "bold"), span(width + PADDING, room, source, "dim", right=True)


def _status(scene: Scene, browse: Browse, listed: int, total: int, size: Size) -> Row:
    """Draw the line at the lower edge: the filter while there is one, else what can be done."""
    place = f"{browse.index + 1 if scene.keys and listed else listed} of {listed}"
    if browse.typing or browse.words:
        found = f"{listed} of {total} jobs"
        caret = "_" if browse.typing else ""
        how = "Enter keeps, Esc clears" if browse.typing else "Esc clears"
        return (
            span(0, size.width, f"/{shown(browse.words)}{caret}  {found}  {how}", "bold", cut=scene.glyphs.cut),
        )
    if not scene.keys:
        return (span(0, size.width, "Ctrl-C ends it", "dim", cut=scene.glyphs.cut),)
    width = cell_len(place)
    room = size.width - width - PADDING
    if room < MIN_NAME:
        return (span(0, size.width, place, "dim", cut=scene.glyphs.cut),)
    hints = _fit_hints(room)
    return span(0, room, hints, "dim", cut=scene.glyphs.cut), span(room + PADDING, width, place, "dim")


def _fit_hints(room: int) -> str:
    """Give as many hints as there is room for; how to get help and out come before the others."""
    return next((text for text in (_HINTS, *_FEWER_HINTS) if cell_len(text) <= room), "?")
