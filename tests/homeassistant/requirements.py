"""Runs on Home Assistant's Python: prints what the integrations that the tests start need beside it.

Home Assistant installs that at run time, if it may; here it may not, so that a test never installs anything.
"""

import json
from importlib import import_module
from pathlib import Path

_COMPONENTS = import_module("homeassistant.components")
_BOOTSTRAP = import_module("homeassistant.bootstrap")


def needed(domains: set[str]) -> set[str]:
    """Give the requirements of some integrations and of those that they need."""
    folder = Path(_COMPONENTS.__path__[0])
    requirements: set[str] = set()
    seen: set[str] = set()
    todo = set(domains)
    while todo:
        domain = todo.pop()
        seen.add(domain)
        manifest = json.loads((folder / domain / "manifest.json").read_text(encoding="utf-8"))
        requirements |= set(manifest.get("requirements", []))
        todo |= set(manifest.get("dependencies", [])) - seen
    return requirements


if __name__ == "__main__":
    print("\n".join(sorted(needed({"mqtt", "onboarding", "config", "isal"} | _BOOTSTRAP.DEFAULT_INTEGRATIONS))))  # noqa: T201
