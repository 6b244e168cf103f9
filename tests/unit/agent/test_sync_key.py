"""What the sync key's forced command lets in: what our own sync sends, word by word and within bounds."""

from __future__ import annotations

import os
import re
import string
import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.agent import requests
from pytest_hpcregistry.agent import serve as serving
from pytest_hpcregistry.agent.forms import Misshapen
from pytest_hpcregistry.controller.engines import star
from tests import AGENT_PYTHON
from tests.fakes.registry import NAME, make_program, make_registry, serve


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return make_registry(tmp_path)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_program(tmp_path_factory.mktemp("agent"))


RSYNC = "rsync --server -WIe.LsfxCIvu --timeout=60 --info=STATS . ."


@pytest.mark.parametrize(
    "command",
    [
        *("", "id", "session; id", "facts", "have", "session x", " session", "session ", "sh -c id", "rsync --server"),
        *(RSYNC + " ", RSYNC + "\n", "\n" + RSYNC, RSYNC + "; id", RSYNC.replace(" ", "  "), RSYNC.replace(" ", "\t")),
        *(RSYNC.replace(" . .", places) for places in ("", " .", " . /etc", " . ..", " . ./x", " / .", " . . .")),
        *(RSYNC.replace("rsync ", program) for program in ("'rsync' ", "/usr/bin/rsync ", "r\\sync ")),
        *(RSYNC.replace("--server", f"--server {more}") for more in ("--sender", "--daemon", "--delete", "-a")),
        *(RSYNC.replace("60", seconds) for seconds in ("0", "061", "600", "-1", "")),
        *(RSYNC.replace("--info", f"--bwlimit={rate} --info") for rate in ("0", "-1", "99999999999", "1m", "")),
        *(RSYNC.replace("--info=STATS", more) for more in ("--info=ALL4", "--info=STATS --info=STATS", "--debug=ALL")),
        *(
            RSYNC.replace("LsfxCIvu", can)
            for can in ("LsfxCIvuZ", "iLsfxCIvu", "uvICxfsL", "", "LsfxCIvu --copy-dest=/")
        ),
        *(RSYNC.replace("-WIe.", short) for short in ("-We.", "-IWe.", "-WWIe.", "-WI -e.", "-WIe", "-W -Ie.", "--e.")),
        RSYNC.replace("--timeout=60 ", ""),
    ],
)
def test_serve_refuses_everything_else(program: Path, registry: Path, command: str) -> None:
    done = serve(program, registry, command, {"nonce": "n", "seconds": 5}, {"do": "have"})
    assert done.returncode != 0
    assert "this key can only" in done.stderr
    assert done.stdout == ""


RSYNCS = [path for path in ("/usr/bin/rsync", *os.environ.get("HPCREG_OTHER_RSYNCS", "").split(":")) if path]


def long_options() -> list[str]:
    """Every long option in `rsync --help` of the versions at hand."""
    texts = [subprocess.run([path, "--help"], capture_output=True, text=True, check=True).stdout for path in RSYNCS]
    return sorted({option for text in texts for option in re.findall(r"--[a-z][a-z0-9-]+=?", text)})


def test_rsync_is_let_in_with_no_option_that_star_does_not_send() -> None:
    """Every letter and every long option, alone and with a value, beside the right ones and instead of one of them."""
    words = RSYNC.split()
    letters = [letter for letter in string.ascii_letters if letter not in "e"]
    extra = [f"-{letter}" for letter in letters]
    long = long_options()
    assert len(long) > 100
    extra += [word + value for word in long for value in (["1", "x", "/etc"] if word.endswith("=") else [""])]
    extra += ["--no-" + word[2:] for word in long]
    extra = [word for word in extra if word not in words and not re.fullmatch(r"--bwlimit=[1-9]\d*|--info=STATS", word)]
    for word in extra:
        for place in range(2, len(words) + 1):
            assert not serving.RSYNC.match(" ".join([*words[:place], word, *words[place:]])), word
        for place in range(2, len(words)):
            assert not serving.RSYNC.match(" ".join([*words[:place], word, *words[place + 1 :]])), word
    for letter in letters:
        for short in (
            f"-WI{letter}e.LsfxCIvu",
            f"-{letter}WIe.LsfxCIvu",
            f"-W{letter}e.LsfxCIvu",
            f"-{letter}Ie.LsfxCIvu",
        ):
            assert (short in ("-WIe.LsfxCIvu",)) == bool(serving.RSYNC.match(RSYNC.replace(words[2], short))), short


