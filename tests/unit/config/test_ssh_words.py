"""The words of ansible_ssh_common_args: what ssh itself makes of them, or that they are not read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_hpcregistry.config.connection import read_login
from pytest_hpcregistry.config.ssh_words import read_words
from pytest_hpcregistry.core.routes import read_jump

THEIRS = {
    "host": "hostname",
    "port": "port",
    "user": "user",
    "key": "identityfile",
    "known_hosts": "userknownhostsfile",
}


def ssh_reads(words: str) -> dict[str, str]:
    """What ssh itself understands of these words, asked with `ssh -G`, split by a shell as Ansible splits them."""
    shown = subprocess.run(["sh", "-c", f"ssh -F none -G {words} head"], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("-p 2222 -l ops", "port user"),
        ("-p2222 -lops -i/etc/passwd", "port user key"),
        ("-o Port=2222 -oUser=ops -o 'IdentityFile /etc/passwd'", "port user key"),
        ("-o HostName=10.0.0.1", "host"),
        ("-o port=1 -o Port=2", "port"),
        ("-Cqp 2222", "port"),
        ("-o 'Port = 2222'", "port"),
        ("-J me@gate:23", "jump"),
        ("-Jgate", "jump"),
        ("-o ProxyJump=gate -C", "jump"),
        ("-o ProxyJump=ssh://me@gate:23", "jump"),
        ("-o ProxyJump=none", ""),
        ("-J '[fe80::1]:22'", "jump"),
        ("-o UserKnownHostsFile=/k/known", "known_hosts"),
        ("-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR", ""),
        ("-C -o ControlMaster=auto -o ControlPersist=60s", ""),
        ("", ""),
    ],
)
def test_what_is_read_is_what_ssh_does(words: str, names: str) -> None:
    found = read_words(words)
    assert found.unread == []
    assert sorted(found.said) == sorted(names.split())
    ssh = ssh_reads(words)
    for name, value in found.said.items():
        if name == "jump":
            assert read_jump(value) == read_jump(ssh["proxyjump"])
        else:
            assert value == ssh[THEIRS[name]]


@pytest.mark.parametrize(
    ("command", "jump"),
    [
        ("ssh -W %h:%p gate", "gate"),
        ("ssh -q -o StrictHostKeyChecking=no -W [%h]:%p me@gate", "me@gate"),
        ("ssh gate -W %h:%p -p 23 -l me", "me@gate:23"),
        ("ssh -W %h:22 gate", ""),
        ("ssh -W %h:%p gate other", ""),
        ("ssh -i /other -W %h:%p gate", ""),
        ("ssh -W %h:%p -J first gate", ""),
        ("ssh gate nc %h %p", ""),
        ("/opt/ssh -W %h:%p gate", ""),
        ("nc -X connect -x proxy:3128 %h %p", ""),
        ("cloudflared access ssh --hostname %h", ""),
    ],
)
def test_a_proxy_command_that_is_a_jump_is_read_and_any_other_is_named(command: str, jump: str) -> None:
    found = read_words(f"-o ProxyCommand='{command}'")
    assert (found.said.get("jump", ""), found.unread) == (jump, [] if jump else ["ProxyCommand"])


@pytest.mark.parametrize(
    "words",
    [
        "-J a,b",
        "-4",
        "-b 10.0.0.1",
        "-o BindInterface=ib0",
        "-o HostKeyAlias=x",
        "-o PubkeyAcceptedAlgorithms=+ssh-rsa",
        "-o UserKnownHostsFile='/a /b'",
        "-i /a -i /b",
        "-i ~/.ssh/%h",
        "-o CertificateFile=/c",
        "-I /usr/lib/p11.so",
        "-W x:1",
        "word",
        "A",
        "-o",
        "-",
    ],
)
def test_what_is_not_read_is_named(words: str) -> None:
    assert len(read_words(words).unread) == 1
    (mistake,) = read_login({"ansible_ssh_extra_args": words}).mistakes
    assert mistake.startswith("ansible_ssh_extra_args: ")
    assert "~/.ssh/config" in mistake


def test_what_two_variables_say_of_one_thing_must_agree() -> None:
    same = {"ansible_port": 2222, "ansible_ssh_args": "-p 2222", "ansible_ssh_common_args": "-F /c"}
    assert read_login(same).said == {"port": "2222", "config": "/c"}
    (mistake,) = read_login({**same, "ansible_ssh_extra_args": "-o Port=23"}).mistakes
    assert mistake == "ansible_ssh_extra_args: 23, and elsewhere 2222: keep one of them"


def test_a_configuration_of_ssh_is_read_from_its_file(tmp_path: Path) -> None:
    assert read_words(f"-F {tmp_path}/config").said == {"config": f"{tmp_path}/config"}
