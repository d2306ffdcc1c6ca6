"""A subscriber that shows every job, every sidecar and itself to Prometheus.

    pulse-bridge subscribe 'prometheus?port=9464' --from redis://HOST
    pulse-bridge run PATH --with prometheus

Where a thing is: `subscriber.py` keeps what the bus tells; `options.py` what may stand behind its `?`; `view.py`
what is shown of it now, and `metrics.py` under which names; `label_names.py` makes labels legal; `health.py` and
`http_app.py` answer requests that `server.py` takes. `rules/pulse-bridge.rules.yml` are alerting rules to load
into Prometheus: `python -m pulse_bridge_prometheus` prints the path.
"""

from pulse_bridge_prometheus.rules import RULES_FILE
from pulse_bridge_prometheus.subscriber import PrometheusSubscriber

__all__ = ["RULES_FILE", "PrometheusSubscriber"]
