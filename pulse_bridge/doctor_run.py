"""Everything that `pulse-bridge doctor` looks at, in order: configuration, files, machine, journal, buses."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pulse_bridge.bus import Bus
from pulse_bridge.bus_url import hide_secret
from pulse_bridge.config import SidecarSettings, default_host, default_journal
from pulse_bridge.doctor import Examinable, Examination, Finding, as_sentence_and_remedy, examine_bus
from pulse_bridge.doctor_config import Configured
from pulse_bridge.doctor_files import check_files
from pulse_bridge.doctor_host import (
    WatchFacts,
    advise_local_servers,
    check_hints,
    check_host_name,
    find_local_servers,
    is_in_container,
    read_limits,
)
from pulse_bridge.doctor_journal import SUBJECT as JOURNAL
from pulse_bridge.doctor_journal import JournalFacts, check_journal, read_journal
from pulse_bridge.doctor_look import look_in_time, open_counting_hints
from pulse_bridge.doctor_silent import ANSWER_S
from pulse_bridge.errors import ConfigError, PulseBridgeError
from pulse_bridge.subscriber import Subscriber, SubscriberUrl
from pulse_bridge.threads import run_in_daemon_thread

EXAMINE_S: Final = 20.0
"""So long one bus or subscriber may look at itself."""

_DEFAULTS: Final = SidecarSettings.model_construct(paths=())
"""For a look where nothing is configured."""


@dataclass(frozen=True)
class Seen:
    """What one part of the doctor's round passes on to the next.

    Args:
        findings: So far.
        jobs: Names of the jobs that have a file; empty where nobody looked.
        certain: There are no others: the configuration is right, and the search came to its end.
    """

    findings: list[Finding]
    jobs: frozenset[str] = frozenset()
    certain: bool = True


async def examine(configured: Configured, *, watch_s: float) -> list[Finding]:
    """Look at everything.

    Args:
        configured: What is configured, with what is wrong with it; what is right is looked at all the same.
        watch_s: How long to watch how status files are written.
    """
    settings = configured.settings or _DEFAULTS
    seen = Seen(list(configured.findings), certain=not configured.broken)
    if configured.settings is not None:
        seen = await _look_at_files(settings, watch_s, seen)
    elif not configured.broken:
        seen.findings.extend(await asyncio.to_thread(lambda: list(advise_local_servers(find_local_servers()))))
    host = settings.host if configured.settings else default_host(os.environ)
    journal = None
    if configured.settings is not None or not configured.broken:
        in_container = is_in_container()
        seen.findings.extend(check_host_name(host, chosen=host != default_host({}), in_container=in_container))
        journal = await _look_at_journal(settings, host, seen.findings, wanted=configured.settings is not None)
    base = _examination(host, journal, seen)
    looks = [
        _examine_bus(url, bus, base, publishes=url in configured.destinations)
        for url, bus in configured.buses.items()
    ]
    looks += [_examine_subscriber(url, subscriber, base) for url, subscriber in configured.subscribers]
    for found in await asyncio.gather(*looks):
        seen.findings.extend(found)
    return seen.findings


async def _look_at_files(settings: SidecarSettings, watch_s: float, seen: Seen) -> Seen:
    hints = open_counting_hints()
    try:
        facts, real = await look_in_time(settings.paths, watch_s=watch_s, hints=hints)
    finally:
        hints.close()
    found = list(check_files(facts, real_paths=real, stale_after_s=settings.stale_after_s, wall_s=time.time()))
    watching = WatchFacts(hints.inner is not None, len(hints.folders), len(hints.refused), read_limits())
    jobs = frozenset(file.job for file in facts.files if file.is_there)
    return Seen([*seen.findings, *found, *check_hints(watching)], jobs, certain=facts.complete and seen.certain)


async def _look_at_journal(
    settings: SidecarSettings, host: str, findings: list[Finding], *, wanted: bool
) -> JournalFacts | None:
    def read() -> JournalFacts:
        return read_journal(settings.journal or default_journal(host), host)

    try:
        async with asyncio.timeout(ANSWER_S):
            journal = await run_in_daemon_thread(read)
    except TimeoutError:
        sentence = f"the file system of {settings.journal or 'the journal'} does not answer"
        findings.append(Finding("problem", JOURNAL, sentence, "choose a file on a local disk with --journal"))
        return None
    except ConfigError as error:
        findings.append(
            Finding("problem", JOURNAL, *as_sentence_and_remedy(error, "choose another with --journal"))
        )
        return None
    findings.extend(
        check_journal(journal, max_bytes=settings.journal_max_bytes, host=host, wall_s=time.time(), wanted=wanted)
    )
    return journal


def _examination(host: str, journal: JournalFacts | None, seen: Seen) -> Examination:
    """Gather what buses may want to know."""
    running = journal is not None and journal.held
    jobs = None
    if seen.certain and journal is not None and journal.exists and journal.refusal is None:
        jobs = seen.jobs.union(journal.jobs)
    return Examination(
        subject="",
        host=host,
        owner=journal.newest.owner if journal is not None and journal.newest else None,
        running=running,
        sidecar_pid=journal.pid if journal is not None and running else None,
        jobs=jobs,
        publishes=False,
        wall_s=time.time(),
    )


async def _examine_bus(url: str, bus: Bus, base: Examination, *, publishes: bool) -> list[Finding]:
    examination = replace(base, subject=hide_secret(url), publishes=publishes)
    return await _in_time(examine_bus(bus, examination), examination)


async def _examine_subscriber(url: SubscriberUrl, subscriber: Subscriber, base: Examination) -> list[Finding]:
    examination = replace(base, subject=f"subscriber {url}")
    if not isinstance(subscriber, Examinable):
        return [examination.fine("it is installed, and its options are right")]
    return await _in_time(subscriber.examine(examination), examination)


async def _in_time(findings: AsyncIterator[Finding], examination: Examination) -> list[Finding]:
    """Collect what one tells, whatever goes wrong with it: the others are to be heard, too."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(EXAMINE_S):
            async for finding in findings:
                found.append(finding)  # noqa: PERF401 - what came before an error counts
    except TimeoutError:
        found.append(
            examination.problem(
                f"it does not answer in {EXAMINE_S:g} s", "see that it runs, and that this machine may reach it"
            )
        )
    except PulseBridgeError as error:
        found.append(examination.problem(*as_sentence_and_remedy(error)))
    except Exception as error:  # noqa: BLE001 - a third party's may raise anything
        found.append(
            examination.problem(
                f"it cannot be looked at: {type(error).__name__}: {error}", "tell whoever wrote it"
            )
        )
    return found


def worst_first(findings: list[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    """Group findings by subject, in the order in which subjects came; in a group the worst first."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.subject, []).append(finding)
    rank: Mapping[str, int] = {"problem": 0, "advice": 1, "fine": 2}
    for subject, group in groups.items():
        yield subject, sorted(group, key=lambda finding: rank[finding.level])
