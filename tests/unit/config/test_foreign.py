"""Files that describe no cluster: what each is, and what to do, before anything else is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_hpcregistry.config.load import load_cluster
from pytest_hpcregistry.core.errors import ConfigError, UsageError
from tests.unit.config.inventories import HEAD, YAML

SLURM = "# slurm.conf\nClusterName=hpc\nSlurmctldHost=head(10.0.0.1)\nNodeName=c[001-064] CPUs=4\nPartitionName=all\n"
HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n# cluster\n10.0.0.2\tc001.example.org c001\n"
LISTED = '{"_meta": {"hostvars": {"c1": {"ansible_host": "10.0.0.2"}}}, "compute": {"hosts": ["c1"]}}'


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("slurm.conf", SLURM, "a configuration file of Slurm"),
        ("topology.conf", "SwitchName=s1 Nodes=c[1-4]\n", "a configuration file of Slurm"),
        ("hosts", HOSTS, "a list of addresses and names such as /etc/hosts"),
        ("genders", "head login\nc[001-064]  compute,cpu=4,rack=r1\n", "a genders file"),
        ("genders", "c1 compute\nc1 ib\nc2 compute\n", "a genders file"),
        ("machines", "c001\nc002\nc[003-004]\n", "a list of names"),
        ("one", "c1", "a list of names"),
        ("ungrouped", "head ansible_host=10.0.0.1\nc1\n", "an Ansible inventory without groups"),
        ("config", "Host head\n  HostName 10.0.0.1\n  User ops\n", "a configuration file of ssh"),
        ("config", "# mine\nMatch host head\n", "a configuration file of ssh"),
        (
            "sinfo",
            "PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST\nall* up infinite 2 idle c[1-2]\n",
            "what sinfo prints",
        ),
        ("listed.json", LISTED, "what ansible-inventory --list prints"),
        (
            "aws_ec2.yml",
            "plugin: amazon.aws.aws_ec2\nregions: [eu-central-1]\ngroups:\n  controller: true\n",
            "the configuration of Ansible's inventory plugin amazon.aws.aws_ec2, which is not run here",
        ),
        (
            "constructed.yml",
            "plugin: constructed\nstrict: false\ngroups:\n  compute: \"'c' in inventory_hostname\"\n",
            "the configuration of Ansible's inventory plugin constructed, which is not run here",
        ),
    ],
)
def test_what_it_is_is_said(tmp_path: Path, name: str, text: str, what: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_cluster(tmp_path / name, environ={})
    assert caught.value.mistakes == (f"{tmp_path / name}: this is {what}",)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("file", "text", "mode", "what"),
    [
        ("inventory.sh", "#!/bin/sh\ntouch ran\n", 0o755, "an inventory script, which is not run here"),
        ("inventory.py", f"#!/usr/bin/env python3\nprint({LISTED!r})\n", 0o700, "an inventory script"),
        ("aws.yml", "plugin: aws_ec2\n", 0o644, "the configuration of Ansible's inventory plugin aws_ec2"),
    ],
)
def test_what_ansible_would_run_is_not_run_and_named_with_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, mode: int, what: str
) -> None:
    """By itself, and in a directory within one of inventories."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "inventory"
    folder = root / "clouds"
    folder.mkdir(parents=True)
    (root / "hosts").write_text(HEAD)
    (folder / file).write_text(text)
    (folder / file).chmod(mode)
    for target in (root, folder / file):
        with pytest.raises(ConfigError, match=what) as caught:
            load_cluster(target, environ={})
        assert f"ansible-inventory -i {target} --list --yaml --output hosts.yaml" in caught.value.hint
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text",
    [HEAD, YAML, f"#!/not/executable\n{HEAD}", f"{HEAD}[all:vars]\nClusterName=hpc\n", f"# Host\n{HEAD}c5 Match=1\n"],
)
def test_inventories_are_none_of_that(tmp_path: Path, text: str) -> None:
    (tmp_path / "hosts").write_text(text)
    assert load_cluster(tmp_path / "hosts", environ={}).controller.name == "head"


@pytest.mark.parametrize("text", ["controller: {host: head}\n", "controller:\n  host: head\nnodes: slurm\n"])
def test_nor_is_a_cluster_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    assert load_cluster(tmp_path / "cluster.yaml", environ={}).controller.host == "head"


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "controller: {host: a\n", "a: b: c\n"])
def test_of_other_files_only_the_mistake_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_cluster(tmp_path / "cluster.yaml", environ={})
    assert "this is" not in str(caught.value)


def test_what_a_script_prints_as_yaml_is_an_inventory(tmp_path: Path) -> None:
    """The way on that the hint names."""
    script, target = tmp_path / "inventory.py", tmp_path / "hosts.yaml"
    listed = LISTED.replace('"compute"', '"controller": {"hosts": ["head"]}, "compute"').replace("ansible_host", "x")
    script.write_text(f"#!{sys.executable}\nprint({listed!r})\n")
    script.chmod(0o755)
    argv = [
        sys.executable,
        "-m",
        "ansible",
        "inventory",
        "-i",
        str(script),
        "--list",
        "--yaml",
        "--output",
        str(target),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    cluster = load_cluster(target, environ={})
    assert (cluster.controller.name, cluster.nodes) == ("head", ("c1",))
