"""Alerting rules for Prometheus, as a file that lies beside this one."""

from pathlib import Path
from typing import Final

RULES_FILE: Final = Path(__file__).with_name("pulse-bridge.rules.yml")
