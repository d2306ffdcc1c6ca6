"""What is wrong with status files: pure, facts in and findings out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pulse_bridge.doctor import Finding, Level, count
from pulse_bridge.mounts import Mounts, is_remote
from pulse_bridge.pulse import Pulse
from pulse_bridge.watch_paths import STATUS_NAME, FilePath, Target

SUBJECT: Final = "status files"

SKEW_S: Final = 5.0
"""A writer's clock that is off by less disturbs nobody; whole seconds and a slow write make some of it."""

SHOWN_JOBS: Final = 5
"""So many names stand in one sentence."""

_MILLISECONDS: Final = 100
"""A timestamp so many times too large is one in milliseconds, or finer."""

_NFS_DEFAULTS_S: Final = {"acregmax": 60, "acdirmax": 60}
"""Source: nfs(5): how long a client believes what it knows of a file, and of a folder, without asking."""


@dataclass(frozen=True)
class FileFacts:
    """One status file as it was found.

    Args:
        job: Its name.
        path: Absolute.
        pulse: What it says; None where it cannot be read.
        refusal: Why not, in words that name the file; None where it can.
        written_at_s: Unix seconds of its last change by the file system's clock; None where it is not there.
        in_place: It was seen to be rewritten where it stands, and not replaced.
        replaced: It was seen to be replaced.
    """

    job: str
    path: str
    pulse: Pulse | None = None
    refusal: str | None = None
    written_at_s: float | None = None
    in_place: bool = False
    replaced: bool = False

    @property
    def is_there(self) -> bool:
        """Say whether there is such a file."""
        return self.written_at_s is not None or self.refusal is not None


@dataclass(frozen=True)
class LookFacts:
    """What a look at everything that is configured found.

    Args:
        targets: What was looked for, by what the user wrote.
        files: Every file, in order.
        searched: So many folders were looked into.
        refused: Folder that could not be listed to the reason.
        relatives: Files below what was searched that read as PULSE and have another name than is searched for.
        mounts: The mount table.
        complete: The search came to its end; if not, a file server did not answer.
        silent: Mount point to type of the file systems that did not, as far as that is known.
    """

    targets: Mapping[str, Target]
    files: Sequence[FileFacts]
    searched: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    relatives: Sequence[str] = ()
    mounts: Mounts = field(default_factory=Mounts)
    complete: bool = True
    silent: Mapping[str, str] = field(default_factory=dict)


def check_files(
    look: LookFacts, *, real_paths: Mapping[str, str], stale_after_s: float, wall_s: float
) -> Iterator[Finding]:
    """Judge what was found.

    Args:
        real_paths: Path of each file and target to itself with no link in it.
        stale_after_s: The configured threshold.
        wall_s: Unix seconds now.
    """
    for point, fs_type in look.silent.items():
        yield _problem(
            f"{point} is {fs_type} and does not answer, so the search for status files does not come to an end",
            "see that its server runs, mount it anew or unmount it; a sidecar that looks there waits for it, too",
        )
    if not look.complete and not look.silent:
        yield _problem(
            "the search for status files does not come to an end: a file server does not answer, or there are very"
            " many folders",
            "see that what is mounted there answers ('ls' it), or name files or a glob instead of a whole folder",
        )
    yield from _check_found(look)
    for folder, reason in look.refused.items():
        yield _problem(
            f"the folder {folder} cannot be searched: {reason}",
            "let the user that pulse-bridge runs as list it (chmod o+rx, or a group)",
        )
    for file in look.files:
        yield from _check_file(file, wall_s, stale_after_s)
    yield from _check_mounts(look, real_paths, stale_after_s)


def _check_found(look: LookFacts) -> Iterator[Finding]:
    there = [file for file in look.files if file.is_there]
    for file in look.files:
        if not file.is_there:
            yield Finding(
                "advice",
                SUBJECT,
                f"there is no file {file.path} (job {file.job!r}) yet",
                "nothing need be done if the training is still to write it; else compare the path with the one"
                " that it writes to",
            )
    if there:
        jobs = _some([file.job for file in there])
        yield Finding("fine", SUBJECT, f"{len(there)} found: {jobs}")
        return
    searches = {text: target for text, target in look.targets.items() if not isinstance(target, FilePath)}
    if not searches:
        return
    places = ", ".join(f"{target.root} (for {text})" for text, target in searches.items())
    if look.relatives:
        remedy = f"{look.relatives[0]} reads as one: name that file, or a glob that matches it, as PATH"
    else:
        remedy = (
            f"write {STATUS_NAME} there: 'pulse-bridge write running --path FOLDER/{STATUS_NAME} --epoch 0"
            " --total-epochs 1 --loss 1' tries it; a file of another name must be named as PATH"
        )
    below = f", {count(look.searched, 'folder')} in all" if look.searched else ""
    sentence = f"no status file found; looked in {places}{below}"
    yield Finding("advice" if look.complete else "problem", SUBJECT, sentence, remedy)


