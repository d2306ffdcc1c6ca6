"""What docs/ says is so: its examples are installed and run as they stand there."""

import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pulse_bridge import plugins
from pulse_bridge.plugins import SUBSCRIBERS
from pulse_bridge.subscriber import Subscriber
from pulse_bridge.testing import make_job_event
from tests.support.command import Home
from tests.support.processes import WAIT_S, wait_until_blocking

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "subscribers.md").read_text(encoding="utf-8")
MAX_LINES = 40


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


EXAMPLE, SUITE = blocks("python")
(PROJECT,) = (tomllib.loads(block) for block in blocks("toml"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install the example as pip would: a module, and its entry points beside it."""
    site = tmp_path / "site"
    about = site / "finished_runs-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "finished_runs.py").write_text(EXAMPLE, encoding="utf-8")
    project = PROJECT["project"]
    (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
    points = project["entry-points"][SUBSCRIBERS.entry_point_group]
    lines = [f"[{SUBSCRIBERS.entry_point_group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return site


@pytest.fixture
def home(tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    return Home(tmp_path)


def words(command: str) -> list[str]:
    (line,) = (line for block in blocks("sh") for line in block.splitlines() if command in line)
    return shlex.split(line)[1:]


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.splitlines()) < MAX_LINES


def test_the_example_runs_on_a_journal(home: Home) -> None:
    home.fill_journal([make_job_event(job="llm/a", state="done", status="done"), make_job_event(job="b")])
    results = home.folder / "results"

    def kept() -> list[str]:
        files = results.glob("1790000000-*.json") if results.exists() else ()
        return sorted(json.loads(file.read_text())["job"] for file in files if file.stat().st_size)

    with home.started(*words("subscribe")) as process:
        wait_until_blocking(lambda: kept() == ["llm/a"], "the run of the snapshot is kept")
        home.fill_journal([make_job_event(job="b", state="error", status="error")])
        wait_until_blocking(lambda: kept() == ["b", "llm/a"], "the one that failed is kept")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def test_the_example_runs_inside_the_sidecar(home: Home) -> None:
    status = home.folder / "runs" / "llm" / "training_status.json"
    status.parent.mkdir(parents=True)
    with home.started(*words("run ./runs")) as process:
        assert home.run("write", "done", "--path", str(status), "--total-epochs", "3", "--loss", "0.1").code == 0
        results = home.folder / "results"
        wait_until_blocking(lambda: results.exists() and any(results.iterdir()), "the run is kept")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def test_the_example_is_listed(home: Home) -> None:
    listed = json.loads(home.run("plugins", "--json").out)
    (found,) = (plugin for plugin in listed if plugin["name"] == "finished-runs")
    assert found["importable"]
    assert found["distribution"] == "finished-runs"


def test_the_example_s_mistakes_are_one_sentence(home: Home) -> None:
    result = home.run("subscribe", "finished-runs")
    assert (result.code, result.err) == (
        2,
        "pulse-bridge: finished-runs: option 'folder': Field required\n",
    )


def test_the_suite_passes_on_the_example(home: Home) -> None:
    (home.folder / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n", encoding="utf-8"
    )
    (home.folder / "test_it.py").write_text(SUITE, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "anyio_mode=auto", "test_it.py"],
        capture_output=True,
        text=True,
        check=False,
        env=home.environ | {"PYTHONPATH": f"{home.folder / 'site'}:{ROOT}"},
        cwd=home.folder,
    )
    assert result.returncode == 0, result.stdout
    assert re.search(r"\d+ passed", result.stdout)


def test_every_verb_of_the_port_is_in_the_table() -> None:
    verbs = {name for name, value in vars(Subscriber).items() if callable(value) and not name.startswith("_")}
    listed = set(re.findall(r"^\| `(\w+)\(", DOC, re.MULTILINE))
    assert listed == verbs


def test_no_entry_point_of_the_example_is_one_of_ours() -> None:
    ours = {point.name for point in plugins.installed(SUBSCRIBERS)}
    assert not ours & set(PROJECT["project"]["entry-points"][SUBSCRIBERS.entry_point_group])
