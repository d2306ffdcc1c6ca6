"""`pulse-bridge doctor`: is the configuration right, what is wrong here and on the buses, what to do."""

import asyncio
import copy
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pulse_bridge.cli.options import from_option, given
from pulse_bridge.cli.run import run

if TYPE_CHECKING:
    from pulse_bridge.doctor import Cure, Finding
    from pulse_bridge.doctor_config import Configured

_CONFIG_SUFFIX: Final = ".toml"


class _BoolOrText(click.types.BoolParamType):
    """Leaves what is neither yes nor no as it is."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Read a yes or no."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            return value


def _of_run() -> list[click.Parameter]:
    """Give the parameters of `run`, for what it can be told is what is to be examined.

    A number and the like is taken as the text that it is, so that a wrong one is a finding among others; and no
    file is asked for yet, whose file system may not answer.
    """
    found = []
    for parameter in run.params:
        mine = copy.copy(parameter)
        if isinstance(mine.type, click.types.BoolParamType):
            mine.type = _BoolOrText()
        elif mine.name != "config":
            mine.type = click.STRING
        found.append(mine)
    return found


@click.command(short_help="Say what is wrong here and on the buses, and what to do.", params=_of_run())
@from_option
@click.option("--offline", is_flag=True, help="Check the configuration only, and connect to nothing.")
@click.option(
    "--watch-s",
    type=click.FloatRange(0, 3600),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="Watch so long how the status files of running jobs are written.",
)
@click.option("--clean", is_flag=True, help="Remove what jobs that are no more left behind, after asking.")
@click.option("--yes", is_flag=True, help="Remove it without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead.")
def doctor(
    paths: tuple[str, ...],
    config: Path | None,
    source: str | None,
    watch_s: float,
    *,
    offline: bool,
    clean: bool,
    yes: bool,
    as_json: bool,
    **flags: Any,  # noqa: ANN401 - click's values, validated by the settings
) -> None:
    """Say what is wrong here and on the buses, and what to do about it.

    Write it as you would write 'pulse-bridge run', and what that would do is looked at; with nothing behind it,
    what pulse-bridge.toml and the environment say. A PATH that ends in .toml is a configuration file.

    Nothing is written that stays. Exit code 1 if something is wrong; advice is no fault.
    """
    import logging  # noqa: PLC0415

    from pulse_bridge.cli.doctor_report import print_json, print_report  # noqa: PLC0415

    logging.getLogger().setLevel(logging.CRITICAL)  # what is wrong is told as a finding
    if clean and not yes and (as_json or not os.isatty(0)):
        raise click.UsageError("--clean asks before it removes anything; add --yes where nobody can answer.")
    if clean and offline:
        raise click.UsageError("--clean removes things on a bus, and --offline connects to none; leave one out.")
    files = [Path(path) for path in paths if path.endswith(_CONFIG_SUFFIX)]
    if len(files) + (config is not None) > 1:
        raise click.UsageError("more than one configuration file is named; leave all but one out.")
    flags["paths"] = tuple(path for path in paths if not path.endswith(_CONFIG_SUFFIX))
    configured = _check(files[0] if files else config, flags, source)
    findings = list(configured.findings)
    if not offline:
        findings = _examine(configured, watch_s)
    if as_json:
        print_json(findings)
    else:
        print_report(findings)
    if clean:
        _clean([finding.cure for finding in findings if finding.cure is not None], yes=yes)
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)


def _check(config: Path | None, flags: dict[str, Any], source: str | None) -> "Configured":
    # Imported here, so that --help need not wait for it.
    from dataclasses import replace  # noqa: PLC0415

    from pulse_bridge.config import CONFIG_FILE, read_config  # noqa: PLC0415
    from pulse_bridge.doctor import Finding  # noqa: PLC0415
    from pulse_bridge.doctor_config import SUBJECT, check_settings, check_variables  # noqa: PLC0415
    from pulse_bridge.errors import ConfigError  # noqa: PLC0415

    mistakes: list[Finding] = []
    file: dict[str, Any] = {}
    try:
        file = read_config(config)
    except ConfigError as error:
        mistakes.append(
            Finding("problem", SUBJECT, str(error), "'pulse-bridge config sample' prints one that is right")
        )
    try:
        found = given(flags)
    except click.BadParameter as error:
        mistakes.append(Finding("problem", SUBJECT, error.format_message(), "write --label NAME=VALUE"))
        found = given({**flags, "labels": ()})
    configured = check_settings(
        file, found, shown=str(config or CONFIG_FILE), sources=[source] if source is not None else []
    )
    texts = [repr({**file, **found}), source or "", *_texts_of_files(configured)]
    mistakes += check_variables(os.environ, known_variables(), texts)
    return replace(configured, findings=[*mistakes, *configured.findings])


def _texts_of_files(configured: "Configured") -> Iterator[str]:
    """Give the files that subscribers are configured by: they may name variables, too."""
    for url, _ in configured.subscribers:
        for path in url.options.get("config", ()):
            try:
                yield Path(path).read_text(encoding="utf-8").replace(" ", "").replace('"', "")
            except (OSError, UnicodeDecodeError):
                continue


def known_variables() -> set[str]:
    """Give the variables that a command reads."""
    from pulse_bridge.cli import cli  # noqa: PLC0415 - it imports this module

    context = click.Context(cli)
    names: set[str] = set(_variables_of(cli))
    for name in cli.list_commands(context):
        try:
            command = cli.get_command(context, name)
        except Exception:  # noqa: BLE001, S112 - a third party's module may raise anything
            continue
        if command is not None:
            names.update(_variables_of(command))
    return names


def _variables_of(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        found = parameter.envvar
        yield from [found] if isinstance(found, str) else found or ()
    if isinstance(command, click.Group):
        commands: Mapping[str, click.Command] = command.commands
        for inner in commands.values():
            yield from _variables_of(inner)


def _examine(configured: "Configured", watch_s: float) -> "list[Finding]":
    from pulse_bridge.cli.doctor_report import working  # noqa: PLC0415
    from pulse_bridge.doctor_run import examine  # noqa: PLC0415

    with working():
        return asyncio.run(examine(configured, watch_s=watch_s))


def _clean(cures: "list[Cure]", *, yes: bool) -> None:
    from pulse_bridge.cli.output import say  # noqa: PLC0415
    from pulse_bridge.errors import PulseBridgeError  # noqa: PLC0415
    from pulse_bridge.printable import printable  # noqa: PLC0415

    if not cures:
        say("there is nothing to remove")
    for cure in cures:
        if not yes and not click.confirm(printable(cure.question)):
            continue

        async def apply(cure: "Cure" = cure) -> str:
            return await cure.apply()

        try:
            say(asyncio.run(apply()))
        except PulseBridgeError as error:
            raise PulseBridgeError(f"not everything is removed: {error}") from error
