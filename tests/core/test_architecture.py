"""The layout that the design promises, read from the files themselves."""

import ast
import itertools
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "pulse_bridge"
ADAPTERS = ROOT / "adapters"
# What the core is made with; everything else from outside belongs to one adapter.
CORE_LIBRARIES = {
    "click",
    "inotify_simple",
    "platformdirs",
    "pydantic",
    "pydantic_core",
    "rich",
    "tenacity",
    "typing_extensions",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def adapter_names() -> set[str]:
    return {folder.name for folder in ADAPTERS.iterdir() if (folder / "__init__.py").is_file()}


def imports_of(file: Path) -> Iterator[str]:
    """Yield the top-level name of each module that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            yield (node.module or "").partition(".")[0]


def outside_imports(folder: Path) -> dict[str, list[str]]:
    """Give module to the files that import it, what Python brings along left out."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.py")):
        for name in set(imports_of(file)) - sys.stdlib_module_names:
            found.setdefault(name, []).append(str(file.relative_to(ROOT)))
    return found


def test_the_core_imports_no_technology_of_an_adapter_and_no_adapter() -> None:
    foreign = outside_imports(CORE).keys() - CORE_LIBRARIES - {"pulse_bridge"}
    assert not {name: outside_imports(CORE)[name] for name in foreign}


@pytest.mark.parametrize("adapter", sorted(adapter_names()))
def test_an_adapter_imports_the_core_and_no_other_adapter(adapter: str) -> None:
    found = outside_imports(ADAPTERS / adapter)
    assert "pulse_bridge" in found
    assert not {name: found[name] for name in adapter_names() - {adapter} if name in found}


def test_adapters_is_a_folder_and_no_package() -> None:
    # The library that training hosts have is imported as `adapters`.
    assert not (ADAPTERS / "__init__.py").exists()


def test_the_wheel_has_every_package_there_is() -> None:
    listed = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == {"pulse_bridge", *(f"adapters/{name}" for name in adapter_names())}


@pytest.mark.parametrize(
    "package", [CORE, *(ADAPTERS / name for name in sorted(adapter_names()))], ids=lambda p: p.name
)
def test_every_package_tells_type_checkers_that_it_is_typed(package: Path) -> None:
    assert (package / "py.typed").is_file()


def test_every_entry_point_is_installed_and_loads() -> None:
    for group, declared in PROJECT["project"]["entry-points"].items():
        found = {
            point.name: point
            for point in entry_points(group=group)
            if point.dist and point.dist.name == "pulse-bridge"
        }
        assert {name: point.value for name, point in found.items()} == declared, "install the project anew"
        assert all(callable(point.load()) for point in found.values())


def test_every_dependency_of_a_package_is_declared() -> None:
    declared = {
        requirement.split(";")[0].split(">")[0].split("[")[0].strip().replace("-", "_")
        for requirement in itertools.chain(
            PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()
        )
    }
    imported = {
        "paho_mqtt" if name == "paho" else name for name in outside_imports(ADAPTERS) | outside_imports(CORE)
    }
    come_with_others = {"pydantic_core"}
    assert imported - {"pulse_bridge"} - adapter_names() - come_with_others <= declared


def test_help_and_a_wrong_flag_do_not_wait_for_what_they_do_not_need() -> None:
    code = "import sys, pulse_bridge.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"redis", "hiredis", "paho", "sqlite3", *adapter_names()} & set(loaded)


def test_the_writer_needs_nothing_but_python() -> None:
    assert set(imports_of(CORE / "writer.py")) <= sys.stdlib_module_names
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import importlib.util as u;"
        "s = u.spec_from_file_location('writer', sys.argv[1] + '/pulse_bridge/writer.py');"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.write_idle_status.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "write_idle_status"
