"""Nothing that a machine, a file or a label says is obeyed by a terminal, or makes a line of a log: each text through
each source to each front.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from pytest_hpcregistry import cli
from pytest_hpcregistry.cli import registry, show
from pytest_hpcregistry.cluster import outcomes
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.config.ansible import find_reason
from pytest_hpcregistry.controller import __main__ as controller
from pytest_hpcregistry.controller import facts as controller_facts
from pytest_hpcregistry.controller import log, nodes
from pytest_hpcregistry.core import messages, sif
from pytest_hpcregistry.core.catalog import from_data
from pytest_hpcregistry.core.errors import ConfigError, HpcRegistryError
from pytest_hpcregistry.core.events import Event, Failed, Freed, GcFinished, NodeFinished, Noticed
from pytest_hpcregistry.core.model import Cluster, Controller
from pytest_hpcregistry.core.names import LONGEST_MESSAGE, printable
from pytest_hpcregistry.report import bars
from pytest_hpcregistry.report import junit as report
from pytest_hpcregistry.report import lines as progress
from pytest_hpcregistry.report.junit import gated_suite, merge
from pytest_hpcregistry.setup import playbook, transcript, troubles
from pytest_hpcregistry.setup.transcript import Recap
from pytest_hpcregistry.testing.facts import gathered, image, machine
from pytest_hpcregistry.testing.sif import Sif, label_object, system_partition
from pytest_hpcregistry.transports import CommandResult
from pytest_hpcregistry.transports.paramiko import reason
from pytest_hpcregistry.transports.ssh import unreachable

pytest_plugins = "pytester"
FORGED = "[2025-10-07 12:00:00] SUCCESS: forged"
TEXTS = {
    "title": "\x1b]0;forged\x07",
    "colour": "\x1b[31;1mforged\x1b[0m",
    "8-bit colour": "\x9b31m",
    "bell": "a\x07",
    "return": f"a\r{FORGED}",
    "backspace": "failed\x08\x08\x08\x08\x08\x08done",
    "line": f"a\n{FORGED}",
    "two lines": f"a\r\n{FORGED}\n{FORGED}",
    "form feed": f"a\x0c{FORGED}\x0b{FORGED}",
    "next line": f"a\x85{FORGED}",
    "line separator": f"a\u2028{FORGED}\u2029{FORGED}",
    "right to left": "a\u202egnp.exe\u2066",
    "surrogates": "\ud800 \udcff",
    "NUL": "a\0b",
    "no character": "a\ufffe\uffff\x01",
    "markup": "[red]a[/red] [link=file:///x]b[/link] [/]",
    "much": "A" * 10_000_000 + "\x1b[31m",
    "many lines": f"{FORGED}\n" * 20_000,
}


def harmless(shown: str) -> bool:
    """Bounded; each line is one that we made; nothing but line breaks is there to be obeyed."""
    lines = shown.split("\n")
    return len(shown) < 2 * LONGEST_MESSAGE and all(
        line.isprintable() and not line.startswith(FORGED) for line in lines
    )


# --- messages: every source to every front


def error_of(work: Callable[[], object]) -> HpcRegistryError:
    with pytest.raises(HpcRegistryError) as caught:
        work()
    return caught.value


def client_says(text: str) -> HpcRegistryError:
    one = ControllerClient(Cluster(controller=Controller(name="hpc", host="h", user="me")), show)  # type: ignore[arg-type]
    return one.program.no_answer(CommandResult("hpc", ("x",), 1, "", text, 0.0))


def ansible_says(text: str, key: str) -> HpcRegistryError:
    failed = {"event": "failed", "host": "c1", "task": "t", "message": "non-zero return code", "stderr": "", key: text}
    ended = {"event": "ended", "host": "c1", "ok": 1, "changed": 0, "unreachable": 0, "failures": 1}
    said = transcript.parse(f"{json.dumps(failed)}\n{json.dumps(ended)}\n")
    return error_of(lambda: troubles.raise_troubles(said, CommandResult("x", (), 2, "", "", 0.0)))


def damaged_file(text: str) -> HpcRegistryError:
    class Broken(OSError):
        strerror = text

    return error_of(lambda: nodes.refuse_error("c1", {"error": f"{Broken(5, text).strerror}: x.sif"}))


def reason_of(text: str) -> str:
    return str(controller_facts.unreachable("c1", HpcRegistryError(text, where="c1")).unreachable)


SOURCES: dict[str, Callable[[str], HpcRegistryError]] = {
    "a node's error": lambda text: error_of(lambda: nodes.refuse_error("c1", {"error": text})),
    "a node's error of another kind": lambda text: error_of(lambda: nodes.refuse_error("c1", {"error": [text]})),
    "the exception of an image file": damaged_file,
    "ssh of a node": lambda text: nodes.no_answer("c1", 255, text),
    "a node's shell": lambda text: nodes.no_answer("c1", 127, text),
    "a reason": lambda text: HpcRegistryError(reason_of(text), where="c1"),
    "ssh of the controller": lambda text: unreachable("hpc", text, "root@hpc"),
    "paramiko": lambda text: HpcRegistryError(reason(OSError(text))),
    "a command": lambda text: error_of(CommandResult("hpc", ("ls", text), 1, "", text, 0.0).check),
    "a command's output": lambda text: error_of(CommandResult("hpc", ("ls",), 1, text, "", 0.0).check),
    "the controller's program": client_says,
    "sudo": lambda text: client_says(f"sudo: {text}"),
    "Ansible's message": lambda text: ansible_says(text, "message"),
    "Ansible's standard error": lambda text: ansible_says(text, "stderr"),
    "Ansible's task": lambda text: ansible_says(text, "task"),
    "Ansible's inventory": lambda text: HpcRegistryError(find_reason(text)),
    # No file of more than 1 MiB is read, and the kernel knows no longer path.
    "a mistake in a file": lambda text: ConfigError(text[:4000], [f"a key {text[:100_000]}"]),
    "a name in the catalog": lambda text: error_of(lambda: from_data({"version": "1", "images": {text: {}}}, "x")),
    "a file's name": lambda text: error_of(lambda: sif.check(Path(f"/nowhere/{text[:4000]}"))),
}


def command_line(error: HpcRegistryError, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    show.say_error(error)
    return capsys.readouterr().err


def controller_program(error: HpcRegistryError, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    controller.report(error, as_json=False)
    return capsys.readouterr().err


def controller_json(error: HpcRegistryError, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    controller.report(error, as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == error.what
    return line


def log_of(error: HpcRegistryError, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    listener = log.log_lines(str(tmp_path / "log"))
    listener(Failed(error.what, where=error.where or None))
    listener(NodeFinished("c1", "x", "failed", message=str(error)))
    listener(Noticed(str(error)))
    lines = (tmp_path / "log").read_text().split("\n")
    assert len(lines) == 4
    return "\n".join(line.partition("] ")[2] for line in lines)


def lines_of(error: HpcRegistryError, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    for event in shown_events(error):
        show.show(event)
    shown = capsys.readouterr()
    return shown.out + shown.err


def bars_of(error: HpcRegistryError, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    console = Console(file=StringIO(), force_terminal=True, color_system=None, width=80, highlight=False)
    drawn = bars.Bars(console)
    for event in shown_events(error):
        drawn.listen(event)
    drawn.flush()
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def shown_events(error: HpcRegistryError) -> list[Event]:
    return [
        Failed(str(error), name="x", where="x"),
        Noticed(str(error)),
        NodeFinished("c1", "x", "failed", message=str(error)),
    ]


def junit(error: HpcRegistryError, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    merge({"e2e": gated_suite("e2e", str(error))}, tmp_path / "junit.xml")
    (case,) = ET.parse(tmp_path / "junit.xml").getroot().iter("error")  # noqa: S314
    return str(case.get("message"))


Front = Callable[[HpcRegistryError, pytest.CaptureFixture[str], Path], str]
FRONTS: dict[str, Front] = {
    "command line": command_line,
    "controller program": controller_program,
    "controller program's JSON": controller_json,
    "log": log_of,
    "lines": lines_of,
    "bars": bars_of,
    "JUnit": junit,
}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("source", SOURCES)
def test_messages(source: str, front: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / "log").unlink(missing_ok=True)
        shown = FRONTS[front](SOURCES[source](text), capsys, tmp_path)
        assert shown.strip(), name
        assert harmless(shown), (name, shown[:400])


@pytest.mark.parametrize("front", FRONTS)
def test_a_message_that_nobody_has_cut_is_cut_at_the_end(
    front: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shown = FRONTS[front](HpcRegistryError(TEXTS["much"]), capsys, tmp_path)
    assert front == "controller program's JSON" or len(shown) < 4 * LONGEST_MESSAGE


@pytest.mark.parametrize("source", SOURCES)
def test_an_excerpt_is_short_and_still_says_it(source: str) -> None:
    assert len(str(SOURCES[source](TEXTS["much"]))) < (2000 if "file" not in source else 200_000)
    plain = str(SOURCES[source]("disk full, é"))
    assert "disk full, é" in plain


# --- names, labels, lines: through whole commands


@pytest.fixture(params=TEXTS)
def text(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    for name in ("HPC_CLUSTER", "TEST_CONTROLLER"):
        monkeypatch.delenv(name, raising=False)

    class NoTransport:
        def close(self) -> None:
            pass

    monkeypatch.setattr("pytest_hpcregistry.cluster.client.open_transport", lambda cluster: NoTransport())
    monkeypatch.chdir(tmp_path)
    yield TEXTS[request.param]


def run(*words: str) -> tuple[str, str]:
    """What a command prints on its two outputs, its error included."""
    result = CliRunner().invoke(cli.commands, list(words))
    assert result.exception is None or isinstance(result.exception, (HpcRegistryError, SystemExit)), result.exc_info
    error = result.exception
    told = []
    if isinstance(error, HpcRegistryError):
        told = [click.unstyle(line) for line in [str(error), error.hint]]
    return result.stdout, result.stderr + printable("\n".join(told))


def test_a_file_name_in_a_registry_and_a_reason(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node = machine(image(f"ml-frameworks/{text}", sha256=text))
    data = gathered({"c1": node, "c2": text})
    monkeypatch.setattr(ControllerClient, "facts", lambda client, *what: data)
    for words in (["status"], ["verify"]):
        out, err = run(*words, "--controller", "hpc")
        assert harmless(out)
        assert harmless(err)
        assert "ml-frameworks/" in out + err
    out, _ = run("status", "--json", "--controller", "hpc")
    assert f"ml-frameworks/{text}" in json.loads(out)["images"]
    assert out.isascii()


def test_a_label(text: str) -> None:
    labels = {"key": text[:1000], text[:1000]: "value"}
    Path("x.sif").write_bytes(Sif(parts=(system_partition(), label_object(labels))).to_bytes())
    out, err = run("inspect", "x.sif")
    assert "a sound SIF" in out
    assert harmless(out + err)
    out, _ = run("inspect", "--json", "x.sif")
    assert json.loads(out)["labels"]["key"] == text[:1000].encode("utf-8", "replace").decode()


def test_files_that_nobody_wants(text: str) -> None:
    event = GcFinished({"c1": Freed("freed", unmanaged=[text])}, False)
    assert harmless(str(progress.describe(event)))
    assert all(len(line) < 1000 for line in messages.describe(event))


def test_words_of_a_node_that_an_engine_passes_on(text: str) -> None:
    """Not every place takes an excerpt: such an event is one line all the same."""
    ended = NodeFinished("c1", "x", "failed", message=text)
    for event in (Noticed(text), ended):
        shown = str(progress.describe(event))
        assert harmless(shown)
        assert "\n" not in shown
        assert all(harmless(log.stamp(line)[22:].removesuffix("\n")) for line in messages.describe(event))
    lengths = [len(line) for line in [str(progress.describe(ended)), *messages.describe(ended)]]
    assert max([*lengths, *(len(str(error)) for error in outcomes.sync_failures({"c1": ended}))]) < 1100


def test_lines_that_a_program_prints(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_up(*words: object, on_line: Callable[[str], None], **how: object) -> Recap:
        on_line(text.split("\n", maxsplit=1)[0].replace(FORGED, "it may say so"))  # in a line of its own
        return Recap({}, 0)

    monkeypatch.setattr(playbook, "set_up", set_up)
    monkeypatch.setattr(ControllerClient, "list_nodes", lambda client: ["c1"])
    monkeypatch.setattr(registry, "away", lambda client: {})
    monkeypatch.setattr(registry, "routes_to", lambda nodes, client: {})
    out, _ = run("registry", "setup", "--controller", "hpc")
    assert harmless(out)


def possible(text: str) -> str:
    """The kernel passes no NUL on, and Python makes no other surrogates of bytes."""
    return text.replace("\0", "").replace("\ud800", "")[:10_000]


def test_words_on_the_command_line(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """click quotes some of them as they are."""
    word = possible(text)
    for words in ([word], ["status", f"--{word}"], ["deploy", "all", "-p", word], ["inspect", word],
                  ["sync", word, word], ["catalog", "show", "--controller", "hpc", word], ["convert", "single", word],
                  ["status", "--cluster", word], ["lab", "up", "--nodes", word], ["deploy", "all", word]):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["hpc-container-manager", *words])
        with pytest.raises(SystemExit) as leave:
            cli.main()
        assert leave.value.code == 2, words
        shown = capsys.readouterr()
        assert shown.err
        assert harmless(shown.out + shown.err), words


def test_words_of_the_controllers_program(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    word = possible(text)
    for words in ([word], ["sync", "a", word], ["sync", f"--{word}"], ["--config", word, "sync"]):
        monkeypatch.setattr(sys, "argv", ["registry-sync-to-nodes.sh", *words])
        try:
            assert controller.main() == 2
        except SystemExit as leave:
            assert leave.code == 2
        assert harmless(capsys.readouterr().err), words


# --- in pytest


def test_suites(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text in the message of a test, in what it prints, in a skip's reason and in a property."""
    monkeypatch.setattr(ControllerClient, "facts", lambda client, *what: gathered({"c1": machine()}))
    pytester.makepyfile(
        test_it=f"""
        import pytest
        TEXTS = {list(TEXTS.values())!a}
        pytestmark = pytest.mark.infrastructure

        @pytest.mark.parametrize("number", range(len(TEXTS)))
        @pytest.mark.parametrize("how", ["assert", "fail", "short", "skip", "raise"])
        def test_one(number, how, record_property):
            text = TEXTS[number][:10_000]
            record_property("unreachable", text)
            print(text.encode("utf-8", "replace").decode())
            if how == "short":
                pytest.fail(text, pytrace=False)
            if how == "skip":
                pytest.skip(text)
            if how == "raise":
                raise ValueError(text)
            if how == "fail":
                pytest.fail(text)
            assert how is None, text
        """
    )
    words = [
        "-m",
        "infrastructure",
        "--hpc-controller=hpc",
        "-rA",
        "--junitxml=x.xml",
        "-ojunit_family=xunit1",
        "-p",
        "no:cacheprovider",
    ]
    result = pytester.runpytest_inprocess(*words)
    result.assert_outcomes(failed=4 * len(TEXTS), skipped=len(TEXTS))
    shown = result.stdout.str()
    assert all(line.isprintable() for line in shown.split("\n"))
    root = ET.parse(pytester.path / "x.xml").getroot()  # noqa: S314
    texts = [value for element in root.iter() for value in [element.text, *element.attrib.values()] if value]
    assert len(texts) > 10 * len(TEXTS)
    assert [text for text in texts if not all(line.isprintable() for line in text.split("\n"))] == []


