"""--json, --verbose and --quiet, which every command has. What is printed as JSON is validated by conftest.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import click
import jsonschema
import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry import lab as the_lab
from pytest_hpcregistry.cli import cache as cache_command
from pytest_hpcregistry.cli import convert as convert_command
from pytest_hpcregistry.cli import registry
from pytest_hpcregistry.cli import test as test_command
from pytest_hpcregistry.cluster import deploy, signing
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.cluster.history import History
from pytest_hpcregistry.core.catalog import Catalog
from pytest_hpcregistry.core.errors import HpcRegistryError
from pytest_hpcregistry.core.events import (
    Cancelled,
    CheckEnded,
    Freed,
    GcFinished,
    Listener,
    NodeFinished,
    Noticed,
    Runs,
    SyncFinished,
)
from pytest_hpcregistry.core.history import Record, new_id, now
from pytest_hpcregistry.core.running import Running
from pytest_hpcregistry.images.caches.entry import Cache, Entry
from pytest_hpcregistry.images.making.build import Builder, Built
from pytest_hpcregistry.images.making.convert import Converted
from pytest_hpcregistry.images.running.outcomes import Outcome
from pytest_hpcregistry.lab.look import MachineStatus
from pytest_hpcregistry.lab.state import LabState
from pytest_hpcregistry.report.junit import Counts
from pytest_hpcregistry.report.schema import End, Head, Lines, document_schema
from pytest_hpcregistry.setup import playbook
from pytest_hpcregistry.setup.transcript import HostRecap, Recap
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, entry, gathered, image, machine
from pytest_hpcregistry.testing.sif import Sif
from pytest_hpcregistry.testing.transport import FakeTransport
from pytest_hpcregistry.transports import CommandResult
from tests.unit.test_docs import all_commands

COMMANDS = dict(all_commands())
HPC = ("--controller", "hpc")
ANOTHERS_TERMINAL = {"lab ssh", "image prompt", "docker prompt"}
"""What these print is not ours."""
WITHOUT_JSON = {"schema", "completion", "job render", "image sbom", "docker sbom"}
"""Their result is a document already."""


def shape_of(path: str) -> Any:
    return getattr(COMMANDS[path].callback, "shape", None)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.commands, list(words))


def documents(text: str) -> list[dict[str, Any]]:
    """The objects of an output: one, or one on each line."""
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]


# --- every command has them


@pytest.mark.parametrize("path", sorted(COMMANDS.keys() - ANOTHERS_TERMINAL))
def test_every_command_takes_the_options_and_says_what_its_json_is(path: str) -> None:
    command = COMMANDS[path]
    options = {option for parameter in command.params for option in parameter.opts}
    assert hasattr(command.callback, "shape"), "decorate it with @answers(…), above its other options"
    assert {"--verbose", "--quiet"} <= options
    assert ("--json" in options) == (path not in WITHOUT_JSON) == (shape_of(path) is not None)


@pytest.mark.parametrize("path", sorted(COMMANDS.keys() - ANOTHERS_TERMINAL - WITHOUT_JSON))
def test_every_schema_is_one_and_its_keys_are_no_others(path: str) -> None:
    schema = json.loads(run("schema", *path.split()).stdout)
    assert schema == document_schema(path, shape_of(path))
    jsonschema.Draft7Validator.check_schema(schema)
    around = {one.name for kind in (Head, End) for one in fields(kind)}
    for shape in get_args(shape_of(path)) or (shape_of(path),):
        assert shape is Lines or is_dataclass(shape)
        assert not {one.name for one in (fields(shape) if is_dataclass(shape) else ())} & around


@pytest.mark.parametrize("words", [["catalog"], ["gone"], ["schema"], ["lab", "ssh"], ["status", "more"]])
def test_what_has_no_json_has_no_schema(words: list[str]) -> None:
    result = run("schema", *words)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


# --- what each prints


def ends_with(*events: Any) -> Callable[..., Any]:
    """A method of the client whose listener gets these events; what it returns is made of them."""

    def method(client: ControllerClient, *words: Any, **more: Any) -> Any:
        (listener,) = (word for word in words if callable(word))
        for event in events:
            listener(event)
        ended = [event for event in events if isinstance(event, NodeFinished)]
        return events[-1].machines if isinstance(events[-1], GcFinished) else {event.node: event for event in ended}

    return method


SYNCED = ends_with(NodeFinished("c1", "x", "synced", 1, 10, 0.5), SyncFinished("x", {"c1": "synced"}))
CHECKED = Outcome("x.sif", DIGEST, "this machine", "8G", (CheckEnded("x.sif", "starts", "passed"),) * 2)
RUNS: dict[str, tuple[str, ...]] = {
    "cancel": ("cancel", *HPC),
    "cache show": ("cache", "show"),
    "cache clean": ("cache", "clean", "--dry-run"),
    "catalog list": ("catalog", "list", *HPC),
    "catalog remove": ("catalog", "remove", "x.sif", *HPC),
    "catalog restore": ("catalog", "restore", "x.sif", *HPC),
    "catalog show": ("catalog", "show", "x.sif", *HPC),
    "convert to-apptainer": ("convert", "to-apptainer", "x:1", "y.sif"),
    "convert single": ("convert", "single", "x:1"),
    "convert all": ("convert", "all", "--force"),
    "deploy single": ("deploy", "x.sif", *HPC),
    "deploy all": ("deploy", "all", ".", *HPC),
    "deploy to-cluster": ("deploy", "to-cluster", "x.sif", NAME, *HPC),
    "gc": ("gc", *HPC),
    "history": ("history", *HPC),
    "image build": ("image", "build", "all"),
    "image diff": ("image", "diff", "x.sif", "x.sif"),
    "inspect": ("inspect", "x.sif"),
    "lab up": ("lab", "up"),
    "lab down": ("lab", "down"),
    "lab status": ("lab", "status"),
    "lab sites": ("lab", "sites"),
    "registry setup": ("registry", "setup", *HPC),
    "registry remove": ("registry", "remove", *HPC),
    "registry check-packer": ("registry", "check-packer", "."),
    "rollback": ("rollback", "x.sif", *HPC),
    "running": ("running", *HPC),
    "scan": ("scan", "x.sif", "--cluster", "cluster.yaml"),
    "sign": ("sign", "--all", *HPC),
    "status": ("status", *HPC),
    "sync": ("sync", *HPC),
    "test": ("test", "x.sif"),
    "verify": ("verify", *HPC),
}
ELSEWHERE = {"scan", "image diff"}
"""Their own test files have what they need."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """All that commands ask for is there, and well."""
    monkeypatch.chdir(tmp_path)
    for name in ("HPC_CLUSTER", "TEST_CONTROLLER", "TEST_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("x.sif").write_bytes(Sif().to_bytes())
    build = 'build { provisioner "ansible" { extra_arguments = ["-e", "packer_build=true"] } }'
    Path("x.pkr.hcl").write_text(build.replace("{ ", "{\n").replace(" }", "\n}"))
    monkeypatch.setattr("pytest_hpcregistry.cluster.client.open_transport", lambda cluster: FakeTransport({}))

    def deployed(images: Any, client: ControllerClient, listener: Listener, **how: Any) -> None:
        listener(Noticed("odd"))

    def run_phases(*words: Any, on_phase: Callable[[str, Counts], None], **how: Any) -> None:
        on_phase("infrastructure", Counts(3))

    lab = LabState("default", tmp_path, ("c001",))
    size = Cache("own", "/x", (Entry("old", 0.0, {"/x": 5}, lambda days: None),))
    recap = Recap({"c1": HostRecap(5, 0, 0, 0)}, 1.5)
    record = Record(new_id(), now(), "sync", "ok")
    for place, name, value in (
        (ControllerClient, "facts", lambda client, *what: gathered({"c1": machine(image()), "c2": machine(image())})),
        (ControllerClient, "catalog", lambda client: Catalog({NAME: entry()})),
        (ControllerClient, "list_nodes", lambda client: ["c1"]),
        (registry, "away", lambda client: {}),
        (registry, "routes_to", lambda nodes, client: {}),
        (ControllerClient, "sync", SYNCED),
        (ControllerClient, "rollback", SYNCED),
        (ControllerClient, "remove", SYNCED),
        (ControllerClient, "restore", SYNCED),
        (ControllerClient, "running", lambda client: Runs([Running(record)], True)),
        (ControllerClient, "cancel", lambda client: Cancelled(record, [Running(record)])),
        (ControllerClient, "gc", ends_with(GcFinished({"c1": Freed("freed")}, False))),
        (deploy, "deploy", deployed),
        (signing, "sign_again", lambda *words, **how: how["listener"](Noticed("odd"))),
        (signing, "for_rollback", lambda client, name, to: (to, None)),
        (signing, "for_restore", lambda client, name, to: (to, None)),
        (convert_command, "convert", lambda image, out, **how: Converted(out, DIGEST, 5, image, "", 0.5)),
        (convert_command, "find_definitions", find_one),
        (sys.modules["pytest_hpcregistry.cli.image"], "find_definitions", find_one),
        (Builder, "__init__", lambda builder, report: None),
        (Builder, "build", lambda builder, one, force: Built("x:1", DIGEST, True, 0.5)),
        (cache_command, "find_caches", lambda: [size]),
        (playbook, "set_up", lambda *words, **how: recap),
        (playbook, "take_back", lambda *words, **how: recap),
        (the_lab, "up", lambda *words, **how: lab),
        (the_lab, "down", lambda name: None),
        (the_lab, "status", lambda name: None),
        (the_lab, "look", lambda name: [MachineStatus("c001", "running", "10.0.0.1", "idle")]),
        (test_command, "check_file", lambda *words, **how: CHECKED),
        (test_command, "run_phases", run_phases),
        (sys.modules["pytest_hpcregistry.cli.history"], "read", lambda *words, **how: History([record], 0)),
    ):
        monkeypatch.setattr(place, name, value)
    return tmp_path


class OneDefinition:
    """As much of a definition as a fake of what is done with it needs."""

    image = "x:1"
    directory = Path("images/x")


def find_one(directory: Path, name: str) -> list[OneDefinition]:
    return [OneDefinition()]


def test_no_command_is_left_out() -> None:
    with_json = {path for path in COMMANDS if shape_of(path) is not None}
    assert with_json - {path for path in with_json if path.startswith("docker ")} == set(RUNS)


@pytest.mark.parametrize("path", sorted(RUNS.keys() - ELSEWHERE))
def test_each_prints_what_its_schema_says_and_nothing_else(world: Path, path: str) -> None:
    result = run(*RUNS[path], "--json")
    assert result.exception is None, result.output
    first, *rest = documents(result.stdout)
    last = rest[-1] if rest else first
    assert (first["schema_version"], first["command"], last["exit_code"]) == (1, path, 0)
    assert first["time"].endswith("Z")
    assert ("cluster" in first) == ("hpc" in RUNS[path])
    assert bool(rest) == (shape_of(path) is Lines)
    jsonschema.validate(first, json.loads(run("schema", *path.split()).stdout))
    assert result.stderr == ""


def test_the_other_shape_of_test(world: Path) -> None:
    (found,) = documents(run("test", "--phase", "infrastructure", "--json", *HPC).stdout)
    assert found["cluster"] == {"name": "hpc", "controller": "hpc"}
    assert found["phases"]["infrastructure"]["passed"] == 3
    assert found["report"] == "reports/junit.xml"


# --- errors


def ending_of(*words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    """Exit code, the last document, and standard error, as of the console script."""
    monkeypatch.setattr(sys, "argv", ["hpc-container-manager", *words])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    shown = capsys.readouterr()
    assert isinstance(leave.value.code, int)
    return leave.value.code, documents(shown.out)[-1] if shown.out else None, shown.err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["status", "--json", "--gone"], 2, "No such option"),
        (["gone", "--json"], 2, "No such command"),
        (["--gone", "--json"], 2, "No such option"),
        (["catalog", "--json"], 2, "No such option"),
        (["status", "--json"], 2, "no cluster is named"),
        (["sync", "--json", *HPC, "-w", ""], 2, "names no node"),
        (["inspect", "--json", "gone.sif"], 2, "gone.sif"),
        (["verify", "--json", *HPC, "gone.sif"], 2, "gone.sif is not in the catalog"),
        (["test", "--json", "--phase", "e2e", "--all"], 2, "exclude each other"),
    ],
)
def test_errors_are_json_too(
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    says: str,
) -> None:
    ended, last, error = ending_of(*words, monkeypatch=monkeypatch, capsys=capsys)
    assert (ended, last["exit_code"], last["schema_version"]) == (code, code, 1)
    assert says in last["error"]
    assert says in error, "and for people, as ever"


def test_without_json_there_is_none_and_behind_two_dashes_it_is_a_name(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["status", "--gone"], ["inspect", "--", "--json"]):
        code, last, _ = ending_of(*words, monkeypatch=monkeypatch, capsys=capsys)
        assert (code, last) == (2, None)


def test_a_finding_stands_beside_its_result(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ControllerClient, "facts", lambda client, *what: gathered({"c1": machine()}))
    (found,) = documents(run("status", "--json", *HPC).stdout)
    assert found["images"] == {NAME: {"controller": "present", "c1": "missing"}}
    assert (found["exit_code"], found["error"]) == (1, "1 image missing on c1")
    assert "sync" in found["hint"]


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupted_run_has_a_last_line(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cause: BaseException
) -> None:
    def interrupted(*words: Any, **more: Any) -> None:
        raise cause

    monkeypatch.setattr(ControllerClient, "sync", interrupted)
    code, last, _ = ending_of("sync", "--json", *HPC, monkeypatch=monkeypatch, capsys=capsys)
    assert (code, last["event"], last["exit_code"], last["error"]) == (130, "ended", 130, "interrupted")


@pytest.mark.parametrize("words", [["inspect", "x.sif"], ["status"], ["schema", "status"]])
def test_a_full_disk_is_one_line(world: Path, words: list[str]) -> None:
    argv = [sys.executable, "-c", "from pytest_hpcregistry import cli; cli.main()", *words, "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == "error: No space left on device"
    assert "Traceback" not in done.stderr


# --- --quiet


def test_quiet_leaves_findings(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {"c1": machine(image(sha256=OTHER)), "c2": machine(image())}
    monkeypatch.setattr(ControllerClient, "facts", lambda client, *what: gathered(nodes))
    assert run("verify", "--quiet", *HPC).stdout == f"✗ {NAME}: same bytes on controller,c2, damaged c1\n"
    nodes["c1"] = machine()
    assert run("--quiet", "status", *HPC).stdout.splitlines()[1:] == [f"{NAME}  present     missing c1, present c2"]


@pytest.mark.parametrize("path", ["status", "verify", "sync", "gc", "convert single", "registry setup", "lab down"])
def test_quiet_says_nothing_where_all_is_well(world: Path, path: str) -> None:
    result = run(*RUNS[path], "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_what_was_asked_for_is_printed_all_the_same(world: Path) -> None:
    assert NAME in run("catalog", "list", "--quiet", *HPC).stdout
    assert "a sound SIF" in run("inspect", "--quiet", "x.sif").stdout


# --- --verbose


class Talking(FakeTransport):
    """Answers `sinfo`, and fails at everything else."""

    def execute(self, command: Any) -> CommandResult:
        if command.argv[0] == "sinfo":
            return CommandResult("hpc", tuple(command.argv), 0, "c1\n", "", 0.25)
        raise HpcRegistryError("is broken", where="hpc")


@pytest.mark.parametrize(
    "words", [["-v", "registry", "setup"], ["registry", "setup", "-v"], ["registry", "setup", "--verbose"]]
)
def test_verbose_shows_remote_commands_with_their_time(
    world: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr("pytest_hpcregistry.cluster.client.open_transport", lambda cluster: Talking({}))
    monkeypatch.setattr(ControllerClient, "list_nodes", lambda client: client.transport.run(["sinfo", "-h"], timeout=1))
    result = run(*words, *HPC)
    (line,) = result.stderr.splitlines()
    assert line[2] == line[5] == ":"
    assert line.endswith(" hpc: sinfo -h: exit code 0 (0.25 s)")
    twice = run("-v", "registry", "setup", "-v", *HPC).stderr.splitlines()
    assert [one.partition(" ")[2] for one in twice] == [
        "begun: sinfo -h",
        "hpc: sinfo -h: exit code 0 (0.25 s)",
        "hpc: sent nothing, read 3 characters, 0 of errors",
    ]
    assert run("registry", "setup", *HPC).stderr == "", "it is over with the run"


def test_v_is_verify_where_it_always_was(world: Path) -> None:
    for path in ("deploy single", "deploy all", "deploy to-cluster"):
        found = {letter: one.name for one in COMMANDS[path].params for letter in one.opts}
        assert (found["-v"], found["--verbose"]) == ("verify", "verbose")
