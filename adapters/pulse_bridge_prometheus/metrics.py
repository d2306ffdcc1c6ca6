"""What is shown of a moment, as Prometheus' metric families; pure.

Source: https://prometheus.io/docs/practices/naming/ and https://prometheus.io/docs/instrumenting/writing_exporters/.
A number that is absent has no sample.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from pulse_bridge.event import STATES, HostEvent, JobEvent, Number
from pulse_bridge_prometheus.label_names import legal_labels
from pulse_bridge_prometheus.view import HostView, View

UNTOLD_REASON: Final = "unknown"
"""The reason of drops that an older sidecar counts without one."""

_HOST: Final = ("host",)
_JOB: Final = ("host", "training_job")


class _JobGauge(NamedTuple):
    """One number of a job.

    Args:
        read: Gives it, in the unit that the name says; None if it is absent.
    """

    name: str
    help: str
    read: Callable[[JobEvent], Number | None]


_JOB_GAUGES: Final = (
    _JobGauge("pulse_loss", "Current training loss; absent while it is not finite.", lambda job: job.loss),
    _JobGauge(
        "pulse_diverged",
        "Whether the loss is NaN or infinite (1) or not (0).",
        lambda job: int(job.diverged),
    ),
    _JobGauge("pulse_epoch", "Position in training, in epochs, fractional.", lambda job: job.epoch),
    _JobGauge("pulse_epochs_configured", "Epochs that the training is to run.", lambda job: job.total_epochs),
    _JobGauge(
        "pulse_progress_ratio", "Part of the training that is done, 0 to 1.", lambda job: job.progress / 100
    ),
    _JobGauge(
        "pulse_eta_seconds",
        "Time to the end of the run, as of its newest event; absent until known.",
        lambda job: job.eta_s,
    ),
    _JobGauge("pulse_step", "Current training step, where the training tells it.", lambda job: job.step),
    _JobGauge(
        "pulse_steps_configured",
        "Steps that the training is to run, where the training tells it.",
        lambda job: job.total_steps,
    ),
    _JobGauge(
        "pulse_learning_rate", "Current learning rate, where the training tells it.", lambda job: job.learning_rate
    ),
    _JobGauge(
        "pulse_last_update_timestamp_seconds",
        "When the training last wrote its status, on the clock of its host.",
        lambda job: job.timestamp,
    ),
)


def families(view: View) -> Iterator[Metric]:
    """Yield every family, the empty ones too, so that what there is does not depend on what happens."""
    yield from _own_families(view)
    hosts = list(view.current_hosts())
    yield from _host_families(hosts)
    yield from _sidecar_families([host.newest for host, up in hosts if up and host.newest is not None])
    yield from _job_families(list(view.current_jobs()))


def _own_families(view: View) -> Iterator[Metric]:
    """Yield what tells of this subscriber itself."""
    yield GaugeMetricFamily(
        "pulse_bridge_up",
        "Whether this subscriber is connected to its bus and knows what is so now (1) or not (0). While it is 0,"
        " nothing is shown of any host or job.",
        value=int(view.unready is None),
    )
    received = CounterMetricFamily(
        "pulse_bridge_events_received", "Events that this subscriber received live, by kind.", labels=["kind"]
    )
    for kind, count in view.received.items():
        received.add_metric([kind], count)
    yield received
    yield CounterMetricFamily(
        "pulse_bridge_events_missed",
        "Events that the bus gave up before this subscriber read them.",
        value=view.missed,
    )


def _host_families(hosts: Sequence[tuple[HostView, bool]]) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "pulse_host_up",
        "Whether the sidecar of a host is heard (1), or silent, or stopped with jobs unfinished (0).",
        labels=_HOST,
    )
    last = GaugeMetricFamily(
        "pulse_host_last_seen_timestamp_seconds",
        "When the sidecar of a host last said something, on the clock of that host.",
        labels=_HOST,
    )
    info = InfoMetricFamily("pulse_host", "The sidecar of a host.", labels=_HOST)
    for host, is_up in hosts:
        labels = (_text(host.name),)
        up.add_metric(labels, int(is_up))
        last.add_metric(labels, host.last_ms / 1000)
        if host.newest is not None:
            info.add_metric(labels, {"version": _text(host.newest.version)})
    yield from (up, last, info)


def _sidecar_families(events: Sequence[HostEvent]) -> Iterator[Metric]:
    """Yield what sidecars that are heard tell of themselves."""
    published = CounterMetricFamily(
        "pulse_bridge_events_published",
        "Events that a destination of a sidecar took, once for each destination.",
        labels=_HOST,
    )
    reconnects = CounterMetricFamily(
        "pulse_bridge_reconnects",
        "Connections of a sidecar to a destination that were lost or did not come about.",
        labels=_HOST,
    )
    dropped = CounterMetricFamily(
        "pulse_bridge_dropped_events",
        "Events that a sidecar gave up before every destination had them, by reason.",
        labels=("host", "reason"),
    )
    lag = GaugeMetricFamily(
        "pulse_bridge_journal_lag_events",
        "Events in a sidecar's journal that a destination does not have yet.",
        labels=("host", "destination"),
    )
    malformed = GaugeMetricFamily(
        "pulse_bridge_malformed_files", "Files that a sidecar cannot read as PULSE now.", labels=_HOST
    )
    for event in events:
        host = _text(event.host)
        published.add_metric((host,), event.published)
        reconnects.add_metric((host,), event.reconnects)
        malformed.add_metric((host,), event.malformed)
        for destination, count in event.lag.items():
            lag.add_metric((host, _text(destination)), count)
        for reason, count in _drops(event).items():
            dropped.add_metric((host, _text(reason)), count)
    yield from (published, reconnects, dropped, lag, malformed)


def _drops(event: HostEvent) -> dict[str, int]:
    drops = dict(event.dropped_by)
    untold = event.dropped - sum(drops.values())
    if untold > 0 or not drops:
        drops[UNTOLD_REASON] = drops.get(UNTOLD_REASON, 0) + untold
    return drops


def _job_families(jobs: Sequence[JobEvent]) -> Iterator[Metric]:
    named = [((_text(job.host), _text(job.job)), job) for job in jobs]
    for gauge in _JOB_GAUGES:
        family = GaugeMetricFamily(gauge.name, gauge.help, labels=_JOB)
        for labels, job in named:
            value = gauge.read(job)
            if value is not None:
                family.add_metric(labels, value)
        yield family
    state = GaugeMetricFamily(
        "pulse_state", "1 for the state that a job is in, 0 for each other.", labels=(*_JOB, "state")
    )
    info = InfoMetricFamily("pulse_job", "The current run of a job, and the job's labels.", labels=_JOB)
    for labels, job in named:
        for name in STATES:
            state.add_metric((*labels, name), int(job.state == name))
        texts = {name: _text(value) for name, value in legal_labels(job.labels).items()}
        info.add_metric(labels, {"run": str(job.run), **texts})
    yield from (state, info)


def _text(value: str) -> str:
    """Give a text as a label's value: a NUL, on which Prometheus' parser ends, becomes the replacement sign."""
    return value.replace("\0", "\ufffd")