def test_reports_of_others_are_made_printable_too(tmp_path: Path) -> None:
    suite = '<testsuites><testsuite name="x" tests="1"><testcase name="a&#x202e;"><failure message="&#x2028;">&#x85;'
    report.merge({"e2e": f"{suite}</failure></testcase></testsuite></testsuites>"}, tmp_path / "x.xml")
    assert (tmp_path / "x.xml").read_text().isprintable() or "\\u202e" in (tmp_path / "x.xml").read_text()
    text = (tmp_path / "x.xml").read_text()
    assert all(line.isprintable() for line in text.split("\n"))


# --- one way out


def test_the_command_line_has_one_way_out() -> None:
    """What is printed past `say` would be printed as it is; JSON is ASCII, and the log is made printable."""
    package = Path(cli.__file__).parent
    words = ("echo(", "print(", ".write(")
    users = {path.name for path in package.glob("*.py") if any(word in path.read_text() for word in words)}
    assert users == {"show.py", "output.py", "verbose.py"}
    assert "json.dumps(" in (package / "output.py").read_text()
    assert "printable(self.format(" in (package / "verbose.py").read_text()


def test_ansibles_words_stay_readable() -> None:
    assert transcript.message({"message": "a: b; c: d", "stderr": ""}) == "a: b; c: d"
