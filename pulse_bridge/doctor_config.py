"""What is wrong with a configuration, as far as that can be known without connecting: everything at once."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pulse_bridge.bus import Bus, open_bus
from pulse_bridge.bus_url import BusUrl, hide_secret
from pulse_bridge.config import SidecarSettings, setting_mistakes, usable_settings
from pulse_bridge.doctor import Finding, as_sentence_and_remedy, count
from pulse_bridge.doctor_silent import do_in_time
from pulse_bridge.errors import ConfigError
from pulse_bridge.mistakes import near_name
from pulse_bridge.subscriber import Subscriber, SubscriberUrl, open_subscriber
from pulse_bridge.watch_paths import parse_paths

SUBJECT: Final = "configuration"

_VARIABLE_START: Final = "PULSE_BRIDGE_"
_NAMES_A_VARIABLE: Final = re.compile(r"[a-z_]*_env=([A-Za-z_][A-Za-z0-9_]*)")
_LOOK: Final = "correct it there; 'pulse-bridge config sample' explains every setting"
_LOOK_AT_URL: Final = "correct it there; README.md tells what may stand in a bus URL"
_LOOK_AT_SUBSCRIBER: Final = "correct it there; the subscriber's documentation tells its options"
_LOOK_AT_SERVER: Final = "see that what is mounted there answers ('ls' it), or mount it anew"
_ANY_PATH: Final = "."
"""Stands for a PATH where none is given: `run` may be given it when it starts."""


@dataclass(frozen=True)
class Configured:
    """What of a configuration is right, and all that is wrong with it.

    Args:
        settings: Those that are right; None where there is no PATH, or the host name is wrong.
        buses: By URL, those that could be made.
        destinations: Which of their URLs are published to; the others are read.
        subscribers: Those that could be made, each with what the user wrote.
        findings: Problems, advice, and what is fine.
    """

    settings: SidecarSettings | None
    buses: Mapping[str, Bus]
    subscribers: Sequence[tuple[SubscriberUrl, Subscriber]]
    findings: Sequence[Finding]
    destinations: frozenset[str] = frozenset()

    @property
    def broken(self) -> bool:
        """Say whether something in it is wrong."""
        return any(finding.level == "problem" for finding in self.findings)


def check_settings(
    file: Mapping[str, Any], flags: Mapping[str, Any], *, shown: str, sources: Iterable[str] = ()
) -> Configured:
    """Check settings, bus URLs, subscribers and PATHs.

    Args:
        file: What stands in the configuration file; empty where there is none.
        flags: What the command line and the environment give.
        shown: The file's name.
        sources: Further bus URLs that are read from.
    """
    merged = {**file, **flags}
    findings = [
        _mistake(sentence) for sentence in setting_mistakes({"paths": [_ANY_PATH], **file}, flags, shown=shown)
    ]
    places = {
        name: shown if name in file and name not in flags else "command line or environment" for name in merged
    }
    paths, urls, texts = (_texts(merged, name) for name in ("paths", "to", "with"))
    usable_paths = list(_usable_paths(paths, places.get("paths", shown), findings))
    buses = dict(_open_buses(urls, f"{places.get('to', shown)}: to", findings))
    buses |= dict(_open_buses(sources, "--from", findings))
    subscribers = list(_open_subscribers(texts, f"{places.get('with', shown)}: with", findings))
    return Configured(
        settings=usable_settings(file, {**flags, "paths": usable_paths}),
        buses=buses,
        subscribers=subscribers,
        findings=[*findings, *_say_what_is_there(findings, file, merged, shown)],
        destinations=frozenset(urls),
    )


def _say_what_is_there(
    mistakes: Sequence[Finding], file: Mapping[str, Any], merged: Mapping[str, Any], shown: str
) -> Iterator[Finding]:
    if file and not mistakes:
        yield Finding("fine", SUBJECT, f"{shown} is right: {count(len(file), 'setting')}")
    if not merged.get("paths"):
        yield Finding(
            "advice",
            SUBJECT,
            "no PATH is configured, so nothing would be watched",
            "name a status file, a folder or a glob: 'pulse-bridge run ./runs', or paths = [\"./runs\"] in"
            " pulse-bridge.toml; 'pulse-bridge config sample > pulse-bridge.toml' begins one",
        )
    elif not merged.get("to") and not merged.get("with"):
        yield Finding(
            "advice",
            SUBJECT,
            "no destination and no subscriber is configured, so events go into the journal and nowhere else",
            "add --to redis://HOST or --to mqtt://HOST, or --with web for a page; 'pulse-bridge watch' shows the"
            " journal as it is",
        )


def _texts(merged: Mapping[str, Any], name: str) -> list[str]:
    """Give a setting that is a list of texts, or nothing where it is something else, which is told already."""
    value = merged.get(name, ())
    return [item for item in value if isinstance(item, str)] if isinstance(value, list | tuple) else []


def _usable_paths(paths: Sequence[str], place: str, findings: list[Finding]) -> Iterator[str]:
    """Give each PATH that is right by itself and beside those before it."""
    usable: list[str] = []
    for path in paths:
        try:
            do_in_time(partial(parse_paths, [*usable, path]))
        except TimeoutError:
            findings.append(
                _mistake(f"{place}: paths: the file system of {path} does not answer", _LOOK_AT_SERVER)
            )
        except ConfigError as error:
            findings += _mistakes(f"{place}: paths", error)
        else:
            usable.append(path)
            yield path


def _open_buses(urls: Iterable[str], place: str, findings: list[Finding]) -> Iterator[tuple[str, Bus]]:
    identities: set[str] = set()
    for url in urls:
        try:
            bus = open_bus(url)
        except ConfigError as error:
            findings += _mistakes(place, error, _LOOK_AT_URL)
            continue
        identity = BusUrl.parse(url).identity if "://" in url else url
        if identity in identities:
            findings.append(
                _mistake(f"{place}: {hide_secret(url)}: this destination is named twice; leave one out")
            )
            continue
        identities.add(identity)
        yield url, bus


def _open_subscribers(
    texts: Iterable[str], place: str, findings: list[Finding]
) -> Iterator[tuple[SubscriberUrl, Subscriber]]:
    groups: set[str] = set()
    for text in texts:
        try:
            url = SubscriberUrl.parse(text)
            subscriber = open_subscriber(url)
        except ConfigError as error:
            findings += _mistakes(place, error, _LOOK_AT_SUBSCRIBER)
            continue
        if url.group in groups:
            findings.append(
                _mistake(
                    f"{place}: {url}: a subscriber with the name {url.group!r} is there already; leave one out, or"
                    " give it a name of its own with '?name=NAME'"
                )
            )
            continue
        groups.add(url.group)
        findings += _check_places(url, place)
        yield url, subscriber


def _check_places(url: SubscriberUrl, place: str) -> Iterator[Finding]:
    """Tell of variables and files that a subscriber is pointed to, and that are not there."""
    for option, values in url.options.items():
        for value in values:
            where = f"{place}: {url}: {option}"
            if option.endswith("_env") and value not in os.environ:
                yield Finding(
                    "problem",
                    SUBJECT,
                    f"{where}: the environment variable {value} is not set",
                    "set it where pulse-bridge starts, or name another one",
                )
            if option.endswith("_file") and not os.access(value, os.R_OK):
                yield Finding(
                    "problem",
                    SUBJECT,
                    f"{where}: the file {value} cannot be read",
                    "let the user that pulse-bridge runs as read it, or name another one",
                )


def _mistakes(place: str, error: ConfigError, otherwise: str = _LOOK) -> Iterator[Finding]:
    for sentence in error.sentences:
        yield _mistake(f"{place}: {sentence}", otherwise)


def _mistake(sentence: str, otherwise: str = _LOOK) -> Finding:
    return Finding("problem", SUBJECT, *as_sentence_and_remedy(ConfigError(sentence), otherwise))


def check_variables(environ: Mapping[str, str], known: Iterable[str], texts: Iterable[str]) -> Iterator[Finding]:
    """Tell of variables that nobody reads.

    Args:
        environ: The environment.
        known: The variables that commands read.
        texts: Bus URLs, subscribers and files, which may name variables of the user's own (`password_env=NAME`).
    """
    known = sorted(known)
    own = {name for text in texts for name in _NAMES_A_VARIABLE.findall(text)}
    for name in sorted(environ):
        if not name.startswith(_VARIABLE_START) or name in known or name in own:
            continue
        near = near_name(name, known, start=_VARIABLE_START)
        yield Finding(
            "problem" if near else "advice",
            SUBJECT,
            f"the environment variable {name} is set, and no command reads it{near}",
            "rename or unset it",
        )