@pytest.mark.parametrize("path", RSYNCS)
@pytest.mark.parametrize("more", [[], ["--bwlimit=10"]])
@pytest.mark.parametrize("whole", ["--whole-file", "--no-whole-file"])
def test_what_star_sends_is_let_in(tmp_path: Path, path: str, whole: str, more: list[str]) -> None:
    shell = tmp_path / "ssh"
    shell.write_text(f'#!/bin/sh\nshift 3\necho "$*" > {tmp_path}/asked\nexit 1\n')
    shell.chmod(0o755)
    (tmp_path / "file").touch()
    argv = [path, *star.OPTIONS, whole, *more, "-e", str(shell), f"{tmp_path}/file", "root@c1:."]
    subprocess.run(argv, capture_output=True, check=False)
    asked = (tmp_path / "asked").read_text().strip()
    assert serving.RSYNC.match(asked), asked


# --- requests ------------------------------------------------------------------------------------------------------

GOOD: dict[str, dict[str, Any]] = {
    "have": {"probe": ".probe-0123456789abcdef"},
    "prepare": {"bases": {"a" * 64: "b" * 64}, "network": "10.0.0.0/8"},
    "publish": {
        "images": [{"name": NAME, "digest": "a" * 64, "size": 1}],
        "mode": "0755",
        "catalog": "version: 1\n",
        "objects": ["a" * 64],
    },
    "relay": {
        "objects": [{"digest": "a" * 64, "size": 1}],
        "piece": 1 << 17,
        "index": "a" * 64,
        "certificate": "-----BEGIN\n",
        "network": None,
    },
    "expect": {"link": "0123456789abcdef"},
    "send": {"node": "c002", "address": "10.1.2.3", "port": 40000, "link": "0123456789abcdef", "rate": 0},
    "gc": {
        "catalog": "",
        "objects": [],
        "keep": ["a" * 64],
        "names": [NAME],
        "spare": [],
        "grace": 0,
        "dry_run": False,
        "shared": False,
    },
    "repair": {"objects": ["a" * 64]},
    "remove": {"names": [{"name": NAME, "digests": ["a" * 64]}]},
    "users": {"objects": ["a" * 64]},
}
BEYOND: list[tuple[str, str, Any]] = [
    ("publish", "images", [{"name": ".registry/history.jsonl", "digest": "a" * 64, "size": 1}]),
    ("publish", "images", GOOD["publish"]["images"] * 101),
    ("publish", "mode", "0o755"),
    ("publish", "mode", " 0755"),
    ("publish", "catalog", "x" * (32 << 20) + "x"),
    ("publish", "catalog", "name: \x1b]0;x\x07"),
    ("publish", "catalog", "name: \u202e"),
    ("publish", "catalog", "\0"),
    ("publish", "objects", ["a" * 64] * 100001),
    ("relay", "piece", 0),
    ("relay", "piece", (128 << 10) - 1),
    ("relay", "piece", (1 << 20) + 1),
    ("relay", "objects", GOOD["relay"]["objects"] * 101),
    ("relay", "objects", [{"digest": "a" * 64, "size": -1}]),
    ("relay", "objects", [{"digest": "a" * 64, "size": 10**18}]),
    ("relay", "objects", [{"digest": "../x", "size": 1}]),
    ("relay", "index", ""),
    ("send", "port", 22),
    ("send", "port", 1023),
    ("send", "port", 65536),
    ("send", "address", "localhost"),
    ("send", "address", "c002"),
    ("send", "rate", -1),
    ("send", "node", "-oProxyCommand=id"),
    ("gc", "grace", -1),
    ("gc", "grace", 10**10),
    ("gc", "dry_run", 0),
    ("gc", "shared", 1),
    ("prepare", "network", "10.0.0.0/8; id"),
    ("have", "probe", "../lock"),
    ("repair", "objects", ["../lock"]),
    ("repair", "objects", ["a" * 64] * 101),
    ("remove", "names", GOOD["remove"]["names"] * 101),
    ("remove", "names", [{"name": ".registry/catalog.yaml", "digests": ["a" * 64]}]),
    ("remove", "names", [{"name": "../x/y.sif", "digests": ["a" * 64]}]),
    ("remove", "names", [{"name": NAME, "digests": ["../x"]}]),
    ("remove", "names", [{"name": NAME, "digests": ["a" * 64] * 1001}]),
    ("users", "objects", ["/etc/shadow"]),
]


