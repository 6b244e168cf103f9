"""A setting on its way: cluster file -> the role's variable -> config.yaml -> the controller's settings."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_hpcregistry.agent.publish import configured_mode
from pytest_hpcregistry.core import documents, layout, settings
from pytest_hpcregistry.core.model import Cluster, Controller, Registry, Slurm, Sync
from pytest_hpcregistry.core.role import EARLIER_NAMES, OTHERS, PATHS, role_variable, settings_in_role
from pytest_hpcregistry.core.settings import IN_FORCE, VERSION, written
from pytest_hpcregistry.setup import playbook
from pytest_hpcregistry.transports.local import LocalTransport

ROLE = playbook.PLAYBOOK.parent / "roles" / "container_registry"
PLAIN = Cluster(controller=Controller(name="ctl", host="ctl"))


def test_the_settings_of_the_cluster_file_reach_the_role() -> None:
    cluster = Cluster(
        controller=Controller(name="ctl", host="ctl"),
        nodes=("c001",),
        registry=Registry(path="/srv/images", group="hpc", directory_mode=0o750, directories=("ai",), keep=4),
    )
    variables = playbook.inventory(cluster, ["c001"])["all"]["vars"]
    assert variables["container_registry_path"] == "/srv/images"
    assert variables["container_registry_dir_mode"] == "0750"
    assert variables["container_registry_subdirs"] == ["ai"]
    assert variables["container_registry_keep"] == 4
    assert variables["container_registry_sync_nodes"] == ["c001"]
    assert variables["container_registry_sync_network"] == ""


@pytest.mark.parametrize(
    ("given", "expected"), [(("auto",), "auto"), (("any",), "any"), (("10.0.0.1", "::1"), ["10.0.0.1", "::1"])]
)
def test_where_the_key_may_log_in_from_is_a_word_or_a_list(given: tuple[str, ...], expected: object) -> None:
    cluster = Cluster(controller=Controller(name="ctl", host="ctl"), sync=Sync(key_from=given))
    assert playbook.role_variables(cluster)["container_registry_sync_key_from"] == expected


def named() -> dict[tuple[str, ...], str]:
    """Each setting that is written down: its place in config.yaml -> the role's variable."""
    data = written(PLAIN)
    paths = [("nodes",), *((name, key) for name in IN_FORCE for key in data[name])]
    return {path: role_variable(*path) for path in paths}


def test_every_setting_has_a_default_in_the_role_and_a_line_in_its_template() -> None:
    defaults = documents.load((ROLE / "defaults" / "main.yml").read_text(), "defaults")
    assert [name for name in named().values() if name not in defaults] == []
    template = (ROLE / "templates" / "config.yaml.j2").read_text()
    lines = re.findall(r"^(  )?(\w+):(?: \{\{ (\w+) .*\}\})?$", template, re.MULTILINE)
    section, found = "", {}
    for indent, key, variable in lines:
        section = section if indent else key
        if variable:
            found[(section, key) if indent else (key,)] = variable
    assert found.pop(("admitted",)) == "container_registry_admitted"
    assert found == named()
    assert f"\nversion: {VERSION}\n" in template


def test_the_roles_defaults_are_the_cluster_files() -> None:
    """What is no template there, as those depend on other variables."""
    defaults = documents.load((ROLE / "defaults" / "main.yml").read_text(), "defaults")
    data = written(PLAIN)
    plain = {path: defaults[name] for path, name in named().items() if "{{" not in defaults[name]}
    assert len(plain) > 10
    expected = {path: data[path[0]][path[1]] for path in plain}
    assert {path: value if isinstance(value, list) else str(value) for path, value in expected.items()} == plain


def test_the_other_variables_are_all_that_the_role_has() -> None:
    defaults = documents.load((ROLE / "defaults" / "main.yml").read_text(), "defaults")
    assert sorted([*OTHERS, *named().values()]) == sorted(defaults)
    assert defaults["container_registry_paths"] == PATHS
    assert set(settings_in_role()) == {*named().values(), *EARLIER_NAMES.values()}
    assert {path: name for name, path in settings_in_role().items()} == named()


def test_what_is_rendered_is_what_is_read(tmp_path: Path) -> None:
    """By Ansible itself, with what `registry setup` hands over."""
    cluster = Cluster(
        controller=Controller(name="ctl", host="ctl"),
        nodes=("c001", "c002"),
        registry=Registry(path="/srv/images", directory_mode=0o2775, keep=0),
        sync=Sync(limit_rate=1000, network="10.0.0.0/8", key_from=("10.0.0.1",)),
        slurm=Slurm(container=False),
    )
    text = render(tmp_path, {**playbook.role_variables(cluster), "container_registry_admitted": ["10.0.0.1"]})
    found = settings.read(documents.parse(text, "config.yaml"))
    assert written(found) == written(cluster)
    assert (found.admitted, found.outdated) == (("10.0.0.1",), False)
    assert configured_mode(str(tmp_path)) == 0o755, "the agent looks for one line of it"


@pytest.mark.parametrize("earlier", [False, True])
def test_four_settings_have_earlier_names_and_extra_variables_win_under_either(tmp_path: Path, earlier: bool) -> None:
    other = {"directory_mode": "0700", "directories": ["x"], "nodes": ["n1"], "slurm_container": False}
    names = {key: f"container_registry_{key}" for key in other}
    assert set(names.values()) == set(EARLIER_NAMES)
    extra = {EARLIER_NAMES[names[key]] if earlier else names[key]: value for key, value in other.items()}
    text = render(tmp_path, {**playbook.role_variables(PLAIN), "container_registry_admitted": [], **extra})
    found = written(settings.read(documents.parse(text, "config.yaml")))
    assert (found["registry"]["directory_mode"], found["registry"]["directories"]) == ("0700", ["x"])
    assert (found["nodes"], found["slurm"]["container"]) == (["n1"], False)


def render(folder: Path, variables: Mapping[str, object]) -> str:
    """config.yaml as Ansible renders it into *folder*, *variables* given on top of the role's defaults."""
    target = folder / layout.CONFIG
    target.parent.mkdir()
    task = {"ansible.builtin.template": {"src": str(ROLE / "templates" / "config.yaml.j2"), "dest": str(target)}}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults/main.yml")],
        "tasks": [task],
    }
    (folder / "play.json").write_text(json.dumps([play]))
    (folder / "variables.json").write_text(json.dumps({**variables, "ansible_python_interpreter": sys.executable}))
    argv = ["env", *playbook.environment(str(folder), 5)]
    argv += [playbook.ansible_playbook(), "-i", "localhost,", "-c", "local", str(folder / "play.json")]
    result = LocalTransport().run([*argv, "-e", f"@{folder / 'variables.json'}"], timeout=120)
    assert result.exit_code == 0, result.stdout + result.stderr
    return target.read_text()
