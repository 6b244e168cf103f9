"""Which Packer templates forget packer_build=true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.setup.packer import Forgotten, find_templates_without_packer_build

TEMPLATE = """
build {
  provisioner "shell" {
    inline = ["echo packer_build=true -e packer_build=true"]
  }
  provisioner "ansible" {
    playbook_file = "${var.dir}/site.yml"
    ansible_env_vars = ["-e", "packer_build=true"]
    extra_arguments = [ARGUMENTS]
  }
}
"""


def search(folder: Path, arguments: str, name: str = "x.pkr.hcl") -> list[Forgotten]:
    (folder / name).write_text(TEMPLATE.replace("ARGUMENTS", arguments))
    return find_templates_without_packer_build(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        '"-e", "packer_build=true"',
        '"--extra-vars", "packer_build=true"',
        '"--extra-vars", "a=1 packer_build=true b=2"',
        '"-v",\n"-e", # why\n "packer_build=True",\n',
        '"-e", "{\\"a\\": 1, \\"packer_build\\": true}"',
        '"--extra-vars={\\"packer_build\\":true}"',
        '"--extra-vars=packer_build=yes"',
        '"-epacker_build=true"',
        '"-e packer_build=true"',
        '"-e", "{packer_build: true}"',
        '"-e", "packer_build=false", "-e", "packer_build=true"',
        '"-e", "name=${lookup(var.x, "}")}", "-e", "packer_build=true"',
    ],
)
def test_every_spelling_that_sets_it_is_known(tmp_path: Path, arguments: str) -> None:
    assert search(tmp_path, arguments) == []


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        '"-v"',
        '"-e", "packer_build=false"',
        '"-e", "packer_build=true", "-e", "packer_build=false"',
        '"packer_build=true"',
        '"-t", "packer_build=true"',
        '"-e", "not_packer_build=true"',
        '"-e", "packer_build_id=true"',
        '"-e", "packer_build = true"',
        '"-v" # "-e", "packer_build=true"\n',
        '"-v" // "-e", "packer_build=true"\n',
        '"-v" /* "-e", "packer_build=true"\n */',
        '"-e", "@vars.yml"',
        '], other = ["-e", "packer_build=true"',
        '], override = { extra_arguments = ["-e", "packer_build=true"] }, other = ["a"',
    ],
)
def test_a_template_that_forgets_it_is_found(tmp_path: Path, arguments: str) -> None:
    assert search(tmp_path, arguments) == [Forgotten(tmp_path / "x.pkr.hcl", 6, "${var.dir}/site.yml")]


def test_a_list_that_lies_elsewhere_cannot_be_seen(tmp_path: Path) -> None:
    text = """locals { a = ["-e", "packer_build=true"] }
build {
  provisioner "ansible-local" {
    extra_arguments = local.a
  }
}
"""
    (tmp_path / "x.pkr.hcl").write_text(text)
    assert find_templates_without_packer_build(tmp_path) == [Forgotten(tmp_path / "x.pkr.hcl", 3, "")]


def test_heredocs_and_several_provisioners(tmp_path: Path) -> None:
    text = """build {
  provisioner "shell" {
    inline = [<<-EOT
      provisioner "ansible" {
      " unbalanced {{
    EOT
    ]
  }
  # provisioner "ansible" {
  provisioner ansible {
    extra_arguments = concat(local.more, ["-e", "packer_build=true"])
  }
  provisioner "ansible" { playbook_file = "b.yml" }
}
"""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.pkr.hcl").write_text(text)
    assert find_templates_without_packer_build(tmp_path) == [Forgotten(tmp_path / "deep" / "x.pkr.hcl", 13, "b.yml")]


def test_json_templates_of_both_kinds(tmp_path: Path) -> None:
    good = {"type": "ansible", "playbook_file": "a.yml", "extra_arguments": ["-e", '{"packer_build": true}']}
    bad = {"type": "ansible-local", "playbook_file": "b.yml", "extra_arguments": ["-v"]}
    shell = {"type": "shell", "inline": ["-e", "packer_build=true"]}
    old = {"builders": [{"type": "qemu"}], "provisioners": [shell, good, bad]}
    (tmp_path / "old.json").write_text(json.dumps(old, indent="\t"))
    new = {
        "packer": {"required_plugins": {"ansible": {"version": "1"}}},
        "build": [{"provisioner": [{"ansible": good}, {"ansible": [bad]}]}],
    }
    (tmp_path / "new.pkr.json").write_text(json.dumps(new, indent=1))
    found = find_templates_without_packer_build(tmp_path)
    assert [(item.file.name, item.playbook) for item in found] == [("new.pkr.json", "b.yml"), ("old.json", "b.yml")]
    for item in found:
        lines = item.file.read_text().splitlines()
        assert "b.yml" in "".join(lines[item.line - 1 : item.line + 2])


@pytest.mark.parametrize("name", ["", "README.md", "x.hcl", "package.json", "x.pkrvars.hcl"])
def test_a_directory_without_templates_is_never_green(tmp_path: Path, name: str) -> None:
    if name:
        (tmp_path / name).write_text('{"name": "x"}')
    with pytest.raises(UsageError, match="no Packer template"):
        find_templates_without_packer_build(tmp_path)
    with pytest.raises(UsageError, match="no Packer template"):
        find_templates_without_packer_build(tmp_path / "missing")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.pkr.hcl", 'build {\n  provisioner "ansible" {\n'),
        ("x.pkr.hcl", 'build {\n  x = "no end\n}\n'),
        ("x.pkr.json", "{"),
        ("x.json", '{"provisioners": ['),
    ],
)
def test_a_broken_template_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        find_templates_without_packer_build(tmp_path)


@pytest.mark.parametrize(("playbook", "said"), [("site.yml", "a.pkr.hcl:2, playbook site.yml"), ("", "a.pkr.hcl:2")])
def test_a_provisioner_is_named_by_its_place(playbook: str, said: str) -> None:
    assert str(Forgotten(Path("a.pkr.hcl"), 2, playbook)) == said