@pytest.mark.parametrize("verb", GOOD)
def test_our_own_requests_are_taken(verb: str) -> None:
    assert requests.check({"do": verb, "id": 1, **GOOD[verb]})["do"] == verb
    assert verb in requests.VERBS
    assert set(GOOD) == set(requests.VERBS)


@pytest.mark.parametrize(("verb", "key", "value"), BEYOND)
def test_a_request_beyond_its_bounds_is_refused(verb: str, key: str, value: Any) -> None:
    with pytest.raises(agent.Refused, match=f"a request to {verb} that this agent does not take"):
        requests.check({"do": verb, "id": 1, **GOOD[verb], key: value})


IMAGE = GOOD["publish"]["images"][0]
OBJECT = GOOD["relay"]["objects"][0]
# The last value that is taken, and the first that is not, of every bound.
BOUNDS: list[tuple[str, str, Any, Any]] = [
    ("publish", "images", [IMAGE] * 100, [IMAGE] * 101),
    ("publish", "images", [{**IMAGE, "size": 0}], [{**IMAGE, "size": -1}]),
    ("publish", "images", [{**IMAGE, "size": 1 << 50}], [{**IMAGE, "size": (1 << 50) + 1}]),
    ("publish", "objects", ["a" * 64] * 100000, ["a" * 64] * 100001),
    ("publish", "catalog", "x" * (32 << 20), "x" * ((32 << 20) + 1)),
    ("prepare", "bases", {f"{n:064x}": "b" * 64 for n in range(100)}, {f"{n:064x}": "b" * 64 for n in range(101)}),
    ("relay", "objects", [OBJECT] * 100, [OBJECT] * 101),
    ("relay", "piece", 128 << 10, (128 << 10) - 1),
    ("relay", "piece", 1 << 20, (1 << 20) + 1),
    ("relay", "certificate", "x" * 16384, "x" * 16385),
    ("send", "port", 1024, 1023),
    ("send", "port", 65535, 65536),
    ("send", "rate", 1 << 50, (1 << 50) + 1),
    ("gc", "grace", 3660 * 86400, 3660 * 86400 + 1),
    *(("gc", key, ["a" * 64] * 100000, ["a" * 64] * 100001) for key in ("objects", "keep", "spare")),
    ("gc", "names", [NAME] * 100000, [NAME] * 100001),
    ("have", "id", 0, -1),
    ("have", "id", 1 << 50, (1 << 50) + 1),
]


@pytest.mark.parametrize(("verb", "key", "last", "beyond"), BOUNDS)
def test_every_bound_is_where_it_is(verb: str, key: str, last: Any, beyond: Any) -> None:
    assert requests.check({"do": verb, "id": 1, **GOOD[verb], key: last})[key] == last
    with pytest.raises(agent.Refused, match=f"a request to {verb} that this agent does not take: .*({key}|size)"):
        requests.check({"do": verb, "id": 1, **GOOD[verb], key: beyond})


@pytest.mark.parametrize(("seconds", "taken"), [(0, False), (1, True), (100_000, True), (100_001, False)])
def test_how_long_a_session_may_be_silent(seconds: int, taken: bool) -> None:
    with nullcontext() if taken else pytest.raises(Misshapen):
        requests.FIRST({"nonce": "n", "seconds": seconds}, "the first line")


