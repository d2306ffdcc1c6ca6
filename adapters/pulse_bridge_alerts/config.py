"""From what the user wrote to what is told to whom: options, then the file, then the defaults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from platformdirs import user_state_path

from pulse_bridge.errors import ConfigError
from pulse_bridge.subscriber import SubscriberUrl
from pulse_bridge_alerts.delivery import Delivery
from pulse_bridge_alerts.file import AlertsFile, read_file
from pulse_bridge_alerts.lane import Stamina
from pulse_bridge_alerts.options import AlertsOptions
from pulse_bridge_alerts.parsing import parse_repeat_s, parse_rules, parse_silence
from pulse_bridge_alerts.policy import Match, Policy, Route
from pulse_bridge_alerts.targets import Target, TargetKind, UrlSource, make_target, require_scheme
from pulse_bridge_alerts.template import Composer, read_template
from pulse_bridge_alerts.text import compose
from pulse_bridge_alerts.undelivered import Undelivered

_PLACE: Final = "alerts"
_ROUTE_TO_ALL: Final = "all"
_THRESHOLDS: Final = (
    "stuck_after_s",
    "host_silent_after_s",
    "loss_spike_factor",
    "group_s",
    "quiet_s",
    "forget_s",
)


@dataclass(frozen=True)
class Alerts:
    """All that is configured.

    Args:
        policy: For the rules and the noise budget.
        targets: Where messages may go.
        make_delivery: Makes what sends them.
        timeout_s: For one sending.
        name: The group; None for the subscriber's own name.
    """

    policy: Policy
    targets: tuple[Target, ...]
    make_delivery: Callable[[], Delivery]
    timeout_s: float
    name: str | None


def read_alerts(url: SubscriberUrl) -> Alerts:
    """Read everything that `alerts?…` and its file say; nothing is loaded or connected yet.

    Raises:
        ConfigError: Something is wrong or missing; the sentence names the place and the remedy, and no secret.
    """
    # First, because a refusal of another option would show what does not look like a URL.
    for kind in ("notify", "webhook"):
        for text in url.options.get(kind, ()):
            require_scheme(text.strip(), f"{_PLACE}: {kind}")
    options = url.parse_options(AlertsOptions)
    file = read_file(Path(options.config)) if options.config is not None else AlertsFile(_PLACE)
    targets = (*file.targets, *_option_targets(options, {target.name for target in file.targets}))
    if not targets:
        raise ConfigError(
            "alerts: there is no target: give notify=URL or webhook=URL, e.g. 'alerts?notify=json://HOST/PATH', or"
            " a file with [targets.NAME] by config=FILE.toml"
        )
    # Of each setting the option holds, else the file's, else the default.
    chosen = {**file.top.model_dump(exclude_none=True), **options.model_dump(exclude_none=True)}
    place = _PLACE if options.template else file.place
    composer = read_template(Path(chosen["template"]), f"{place}: template") if "template" in chosen else compose
    stamina = Stamina(**{name: chosen[name] for name in ("timeout_s", "give_up_after_s") if name in chosen})
    undelivered = Undelivered(
        Path(chosen["dead_letters"]) if "dead_letters" in chosen else _dead_letters(options.name)
    )
    return Alerts(
        policy=_policy(options, file, targets, chosen),
        targets=targets,
        make_delivery=_Factory(targets, undelivered, composer, stamina),
        timeout_s=stamina.timeout_s,
        name=options.name,
    )


@dataclass(frozen=True)
class _Factory:
    targets: tuple[Target, ...]
    undelivered: Undelivered
    composer: Composer
    stamina: Stamina

    def __call__(self) -> Delivery:
        return Delivery(self.targets, self.undelivered, composer=self.composer, stamina=self.stamina)


def _dead_letters(name: str | None) -> Path:
    return user_state_path("pulse-bridge") / f"{quote(name or 'alerts', safe='')}.undelivered.jsonl"


def _option_targets(options: AlertsOptions, taken: set[str]) -> list[Target]:
    found: list[Target] = []
    kinds: dict[TargetKind, UrlSource] = {
        "notify": UrlSource("notify", _plain(options.notify), options.notify_env, options.notify_file, _PLACE),
        "webhook": UrlSource(
            "webhook", _plain(options.webhook), options.webhook_env, options.webhook_file, _PLACE
        ),
    }
    for kind, source in kinds.items():
        for number, (url, place) in enumerate(source.read(), start=1):
            name = f"{kind}-{number}"
            if name in taken:
                raise ConfigError(f"{place}: it would be called {name!r}, as a target in the file is: rename that")
            found.append(make_target(name, kind, url, place))
    return found


def _plain(secrets: tuple[Any, ...]) -> list[str]:
    return [secret.get_secret_value() for secret in secrets]


def _policy(
    options: AlertsOptions, file: AlertsFile, targets: tuple[Target, ...], chosen: Mapping[str, Any]
) -> Policy:
    thresholds = {**file.thresholds, **{name: chosen[name] for name in _THRESHOLDS if name in chosen}}
    rules = file.rules
    if options.rules is not None:
        rules = parse_rules(options.rules.split(","), f"{_PLACE}: rules")
    elif options.loss_spike_factor is not None:
        rules |= {"loss-spike"}  # who sets its threshold wants it
    repeat = options.repeat_interval or file.top.repeat_interval or "off"
    place = _PLACE if options.repeat_interval else file.place
    silences = tuple(parse_silence(text, f"{_PLACE}: silence") for text in options.silence)
    return Policy(
        routes=_routes(options, file, targets),
        rules=rules,
        silences=(*file.silences, *silences),
        repeat_s=parse_repeat_s(repeat, f"{place}: repeat_interval"),
        **thresholds,
    )


def _routes(options: AlertsOptions, file: AlertsFile, targets: tuple[Target, ...]) -> tuple[Route, ...]:
    if not file.routes:
        names = tuple(target.name for target in targets)
        return (Route(_ROUTE_TO_ALL, names, match=Match(options.jobs, options.hosts)),)
    if options.jobs or options.hosts:
        raise ConfigError(
            f"alerts: the routes in {file.place} say which jobs and hosts: leave out jobs= and hosts="
        )
    routed = {name for route in file.routes for name in route.targets}
    if lost := [target.name for target in targets if target.name not in routed]:
        raise ConfigError(
            f"{file.place}: no route leads to the target {lost[0]!r}: name it in [[routes]], or leave it out"
        )
    return file.routes
