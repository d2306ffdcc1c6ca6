"""Settings: what a flag sets, `pulse-bridge.toml` and `PULSE_BRIDGE_…` set too, validated in one place."""

import logging
import os
import re
import socket
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final

from platformdirs import user_state_path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pulse_bridge.errors import ConfigError
from pulse_bridge.mistakes import near_name
from pulse_bridge.mounts import remote_fs_type

logger = logging.getLogger(__name__)

CONFIG_FILE: Final = "pulse-bridge.toml"
_LOCAL_FOLDERS: Final = Path("/var/tmp")  # noqa: S108 - kept over a restart; the folder in it is checked to be ours
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}")

Seconds = Annotated[float, Field(gt=0, le=86_400 * 365)]


def _check_host(host: str) -> str:
    if not host or "/" in host or not host.isprintable():
        raise ValueError("a host name is one line of text without '/'")
    return host


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    wrong = [
        f"the label name {name!r} is not made of letters, digits and '_'"
        for name in labels
        if not _LABEL_NAME.fullmatch(name)
    ]
    wrong += [
        f"the value of the label {name!r} is not one line of text"
        for name, value in labels.items()
        if not value.isprintable()
    ]
    if wrong:
        raise ValueError(", and ".join(wrong))
    return labels


class JobSettings(BaseModel):
    """What can be set for some jobs alone; in the file under `[jobs."GLOB"]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stale_after_s: Annotated[
        Seconds | None, Field(description="without a sign of life so long, such a job is stale", examples=[600])
    ] = None


class SidecarSettings(BaseModel):
    """Everything that `pulse-bridge run` can be told.

    What a field's `description` says is what the sample, the schema and `docs/configuration.md` say; units stand
    in the names. `subscribers` are written `with` by a user, which is no name in Python.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    paths: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="what to watch: status files, folders (searched for `training_status.json`), globs;"
            " `NAME=PATH` names the job",
            examples=[["./runs"]],
        ),
    ]
    to: Annotated[
        tuple[str, ...],
        Field(
            description="bus URLs to publish to",
            examples=[["redis://pulse@broker?password_file=/run/secrets/redis", "mqtt://broker"]],
        ),
    ] = ()
    subscribers: Annotated[
        tuple[str, ...],
        Field(
            alias="with",
            description="subscribers to run inside, each as `NAME` or `NAME?option=value&option=value`",
            examples=[["web?port=8321", "prometheus"]],
        ),
    ] = ()
    host: Annotated[
        str,
        AfterValidator(_check_host),
        Field(description="the host name under which the jobs are published; has no `/`", examples=["gpu1"]),
    ] = Field(default_factory=lambda: default_host(os.environ))
    journal: Annotated[
        Path | None, Field(description="the journal's file, on a local disk", examples=["/var/lib/pulse/gpu1.db"])
    ] = None
    labels: Annotated[
        dict[str, str],
        AfterValidator(_check_labels),
        Field(description="go with every event, each as `label_NAME`", examples=[{"cluster": "a100"}]),
    ] = Field(default_factory=dict)
    stale_after_s: Annotated[
        Seconds, Field(description="without a sign of life so long, a running job is stale", examples=[90])
    ] = 60.0
    heartbeat_s: Annotated[
        Seconds, Field(description="between two events of a job that is not over and does not change")
    ] = 10.0
    gone_after_s: Annotated[Seconds, Field(description="a file that is missing so long is gone")] = 30.0
    poll_s: Annotated[Seconds, Field(description="between looks at a file, where the kernel gives no hints")] = 2.0
    quiet_poll_s: Annotated[Seconds, Field(description="the same for a file that does not change")] = 10.0
    host_event_s: Annotated[Seconds, Field(description="between two signs of life of the sidecar")] = 10.0
    reconnect_max_s: Annotated[Seconds, Field(description="the longest wait between two attempts to connect")] = (
        30.0
    )
    flush_s: Annotated[
        float, Field(ge=0, le=3600, description="how long a stop waits for destinations that can be reached")
    ] = 3.5
    coalesce_ms: Annotated[
        float, Field(ge=0, le=10_000, description="wait so long for further events to publish together")
    ] = 0.0
    journal_max_bytes: Annotated[
        int, Field(ge=1024 * 1024, description="the journal's size; what every destination has goes first")
    ] = 256 * 1024 * 1024
    journal_max_age_s: Annotated[Seconds, Field(description="how old an event in the journal becomes")] = (
        7 * 86_400.0
    )
    exit_when_done: Annotated[bool, Field(description="end once every job is done or has failed")] = False
    jobs: Annotated[
        dict[str, JobSettings],
        Field(
            description="settings for some jobs alone: a glob over their names, and `stale_after_s`; the first"
            " that matches holds",
            examples=[{"llm/*": {"stale_after_s": 600}}],
        ),
    ] = Field(default_factory=dict)

    @property
    def journal_path(self) -> Path:
        """The journal's file, the default one where none is set."""
        return self.journal or default_journal(self.host)

    def stale_after_s_of(self, job: str) -> float:
        """Give a job's staleness threshold in seconds."""
        for glob, settings in self.jobs.items():
            if settings.stale_after_s is not None and fnmatchcase(job, glob):
                return settings.stale_after_s
        return self.stale_after_s