@pytest.mark.parametrize("verb", GOOD)
def test_what_may_be_left_out(verb: str) -> None:
    may_lack = (
        {"probe", "network", "mode", "catalog", "objects"} if verb in ("have", "prepare", "publish") else {"network"}
    )
    for key in GOOD[verb]:
        fewer = {name: value for name, value in GOOD[verb].items() if name != key}
        with nullcontext() if key in may_lack else pytest.raises(agent.Refused, match=f"lacks {key}"):
            requests.check({"do": verb, "id": 1, **fewer})


PROSE = ("catalog", "certificate")
WRONG: list[Any] = ["x\x1b", "../x", 1.5, True, -1, 10**400, float("nan"), [], [[]], {}, {"a": 1}]


@pytest.mark.parametrize("verb", GOOD)
def test_every_field_of_every_request_has_a_form(verb: str) -> None:
    for key, good in GOOD[verb].items():
        for wrong in WRONG:
            if (type(wrong) is type(good) and wrong in ([], {}, True)) or (key in PROSE and wrong == "../x"):
                continue  # an empty list, or the other truth, or another text, is as good
            with pytest.raises(agent.Refused):
                requests.check({"do": verb, "id": 1, **GOOD[verb], key: wrong})


@pytest.mark.parametrize(
    "odd",
    [
        None,
        1,
        "have",
        [],
        {},
        {"do": None},
        {"do": []},
        {"do": "have"},
        {"do": "have", "id": "1"},
        {"do": "x", "id": 1},
    ],
)
def test_what_is_no_request_is_refused(odd: Any) -> None:
    with pytest.raises(agent.Refused):
        requests.check(odd)


@pytest.mark.parametrize(
    "first",
    ["", "nonsense", "[" * 100_000, "null", "[]", "{}", '{"nonce": "n"}', '{"nonce": 1, "seconds": 20}',
     '{"nonce": "n", "seconds": 0}', '{"nonce": "n", "seconds": -1}', '{"nonce": "n", "seconds": 1000000000}',
     '{"nonce": "n", "seconds": 1e3}', '{"nonce": "n\\nhpcregistry x", "seconds": 20}', "\xff"],
)  # fmt: skip
def test_a_first_line_that_is_none_ends_the_session_in_words(program: Path, registry: Path, first: str) -> None:
    argv = [AGENT_PYTHON, str(program), "serve", "--registry", str(registry)]
    environment = {**os.environ, "SSH_ORIGINAL_COMMAND": "session"}
    said = first.encode("latin-1") + b"\n"
    done = subprocess.run(argv, input=said, env=environment, capture_output=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.startswith(b"hpcregistry: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_rsync_does_not_enter_a_staging_that_others_can(registry: Path, program: Path, mode: int) -> None:
    (registry / agent.STAGING).chmod(mode)
    done = serve(program, registry, RSYNC)
    assert done.returncode == 1
    assert "it must be root's own, 0700" in done.stderr


@pytest.mark.parametrize(("free", "largest"), [((64 << 20) + 936, 936), (64 << 20, 0), (1, 0)])
@pytest.mark.parametrize("short", ["-WIe.LsfxCIvu", "-Ie.LsfxCIvu"])
def test_rsync_is_started_in_staging_with_our_own_options(
    registry: Path, monkeypatch: pytest.MonkeyPatch, short: str, free: int, largest: int
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *what: started.append((*what, str(Path.cwd()))))
    monkeypatch.setattr(serving, "filesystem", lambda path: {"free": free if path == str(registry) else None})
    monkeypatch.chdir(registry)
    serving.serve(str(registry), RSYNC.replace("-WIe.LsfxCIvu", short))
    compare = [f"--compare-dest={registry}/.registry/bases"] if short.startswith("-I") else []
    options = [short, "--timeout=60", "--info=STATS", f"--max-size={largest}", *compare]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    staging = str(registry / agent.STAGING)
    assert started == [("/usr/bin/rsync", ["rsync", "--server", *options, ".", "."], environment, staging)]


def test_a_session_is_one_word(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(serving, "Session", lambda place, lines: SimpleNamespace(run=lambda: ran.append(place)))
    serving.serve(str(registry), "session")
    assert ran == [str(registry)]