def _check_file(file: FileFacts, wall_s: float, stale_after_s: float) -> Iterator[Finding]:
    if file.refusal is not None:
        yield _problem(file.refusal, f"have the training write a PULSE v1 object to {file.path}")
    if file.in_place:
        yield _problem(
            f"{file.path} is rewritten where it stands and not replaced, so that a reader can see half of it",
            "write a temporary file in the same folder and rename it over the target (os.replace), or use"
            " pulse_bridge.writer",
        )
    elif file.replaced:
        yield Finding("fine", SUBJECT, f"{file.path} is replaced in one step, as it should be")
    if file.pulse is not None and file.written_at_s is not None:
        yield from _check_clock(file, file.pulse, file.written_at_s, wall_s, stale_after_s)


def _check_clock(
    file: FileFacts, pulse: Pulse, written_at_s: float, wall_s: float, stale_after_s: float
) -> Iterator[Finding]:
    """Compare the writer's clock with the file system's, which stamped the same write."""
    if pulse.timestamp > _MILLISECONDS * wall_s:
        yield _problem(
            f"{file.path}: its timestamp {pulse.timestamp} is not in seconds, so its job can never become stale",
            "write whole Unix seconds: int(time.time())",
        )
        return
    ahead_s = pulse.timestamp - min(written_at_s, wall_s)
    if ahead_s > SKEW_S:
        yield Finding(
            "advice",
            SUBJECT,
            f"{file.path}: the writer's clock is {ahead_s:.0f} s ahead of the clock of this file system",
            "set the writer's clock (chrony, ntpd); until then a death just after a start is noticed later",
        )
    elif pulse.status == "running" and ahead_s < -SKEW_S:
        stale = -ahead_s > stale_after_s
        level: Level = "problem" if stale else "advice"
        effect = f", so its job is stale at first sight (stale_after_s is {stale_after_s:g})" if stale else ""
        yield Finding(
            level,
            SUBJECT,
            f"{file.path}: the writer's clock is {-ahead_s:.0f} s behind the clock of this file system{effect}",
            "set the writer's clock (chrony, ntpd), or set stale_after_s above the difference",
        )


def _check_mounts(look: LookFacts, real_paths: Mapping[str, str], stale_after_s: float) -> Iterator[Finding]:
    for file in look.files:
        if {file.path, real_paths.get(file.path)} & look.mounts.fs_type_by_point.keys():
            folder = file.path.rpartition("/")[0]
            yield _problem(
                f"{file.path} is mounted as a single file, so it never shows that it was replaced (moby#22627)",
                f"mount its folder instead: {folder}, as in 'docker run -v FOLDER:{folder}'",
            )
    told: set[str] = set()
    for path in [*(target.root for target in look.targets.values()), *(file.path for file in look.files)]:
        point = look.mounts.point(real_paths.get(path, path))
        if point is None or point in told or not is_remote(look.mounts.fs_type_by_point[point]):
            continue
        told.add(point)
        yield from _check_remote(point, look.mounts, stale_after_s)


def _check_remote(point: str, mounts: Mounts, stale_after_s: float) -> Iterator[Finding]:
    fs_type = mounts.fs_type_by_point[point]
    delay_s = _nfs_delay_s(mounts.options_by_point.get(point, {})) if fs_type.startswith("nfs") else 0
    if delay_s and stale_after_s <= delay_s:
        yield Finding(
            "advice",
            SUBJECT,
            f"{point} is {fs_type} and may show a file as it was {delay_s} s ago (acregmax, acdirmax), while a job"
            f" is stale after {stale_after_s:g} s, so that one that runs may be called stale",
            f"set stale_after_s to {2 * delay_s} or more, or mount it with actimeo=5",
        )
        return
    yield Finding(
        "advice",
        SUBJECT,
        f"{point} is {fs_type}: the kernel tells of no changes there, so its files are polled",
        "nothing need be done; a state that lasts less than poll_s can go unseen, so where that matters run the"
        " sidecar on the machine that writes",
    )


def _nfs_delay_s(options: Mapping[str, str]) -> int:
    """Give for how long an NFS client may believe what it knows."""
    if "noac" in options:
        return 0
    return max(_number(options.get(name), default_s) for name, default_s in _NFS_DEFAULTS_S.items())


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_JOBS])
    return shown if len(names) <= SHOWN_JOBS else f"{shown} and {len(names) - SHOWN_JOBS} more"


def _problem(sentence: str, remedy: str) -> Finding:
    return Finding("problem", SUBJECT, sentence, remedy)
