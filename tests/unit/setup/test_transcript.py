"""What is read of a run of Ansible: the real one, with hosts that are this machine and fail in every way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pytest_hpcregistry.core.names import LONGEST_REASON
from pytest_hpcregistry.setup import playbook, transcript
from pytest_hpcregistry.setup.transcript import HostRecap, Transcript
from pytest_hpcregistry.transports.local import LocalTransport

PLUGINS = playbook.PLAYBOOK.parent / "callback_plugins"
FORGED = "fatal: [good]: FAILED! => {}"
PLAY = """\
- hosts: all
  gather_facts: false
  tasks:
    - name: Ask the machine
      ansible.builtin.raw: "true"
      changed_when: true
    - name: Fail, and go on
      ansible.builtin.fail: {msg: this does not matter}
      when: inventory_hostname == "ignored"
      ignore_errors: true
    - name: Say why
      ansible.builtin.fail: {msg: "{{ why }}"}
      when: why is defined
    - name: Make the directories
      ansible.builtin.fail: {msg: "no space for {{ item }}"}
      when: inventory_hostname == "loop" and item != "first"
      loop: [first, second, third]
    - name: Hide the secret
      ansible.builtin.fail: {msg: "the secret is {{ item }}"}
      when: inventory_hostname == "hidden"
      no_log: true
      loop: [hunter2]
    - name: Run it
      ansible.builtin.raw: "echo first words >&2; echo last words >&2; exit 3"
      when: inventory_hostname == "command"
    - name: Say much
      ansible.builtin.raw: "head -c 10000000 /dev/zero | tr '\\\\0' A >&2; exit 3"
      when: inventory_hostname == "much"
    - name: Look at the machine
      ansible.builtin.command: "true"
      when: ansible_python_interpreter is match("/.*/stands-in")
"""
STANDS_IN = {
    "old": '  File "<stdin>", line 3\nSyntaxError: future feature annotations is not defined',
    "tty": "sudo: sorry, you must have a tty to run sudo",
}
"""Hosts whose Python is a program that only says this: what runs a module never begins."""
HOSTS: dict[str, dict[str, object]] = {
    "good": {},
    "ignored": {"why": "the real reason"},
    "hostile": {"why": f"\033[2Ja\n{FORGED}\n"},
    "listed": {"why": ["one", "two"]},
    "loop": {},
    "hidden": {},
    "command": {},
    "much": {},
    "old": {},
    "tty": {},
    "far": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
}
OUTER = {
    # What a user may have set for Ansible's screen: it is not what is read.
    "ANSIBLE_DISPLAY_FAILED_STDERR": "True",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
    "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),  # for this playbook, which it does not lie beside
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of PLAY."""
    scratch = tmp_path_factory.mktemp("run")
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: dict(variables) for name, variables in HOSTS.items()}
    for name, says in STANDS_IN.items():
        program = scratch / name / "stands-in"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}\nEND\nexit 1\n")
        program.chmod(0o755)
        hosts[name]["ansible_python_interpreter"] = str(program)
    (scratch / "inventory.json").write_text(json.dumps({"all": {"vars": common, "hosts": hosts}}))
    (scratch / "play.yml").write_text(PLAY)
    settings = [*playbook.environment(str(scratch), 5), *(f"{name}={value}" for name, value in OUTER.items())]
    argv = ["env", *settings, "ANSIBLE_SSH_RETRIES=0", playbook.ansible_playbook()]
    result = LocalTransport().run([*argv, "-i", f"{scratch}/inventory.json", f"{scratch}/play.yml"], timeout=60)
    assert result.exit_code != 0, result.stdout + result.stderr
    assert "Failed to load callback" not in result.stderr
    return scratch


@pytest.fixture(scope="module")
def said(scratch: Path) -> Transcript:
    return transcript.read(scratch / playbook.EVENTS)


def test_each_host_has_its_counts(said: Transcript) -> None:
    assert said.hosts.keys() == HOSTS.keys()
    assert said.hosts["good"] == HostRecap(ok=1, changed=1, unreachable=0, failed=0)
    assert said.hosts["ignored"] == HostRecap(ok=2, changed=1, unreachable=0, failed=1)
    assert said.hosts["far"] == HostRecap(ok=0, changed=0, unreachable=1, failed=0)
    assert {name for name, host in said.hosts.items() if host.failed} == HOSTS.keys() - {"good", "far"}


@pytest.mark.parametrize(
    ("host", "task", "message"),
    [
        ("ignored", "Say why", "the real reason"),
        ("hostile", "Say why", rf"\x1b[2Ja\n{FORGED}"),
        ("listed", "Say why", "['one', 'two']"),
        ("loop", "Make the directories", "no space for second"),
        ("command", "Run it", "non-zero return code: last words"),
        ("old", "Look at the machine", transcript.TOO_OLD_A_PYTHON),
    ],
)
def test_why_a_host_failed_is_known_whatever_the_screen_shows(
    said: Transcript, host: str, task: str, message: str
) -> None:
    assert said.troubles[host] == transcript.Trouble(task, message)


def test_what_keeps_a_module_from_its_beginning_is_said(said: Transcript) -> None:
    assert said.troubles["tty"].message.endswith(
        "deserialization failed: No start of json char found: " + STANDS_IN["tty"]
    )


def test_a_host_that_could_not_be_asked_says_what_ssh_said(said: Transcript) -> None:
    assert said.troubles["far"].task == "Ask the machine"
    assert "Connection refused" in said.troubles["far"].message


def test_what_no_log_hides_is_not_written_down(said: Transcript, scratch: Path) -> None:
    assert said.troubles["hidden"].task == "Hide the secret"
    assert "hidden due to the fact that 'no_log: true'" in said.troubles["hidden"].message
    assert "hunter2" not in (scratch / playbook.EVENTS).read_text()


def test_much_text_is_cut_where_it_is_written(said: Transcript, scratch: Path) -> None:
    assert said.troubles["much"].message.startswith("non-zero return code: AAA")
    assert len(said.troubles["much"].message) <= LONGEST_REASON
    assert (scratch / playbook.EVENTS).stat().st_size < 100_000


def test_a_host_with_no_trouble_has_none(said: Transcript) -> None:
    assert said.troubles.keys() == HOSTS.keys() - {"good"}


def test_a_run_that_wrote_nothing_is_empty(tmp_path: Path) -> None:
    assert transcript.read(tmp_path / "events") == Transcript()


def test_the_first_trouble_of_a_host_is_its_cause(tmp_path: Path) -> None:
    """As with handlers, which run on a host that has failed already."""
    event = {"event": "failed", "host": "c1", "task": "a", "message": "m", "stderr": ""}
    lines = [event, {**event, "task": "b"}, {**event, "host": "c2", "message": " "}]
    (tmp_path / "events").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = transcript.read(tmp_path / "events")
    assert said.troubles["c1"].task == "a"
    assert said.troubles["c2"].message == "Ansible did not say why"


def test_a_line_that_ansible_did_not_get_to_finish_is_passed_over() -> None:
    ended = json.dumps({"event": "ended", "host": "c1", "ok": 1, "changed": 2, "unreachable": 0, "failures": 3})
    found = transcript.parse(f'{ended}\n{{"event": "fai')
    assert found == Transcript({"c1": HostRecap(1, 2, 0, 3)}, {})
