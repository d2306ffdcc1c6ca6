"""What may stand behind `alerts?`, and in the tables of its TOML file: the names, types and ranges.

Whatever can hold a secret is a `SecretStr`, so that no error or repr shows it.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from pulse_bridge.subscriber import SubscriberOptions

Seconds = Annotated[float, Field(gt=0, le=86_400 * 365)]
Globs = tuple[str, ...]


class AlertsOptions(SubscriberOptions):
    """The options of `alerts?…`.

    Args:
        notify: URLs of services that Apprise knows.
        webhook: URLs that take our JSON.
        rules: Those that are switched on, joined by commas.
        repeat_interval: E.g. `4h`; `off` for never.
        jobs: Globs; alerts of other jobs are not told.
        hosts: Globs; alerts of other hosts are not told.
        silence: `GLOB` over jobs or `host:GLOB`, `@INSTANT` behind it for its end.
        template: A file with a text in place of ours.
        config: The TOML file.
        dead_letters: The file that keeps what could not be delivered.
    """

    notify: tuple[SecretStr, ...] = ()
    notify_env: str | None = None
    notify_file: str | None = None
    webhook: tuple[SecretStr, ...] = ()
    webhook_env: str | None = None
    webhook_file: str | None = None
    rules: str | None = None
    jobs: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    silence: tuple[str, ...] = ()
    stuck_after_s: Seconds | None = None
    host_silent_after_s: Seconds | None = None
    loss_spike_factor: Annotated[float, Field(gt=1)] | None = None
    repeat_interval: str | None = None
    group_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    quiet_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    forget_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    timeout_s: Annotated[float, Field(gt=0, le=600)] | None = None
    give_up_after_s: Annotated[float, Field(ge=0, le=86_400 * 7)] | None = None
    template: str | None = None
    config: str | None = None
    dead_letters: str | None = None


class Table(BaseModel):
    """A table of the file: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileTable(Table):
    """The top of the file. Its tables are read one by one, so that a refusal can name the place."""

    repeat_interval: str | None = None
    group_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    quiet_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    forget_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    timeout_s: Annotated[float, Field(gt=0, le=600)] | None = None
    give_up_after_s: Annotated[float, Field(ge=0, le=86_400 * 7)] | None = None
    template: str | None = None
    dead_letters: str | None = None
    rules: dict[str, object] = Field(default_factory=dict)
    targets: dict[str, object] = Field(default_factory=dict)
    routes: list[object] = Field(default_factory=list)
    silences: list[object] = Field(default_factory=list)


class RuleTable(Table):
    """`[rules.NAME]` of a rule without a threshold."""

    enabled: bool | None = None


class TimedRuleTable(RuleTable):
    """`[rules.stuck]` and `[rules.host-silent]`."""

    after_s: Seconds | None = None


class LossSpikeTable(RuleTable):
    """`[rules.loss-spike]`."""

    factor: Annotated[float, Field(gt=1)] | None = None
    window: Annotated[int, Field(ge=2, le=10_000)] | None = None


class TargetTable(Table):
    """`[targets.NAME]`: one of the six."""

    notify: SecretStr | None = None
    notify_env: str | None = None
    notify_file: str | None = None
    webhook: SecretStr | None = None
    webhook_env: str | None = None
    webhook_file: str | None = None


class MatchTable(Table):
    """What routes and silences have in common: which rules, jobs and hosts are meant."""

    rules: tuple[str, ...] | None = None
    jobs: Globs = ()
    hosts: Globs = ()
    labels: dict[str, str] = Field(default_factory=dict)


class RouteTable(MatchTable):
    """`[[routes]]`; without a name it is called by its targets."""

    name: str | None = None
    targets: Annotated[tuple[str, ...], Field(min_length=1)]


class SilenceTable(MatchTable):
    """`[[silences]]`; without an end it is for good."""

    until: datetime | None = None
