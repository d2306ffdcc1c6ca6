"""Alerts: a subscriber that tells people what happened to their training, once.

What is told and when: `policy.py` what is configured; `rules.py` what a rule finds in a job's events; `lookout.py`
all jobs and hosts; `incidents.py` and `budget.py` what each route was told, and what it may be told; `outbox.py`
and `saved.py` what is stored until it is told; `subscriber.py` the whole. How it is told: `text.py` the words,
`targets.py` the places, `delivery.py` the way there. `config.py` reads what the user wrote.
"""

from pulse_bridge_alerts.subscriber import AlertsSubscriber

__all__ = ["AlertsSubscriber"]
