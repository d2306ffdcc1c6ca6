"""What compose.yaml and the Dockerfile say, for those who run it."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = ROOT / "compose.yaml"
DOCKERFILE: Final = ROOT / "Dockerfile"
OUR_IMAGE: Final = "pulse-bridge:local"

_IMAGE_OWNERS: Final = {
    "/data": (999, 1000, 0o755),
    "/mosquitto/data": (1883, 1883, 0o755),
    "/prometheus": (65534, 65534, 0o775),
}
"""Who owns a folder in its image, for an empty volume takes that over. Source: the images' own Dockerfiles."""


def image_owners() -> dict[str, tuple[int, int, int]]:
    """Give user, group and mode of each folder of an image that becomes a volume; ours as Dockerfile says."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    (uid,) = re.findall(r"useradd --uid (\d+) --user-group .* pulse ", text)
    found = re.findall(r"install --directory --owner pulse --group pulse --mode (\d+) ([^\\\n]+)", text)
    ours = {folder: (int(uid), int(uid), int(mode, 8)) for mode, folders in found for folder in folders.split()}
    return _IMAGE_OWNERS | ours


def load_compose(**variables: str) -> dict[str, Any]:
    """Read compose.yaml with these variables, and the others at their defaults."""
    text = re.sub(
        r"(?<!\$)\$\{(\w+):-([^}]*)\}",
        lambda found: variables.get(found[1], found[2]),
        COMPOSE.read_text(encoding="utf-8"),
    )
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def unescape(text: str) -> str:
    """Give what the shell sees: Compose writes a dollar sign twice."""
    return text.replace("$$", "$")


@dataclass
class Service:
    """One service of the file.

    Args:
        spec: As it stands in compose.yaml.
    """

    name: str
    spec: Mapping[str, Any]
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def is_ours(self) -> bool:
        """Whether its image is the one that is built here."""
        return bool(self.spec["image"] == OUR_IMAGE)

    @property
    def command(self) -> list[str]:
        """The whole command line: the image's entry point is ours, or none."""
        entry = self.spec.get("entrypoint", ["pulse-bridge"] if self.is_ours else [])
        return [unescape(part) for part in [*entry, *self.spec.get("command", [])]]

    @property
    def health_command(self) -> list[str]:
        """What tells whether it is well."""
        kind, *rest = self.spec["healthcheck"]["test"]
        return ["sh", "-c", unescape(rest[0])] if kind == "CMD-SHELL" else [unescape(part) for part in rest]

    @property
    def stop_grace_s(self) -> float:
        """What a stop may take."""
        return float(str(self.spec.get("stop_grace_period", "10s")).removesuffix("s"))
