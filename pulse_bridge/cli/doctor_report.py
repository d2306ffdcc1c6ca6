"""What `pulse-bridge doctor` prints: findings by subject, for a terminal, a pipe, or a program."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from pulse_bridge.cli.output import is_terminal
from pulse_bridge.doctor import Finding, Level, count
from pulse_bridge.doctor_run import worst_first
from pulse_bridge.printable import printable

_MARKS: Final[dict[Level, tuple[str, str, str]]] = {
    "problem": ("✗", "x", "bold red"),
    "advice": ("!", "!", "yellow"),
    "fine": ("✓", "+", "green"),
}
"""Level to its mark, the mark for a terminal that knows ASCII only, and its style."""


def print_json(findings: Sequence[Finding]) -> None:
    """Print an array of objects with `level`, `subject`, `sentence`, `remedy` and whether `--clean` does it."""
    array = [
        {
            "level": finding.level,
            "subject": finding.subject,
            "sentence": finding.sentence,
            "remedy": finding.remedy or None,
            "cleanable": finding.cure is not None,
        }
        for finding in findings
    ]
    click.echo(json.dumps(array, indent=2))


def print_report(findings: Sequence[Finding]) -> None:
    """Print findings by subject, the worst first, and how many there are of each sort."""
    if is_terminal(sys.stdout):
        _paint(findings, Console(highlight=False))
        return
    for subject, group in worst_first(list(findings)):
        click.echo(printable(subject))
        for finding in group:
            click.echo(printable(f"  {finding.level:7}  {finding.sentence}"))
            if finding.remedy:
                click.echo(printable(f"           -> {finding.remedy}"))
    click.echo(summary(findings))


def _paint(findings: Sequence[Finding], console: Console) -> None:
    plain = console.options.ascii_only
    for subject, group in worst_first(list(findings)):
        console.print(Text(printable(subject), style="bold"))
        for finding in group:
            mark, ascii_mark, style = _MARKS[finding.level]
            line = Text.assemble((ascii_mark if plain else mark, style), " ", printable(finding.sentence))
            console.print(Padding(line, (0, 0, 0, 2)))
            if finding.remedy:
                arrow = "->" if plain else "→"
                console.print(Padding(Text(f"{arrow} {printable(finding.remedy)}", style="cyan"), (0, 0, 0, 4)))
        console.print()
    worst: Level = "problem" if any(finding.level == "problem" for finding in findings) else "fine"
    console.print(Text(summary(findings), style=_MARKS[worst][2]))


def summary(findings: Sequence[Finding]) -> str:
    """Count what was found, in words."""
    counts = Counter(finding.level for finding in findings)
    problems, advice, fine = counts["problem"], counts["advice"], counts["fine"]
    parts = [count(problems, "problem") if problems else "nothing is wrong"]
    parts += [f"{count(advice, 'piece')} of advice"] if advice else []
    parts += [f"{fine} fine"] if fine else []
    return ", ".join(parts)


@contextmanager
def working() -> Iterator[None]:
    """Show a person at a terminal that something goes on; on standard error, and nothing elsewhere."""
    if not (is_terminal(sys.stderr) and is_terminal(sys.stdout)):
        yield
        return
    with Console(stderr=True).status("looking at files, this machine and the buses …"):
        yield
