"""`python -m pulse_bridge_prometheus` prints where the alerting rules are, for Prometheus' `rule_files`."""

from pulse_bridge_prometheus.rules import RULES_FILE

if __name__ == "__main__":
    print(RULES_FILE)  # noqa: T201 - what it is for