def setting_names(model: type[BaseModel] = SidecarSettings) -> list[str]:
    """Give the names of settings as a user writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def default_host(environ: Mapping[str, str]) -> str:
    """Give `PULSE_BRIDGE_HOST`, else the machine's name, with the SLURM job's number where there is one."""
    if named := environ.get("PULSE_BRIDGE_HOST"):
        return named
    name = socket.gethostname().replace("/", "_") or "localhost"
    slurm_job = environ.get("SLURM_JOB_ID")
    return f"{name}-{slurm_job}" if slurm_job else name


def default_journal(host: str) -> Path:
    """Give the journal's default file: in the user's state folder, or on a local disk if that is a network's.

    SQLite's log needs shared memory, which a network file system does not give.

    Raises:
        ConfigError: The folder on the local disk is not ours; anybody can make one there.
    """
    folder = user_state_path("pulse-bridge")
    if fs_type := remote_fs_type(folder):
        local = _LOCAL_FOLDERS / f"pulse-bridge-{os.getuid()}"
        logger.info(
            "the state folder is on a network file system; the journal is kept on a local disk",
            extra={"folder": str(folder), "fs_type": fs_type, "instead": str(local)},
        )
        folder = local
        if os.path.lexists(folder) and (folder.is_symlink() or folder.stat().st_uid != os.getuid()):
            raise ConfigError(f"the folder {folder} belongs to somebody else: choose a journal with --journal")
    return folder / f"{host}.db"


def read_config(path: Path | None) -> dict[str, Any]:
    """Read the configuration file; without a name, the one in this folder if there is one.

    Raises:
        ConfigError: It cannot be read or is no TOML; names the file and the place.
    """
    file = path or Path(CONFIG_FILE)
    try:
        text = file.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except FileNotFoundError:
        if path is None:
            return {}
        raise ConfigError(f"the configuration file {file} is not there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {file} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: no TOML: {error}") from None


def sidecar_settings(
    file: Mapping[str, Any], flags: Mapping[str, Any], *, shown: str = CONFIG_FILE
) -> SidecarSettings:
    """Merge the file's settings with those of flags and environment, which win.

    Args:
        flags: Only what was given.
        shown: The file's name for a refusal.

    Raises:
        ConfigError: A setting is unknown or wrong; names it, and where it stands.
    """
    found = _validate(file, flags, shown)
    if isinstance(found, list):
        raise ConfigError(found[0])
    return found


def setting_mistakes(file: Mapping[str, Any], flags: Mapping[str, Any], *, shown: str = CONFIG_FILE) -> list[str]:
    """Give one sentence for everything that `sidecar_settings` would refuse, in order; empty if all is right."""
    found = _validate(file, flags, shown)
    return found if isinstance(found, list) else []


def usable_settings(file: Mapping[str, Any], flags: Mapping[str, Any]) -> SidecarSettings | None:
    """Give settings without those that are wrong, so that what is right can be looked at all the same.

    Returns:
        None where there is no PATH, or the host name is wrong: what a sidecar would do is not known then.
    """
    merged = _merge(file, flags)
    try:
        return SidecarSettings.model_validate(merged)
    except ValidationError as error:
        wrong = {str(found["loc"][0]) for found in error.errors()}
    try:
        return (
            None
            if "host" in wrong
            else SidecarSettings.model_validate(
                {name: value for name, value in merged.items() if name not in wrong}
            )
        )
    except ValidationError:
        return None


def _merge(file: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**file, **flags}
    in_file, in_flags = file.get("labels"), flags.get("labels")
    if isinstance(in_file, Mapping) and isinstance(in_flags, Mapping):
        merged["labels"] = {**in_file, **in_flags}
    return merged


def _validate(file: Mapping[str, Any], flags: Mapping[str, Any], shown: str) -> SidecarSettings | list[str]:
    try:
        return SidecarSettings.model_validate(_merge(file, flags))
    except ValidationError as error:
        mistakes = []
        for found in error.errors(include_url=False, include_input=False):
            path = [str(part) for part in found["loc"]]
            top = path[0] if path else "?"
            place = shown if top in file and top not in flags else "the command line or environment"
            mistakes.append(_refusal(found["type"], found["msg"], path, place))
        return mistakes


def _refusal(sort: str, message: str, path: Sequence[str], place: str) -> str:
    """Word what pydantic found wrong, with the setting's name and a remedy."""
    name = ".".join(path) or "?"
    if path == ["paths"] and sort in {"missing", "too_short"}:
        return "no PATH is given: name a status file, a folder or a glob, e.g. 'pulse-bridge run ./runs'"
    if sort == "extra_forbidden":
        model = JobSettings if path[0] == "jobs" else SidecarSettings
        known = sorted(setting_names(model))
        return f"{place}: there is no setting {name!r}; known are: {', '.join(known)}{near_name(path[-1], known)}"
    if sort == "tuple_type":
        return f"{place}: setting {name!r}: it is a list; write {path[0]} = ['…']"
    if sort in {"dict_type", "model_type"}:
        return f"{place}: setting {name!r}: it is a table; write [{name}] and its lines below"
    return f"{place}: setting {name!r}: {message.removeprefix('Value error, ')}"
