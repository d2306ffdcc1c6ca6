"""The labels that users give, as label names that every Prometheus takes; pure."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

_ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9_]")


def legal_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Give each label as `label_<name>`, with `_` for what a label name may not have.

    Where that makes two names one, each gets `_conflict<number>` behind it, as kube-state-metrics does, numbered
    in the order of the names as they were given.

    Source: Prometheus, "Data model": a label name matches `[a-zA-Z_][a-zA-Z0-9_]*`.
    """
    legal = {name: f"label_{_ILLEGAL.sub('_', name)}" for name in sorted(labels)}
    uses = Counter(legal.values())
    taken = {name for name, count in uses.items() if count == 1}
    found: dict[str, str] = {}
    for name, label in legal.items():
        if uses[label] > 1:
            label = _free_name(label, taken)  # noqa: PLW2901 - the same label under its final name
            taken.add(label)
        found[label] = labels[name]
    return found


def _free_name(label: str, taken: set[str]) -> str:
    number = 1
    while f"{label}_conflict{number}" in taken:
        number += 1
    return f"{label}_conflict{number}"
