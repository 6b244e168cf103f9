"""The command line: helpful for each command, and each kind of failure has its exit code."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.cli import convert as convert_command
from pytest_hpcregistry.cli import show
from pytest_hpcregistry.cli import test as test_command
from pytest_hpcregistry.cluster import deploy, phases
from pytest_hpcregistry.cluster.arguments import SyncOptions
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core import facts
from pytest_hpcregistry.core.catalog import MEND_CATALOG, Catalog, Version
from pytest_hpcregistry.core.errors import (
    CheckFailed,
    CommandTimeout,
    ConfigError,
    HpcRegistryError,
    Unreachable,
    UsageError,
)
from pytest_hpcregistry.core.events import (
    CatalogPart,
    Event,
    Freed,
    Looked,
    NodeFacts,
    NodeFinished,
    Noticed,
    Progress,
    SyncStarted,
    TransferStarted,
    UnderWay,
)
from pytest_hpcregistry.core.facts import Facts
from pytest_hpcregistry.core.machine import MachineFacts, SlurmFacts, Syncing
from pytest_hpcregistry.core.nodeset import Choice
from pytest_hpcregistry.core.pace import amount
from pytest_hpcregistry.core.wire import to_data
from pytest_hpcregistry.report.junit import Counts
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, REGISTRY, entry, events, gathered, image, machine
from pytest_hpcregistry.testing.sif import Sif
from tests.fakes.image_keys import ERINS_FINGERPRINT, PGP_START, signed_sif
from tests.unit.test_docs import all_commands

COMMANDS = dict(all_commands())
SEED = {  # the short options of the bash framework's scripts
    "deploy single": {"-s": "sync_nodes", "-v": "verify", "-r": "registry_path"},
    "deploy all": {"-s": "sync_nodes", "-v": "verify", "-r": "registry_path", "-n": "dry_run", "-p": "parallel"},
    "deploy to-cluster": {"-s": "sync_nodes", "-v": "verify"},
    "convert to-apptainer": {"-f": "force"},
    "convert single": {"-f": "force"},
}


class NoTransport:
    closed = 0

    def close(self) -> None:
        NoTransport.closed += 1


@pytest.fixture(autouse=True)
def never_connect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HPC_CLUSTER", "TEST_CONTROLLER", "TEST_IMAGE", "SSH_USER", "SSH_KEY_PATH", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pytest_hpcregistry.cluster.client.open_transport", lambda cluster: NoTransport())
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.commands, list(words))


def give_facts(monkeypatch: pytest.MonkeyPatch, found: Facts) -> None:
    monkeypatch.setattr(ControllerClient, "facts", lambda client, *what: found)


# --- help


def test_the_commands() -> None:
    assert {"registry setup", "convert single", "deploy all", "sync", "verify", "status", "catalog list",
            "catalog show", "rollback", "gc", "inspect", "test", "lab up", "lab down",
            "lab status"} <= set(COMMANDS)  # fmt: skip


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_all_commands_is_what_each_says(name: str) -> None:
    command = cli.commands.get_command(click.Context(cli.commands), name)
    assert command
    assert (command.name, command.get_short_help_str(100)) == (name, cli.COMMANDS[name])


def test_what_is_not_a_command_is_wrong_use() -> None:
    result = CliRunner().invoke(cli.commands, ["show"])
    assert (result.exit_code, "No such command 'show'" in result.output) == (2, True)


def test_a_command_imports_what_it_needs_and_help_next_to_nothing() -> None:
    code = "import sys, pytest_hpcregistry.cli; print(*(m for m in sys.modules if 'hpcregistry.' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.split(".")[1] in ("cluster", "images", "lab", "setup")]


@pytest.mark.parametrize("path", COMMANDS)
def test_help_has_a_sentence_and_explains_every_option(path: str) -> None:
    command = COMMANDS[path]
    result = run(*path.split(), "--help")
    assert result.exit_code == 0
    assert command.help
    assert command.help.splitlines()[0].endswith((".", "…"))
    without = [one.name for one in command.params if isinstance(one, click.Option) and not (one.help or one.is_eager)]
    assert without == []


@pytest.mark.parametrize(
    "words", [[], ["catalog"], ["deploy"], ["image"], ["lab"], ["convert"], ["registry"], ["cache"]]
)
def test_the_lines_of_a_groups_help_are_whole_in_80_columns(words: list[str]) -> None:
    group: Any = cli.commands
    for word in words:
        group = group.get_command(click.Context(group), word)
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert len(command.get_short_help_str(100)) <= 45, name
    assert "..." not in run(*words, "--help").output.partition("Commands:")[2]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_help_of_the_first_level_has_an_example(name: str) -> None:
    command = cli.commands.get_command(click.Context(cli.commands), name)
    assert command
    _, example, lines = inspect.cleandoc(command.help or "").partition("\b\nExample")
    assert example, name
    assert f"hpc-container-manager {name}" in lines


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["deploy", "-h"], ["deploy", "all", "-h"]])
def test_h_is_help(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_the_first_help_has_examples_and_exit_codes() -> None:
    shown = run("--help").output
    assert "Examples:" in shown
    assert "130 interrupted" in " ".join(shown.split())
    assert run("--version").output.startswith("hpc-container-manager, version ")


@pytest.mark.parametrize(("path", "short", "name"), [(p, s, n) for p, all_ in SEED.items() for s, n in all_.items()])
def test_short_options_are_the_seeds(path: str, short: str, name: str) -> None:
    found = {letter: one.name for one in COMMANDS[path].params for letter in one.opts}
    assert found.get(short) == name


# --- exit codes


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (CheckFailed("c1: differs", hint="sync"), 1, "error: c1: differs\nhint: sync\n"),
        (UsageError("no such name"), 2, "error: no such name\n"),
        (ConfigError("c.yaml", ["a", "b"]), 2, "error: c.yaml: 2 mistakes\n  a\n  b\n"),
        (Unreachable("c1: no route"), 3, "error: c1: no route\n"),
        (HpcRegistryError("broke"), 4, "error: broke\n"),
        (CommandTimeout("c1: hung"), 4, "error: c1: hung\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
        (click.UsageError("wrong"), 2, "Error: wrong\n"),
        (click.exceptions.Exit(0), 0, ""),
        (None, 0, ""),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException | None,
    code: int,
    said: str,
) -> None:
    def fail(**words: Any) -> None:
        if failure:
            raise failure

    monkeypatch.setattr(cli.commands, "main", fail)
    try:
        cli.main()
        ended: Any = 0
    except SystemExit as leave:
        ended = leave.code
    assert ended == code
    shown = capsys.readouterr()
    assert shown.err == said
    assert shown.out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gone"], "No such command"),
        (["status", "--gone"], "No such option"),
        (["status"], "no cluster is named"),
        (["deploy", "single", "-q", "x.sif"], "No such option"),
        (["deploy", "-q", "x.sif"], "No such option"),
        (["deploy", "--sync-nodes"], "Missing argument 'SIF...'"),
        (["deploy", "x.sif", "--controller", "hpc", "-w", "c1"], "choose nodes for --sync-nodes"),
        (["sync", "--controller", "hpc", "-w", ""], "names no node"),
        (["rollback", "x.sif", "--controller", "hpc", "--exclude= "], "names no node"),
        (["sync", "--controller", "hpc", "-w", "c001", "-w", ""], "names no node"),
        (["sync", "--controller", "hpc", "-w", "c001", "-w", "@gpu!c001"], "must not use !, & and ^"),
        (["sync", "--controller", "hpc", "--limit-rate", ""], "'' is not a rate"),
        (["deploy", "all", "-p", "0"], "is not in the range"),
        (["test", "--phase", "one"], "is not one of"),
        (["test", "--phase", "e2e", "--all"], "exclude each other"),
        (["deploy", "single", "--controller", "hpc", "gone.sif"], "gone.sif"),
        (["deploy", "all", "--controller", "hpc", "empty"], "there is no *.sif file"),
        (["deploy", "to-cluster", "--controller", "hpc", "/bin/sh", "/etc/x.sif"], "does not lie in"),
        (["catalog", "show", "--controller", "hpc", "../x.sif"], "does not lie in"),
        (["verify", "--controller", "hpc", "-- -x.sif"], "-x.sif"),
        (["rollback", "--controller", "hpc", "../x.sif"], "does not lie in"),
        (["rollback", "--controller", "hpc"], "Missing argument"),
        (["gc", "--controller", "hpc", "--keep", "-1"], "is not in the range"),
        (["inspect", "gone.sif"], "gone.sif"),
        (["status", "--cluster", "gone.yaml"], "gone.yaml"),
    ],
)
def test_wrong_use_is_2_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["hpc-container-manager", *words])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    assert leave.value.code == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert "Traceback" not in shown


# --- commands


def raised(result: Result) -> HpcRegistryError:
    assert isinstance(result.exception, HpcRegistryError), result.output
    return result.exception


def test_status_is_a_table_and_drift_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes: dict[str, MachineFacts | str] = {
        "c1": machine(image()),
        "c2": machine(image()),
        "c3": machine(),
        "c4": "no route",
    }
    give_facts(monkeypatch, gathered(nodes))
    result = run("status", "--controller", "hpc")
    assert result.stdout.splitlines() == [
        "IMAGE                CONTROLLER  NODES",
        f"{NAME}  present     present c[1-2], missing c3",
        "unreachable c4: no route",
        "3 of 4 nodes answered",
    ]
    assert result.stderr == ""
    assert raised(result).exit_code == 1


def test_status_sees_owner_and_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = machine(image(owner="alice"))
    give_facts(monkeypatch, gathered({"c1": odd, "c2": odd, "c3": machine(image())}))
    result = run("status", "--controller", "hpc")
    said = f"c[1-2]: {NAME}: file 0755 alice:slurm, should be file 0755 root:slurm"
    assert result.stdout.splitlines()[-2:] == [said, "3 of 3 nodes answered"]
    assert raised(result).exit_code == 1
    assert "hpc-container-manager sync" in raised(result).hint
    told = json.loads(run("status", "--json", "--controller", "hpc").stdout)
    assert [(one["id"], one["where"], one["found"]) for one in told["findings"]] == [
        ("images.modes", "c[1-2]", "file 0755 alice:slurm")
    ]


@pytest.mark.parametrize(
    "words", [("sync",), ("rollback", "x.sif"), ("status",), ("verify",), ("deploy", "-s", "x.sif")]
)
def test_nodes_can_be_chosen_and_left_out(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    Path("x.sif").write_bytes(Sif().to_bytes())
    chosen: list[Choice] = []

    class Enough(HpcRegistryError):
        pass

    def init(client: ControllerClient, cluster: object, transport: object, choice: Choice) -> None:
        chosen.append(choice)
        raise Enough("")

    monkeypatch.setattr(ControllerClient, "__init__", init)
    for options, choice in (
        ((), Choice()),
        (("-w", "c[1-9]", "-x", "c3"), Choice("c[1-9]", "c3")),
        (("--nodes=@gpu", "--exclude=c3"), Choice("@gpu", "c3")),
        (("-w", "c1", "-w", "c[2-3]", "-x", "c2", "-x", "c3"), Choice("c1,c[2-3]", "c2,c3")),
    ):
        assert isinstance(run(*words, "--controller", "hpc", *options).exception, Enough)
        assert chosen.pop() == choice


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (gathered({"c1": machine(image())}), 0),
        (gathered({"c1": machine(image()), "c2": "x"}), 3),
        (gathered({"c1": machine(image(digest=OTHER)), "c2": "x"}), 1),
        (gathered({"c1": machine()}, images={}), 2),
        (gathered({"c1": machine(image())}, catalog="version: 9\n"), 1),
        (gathered({}), 4),
    ],
)
def test_exit_codes_of_status(monkeypatch: pytest.MonkeyPatch, found: Facts, code: int) -> None:
    give_facts(monkeypatch, found)
    result = run("status", "--json", "--controller", "hpc")
    assert (raised(result).exit_code if result.exception else 0) == code
    if code != 4:
        assert json.loads(result.stdout)["images"] == found.matrix()


@pytest.mark.parametrize("command", ["status", "verify"])
def test_where_there_is_no_image_at_all(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    give_facts(monkeypatch, gathered({"c1": machine()}, images={}))
    error = raised(run(command, "--controller", "hpc"))
    said = "there is no image in the catalog and none on any machine"
    deploy_first = "deploy one first: hpc-container-manager deploy FILE.sif"
    assert (error.exit_code, str(error), error.hint) == (2, said, deploy_first)


def without_catalog(nodes: dict[str, MachineFacts | str]) -> Facts:
    found = events(nodes, images={})
    return facts.read([event for event in found if not isinstance(event, CatalogPart)], REGISTRY)


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        (without_catalog({"c1": machine()}), "phase 1 makes it: hpc-container-manager registry setup"),
        (without_catalog({"c1": machine(image())}), MEND_CATALOG),
        (gathered({"c1": machine()}, catalog="version: 9\n"), MEND_CATALOG),
    ],
    ids=["before phase 1", "lost", "broken"],
)
def test_status_without_a_catalog_says_what_is_to_be_done(
    monkeypatch: pytest.MonkeyPatch, found: Facts, hint: str
) -> None:
    give_facts(monkeypatch, found)
    assert raised(run("status", "--controller", "hpc")).hint == hint


def test_status_says_what_to_do_about_a_node_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    *nodes, end = events({"c1": machine(image()), "c2": "login refused"})
    nodes[1] = NodeFacts("c2", unreachable="login refused", hint="authorize the key")
    give_facts(monkeypatch, facts.read([*nodes, end], REGISTRY))
    error = raised(run("status", "--controller", "hpc"))
    assert (error.exit_code, str(error), error.hint) == (3, "c2: unreachable", "authorize the key")
    told = json.loads(run("status", "--json", "--controller", "hpc").stdout)
    assert (told["unreachable"], told["hints"]) == ({"c2": "login refused"}, {"c2": "authorize the key"})


DRAINED = SlurmFacts(
    nodes={"c1": "idle", "c2": "drained*", "c3": "idle~", "c4": "idle~", "c5": "drained"},
    reasons={"c2": '"disk\x1b swap" (root, since 2026-01-30)'},
)


def test_nodes_that_slurm_does_not_count_on_are_context(monkeypatch: pytest.MonkeyPatch) -> None:
    good, away = machine(image(sha256=DIGEST)), "no route"
    nodes: dict[str, MachineFacts | str] = {"c1": good, "c2": away, "c3": away, "c4": away, "c5": good}
    give_facts(monkeypatch, gathered(nodes, slurm=DRAINED, controller=good))
    said = [
        '! not counted: c2 drained, not responding "disk\\x1b swap" (root, since 2026-01-30)',
        "! not counted: c[3-4] powered down",
        "! asked, though out of service: c5 drained",
    ]
    for words, image_line in (
        (["status"], f"{NAME}  present     present c[1,5]"),
        (["verify"], f"✓ {NAME}: same bytes on controller,c[1,5]"),
    ):
        result = run(*words, "--controller", "hpc")
        assert result.exit_code == 0, result.output
        assert image_line in result.stdout.splitlines()
        assert [line for line in result.stdout.splitlines() if line[0] == "!"] == said
        assert run(*words, "--controller", "hpc", "--require", "40%").exit_code == 0
        failure = raised(run(*words, "--controller", "hpc", "--require", "60%"))
        assert failure.exit_code == 3
        assert str(failure) == "3 of 5 nodes (60%) are required, 2 were asked and are well: not c[2-4]"
    told = json.loads(run("status", "--json", "--controller", "hpc").stdout)
    assert (sorted(told["not_counted"]), told["unreachable"]) == (["c2", "c3", "c4"], {})
    assert told["out_of_service"] == {"c5": "drained"}


@pytest.mark.parametrize("words", [["status"], ["verify"]])
def test_a_node_that_slurm_thinks_well_must_answer(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    good = machine(image(sha256=DIGEST))
    for slurm in (SlurmFacts(nodes={"c1": "idle", "c2": "reserved"}), SlurmFacts(error="no slurmctld"), None):
        give_facts(monkeypatch, gathered({"c1": good, "c2": "no route"}, slurm=slurm, controller=good))
        assert raised(run(*words, "--controller", "hpc")).exit_code == 3


@pytest.mark.parametrize("words", [["status"], ["verify"]])
def test_a_node_out_of_service_that_answers_is_judged_as_ever(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """What a node lacks that was away is seen when it is back, and what heals it is said."""
    good = machine(image(sha256=DIGEST))
    give_facts(monkeypatch, gathered({"c1": good, "c5": machine()}, slurm=DRAINED, controller=good))
    failure = raised(run(*words, "--controller", "hpc", "--require", "2"))
    assert (failure.exit_code, "hpc-container-manager sync" in failure.hint) == (1, True)
    assert "2 of 2 nodes are required, 1 were asked and are well: not c5" in str(failure)


@pytest.mark.parametrize("words", [["status"], ["verify"]])
def test_no_node_that_counts_is_no_success(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    good = machine(image(sha256=DIGEST))
    give_facts(monkeypatch, gathered({"c2": "no route", "c3": "no route"}, slurm=DRAINED, controller=good))
    failure = raised(run(*words, "--controller", "hpc"))
    assert (failure.exit_code, str(failure).splitlines()[0]) == (3, "no node could be asked")


@pytest.mark.parametrize(
    ("states", "required", "code"),
    [
        (("synced", "not counted"), [], 0),
        (("synced", "not counted"), ["--require", "50%"], 0),
        (("synced", "not counted"), ["--require", "51%"], 3),
        (("unchanged", "unreachable"), ["--require", "1"], 3),
        (("failed", "synced"), ["--require", "100%"], 4),
        (("not counted", "not counted"), [], 3),
    ],
)
@pytest.mark.parametrize("words", [["sync"], ["rollback", "x.sif"]])
def test_nodes_that_a_sync_does_not_count(
    monkeypatch: pytest.MonkeyPatch, words: list[str], states: tuple[str, str], required: list[str], code: int
) -> None:
    finished = {
        f"c{number}": NodeFinished(f"c{number}", "x", state, message="y") for number, state in enumerate(states)
    }
    monkeypatch.setattr(ControllerClient, words[0], lambda client, *_, **more: finished)
    result = run(*words, "--controller", "hpc", *required)
    assert (raised(result).exit_code if result.exception else 0) == code


@pytest.mark.parametrize("text", ["0", "0%", "110%", "all", ""])
@pytest.mark.parametrize(
    "words", [["status"], ["verify"], ["sync"], ["rollback", "x"], ["deploy", "-s", "x"], ["test"]]
)
def test_what_requires_nothing_is_wrong_use(words: list[str], text: str) -> None:
    result = run(*words, "--controller", "hpc", "--require", text)
    assert (result.exit_code, "such as 95%" in result.output) == (2, True)


def test_a_deploy_to_the_controller_alone_requires_no_nodes() -> None:
    Path("x.sif").write_bytes(Sif().to_bytes())
    result = run("deploy", "single", "--controller", "hpc", "--require", "1", "x.sif")
    assert (result.exit_code, "--require is for --sync-nodes" in result.output) == (2, True)


def test_verify_reads_and_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    give_facts(monkeypatch, gathered({"c1": machine(image(sha256=OTHER)), "c2": machine(image())}))
    result = run("verify", "--controller", "hpc", "x.sif")
    assert result.stdout.splitlines()[-1] == f"✗ {NAME}: same bytes on controller,c2, damaged c1"
    assert result.stderr == "", "what was found is read in one place"
    assert raised(result).exit_code == 1
    assert raised(run("verify", "--controller", "hpc", "gone.sif")).exit_code == 2


def test_a_sync_that_is_under_way_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    give_facts(monkeypatch, gathered({"c1": machine()}, syncing=Syncing(under_way=True, meanwhile=True)))
    result = run("status", "--controller", "hpc")
    assert result.stdout.splitlines()[-1] == "! a sync is under way"
    assert raised(result).hint == "look again when the sync has ended"
    assert json.loads(run("status", "--json", "--controller", "hpc").stdout)["sync_under_way"] is True
    result = run("verify", "--controller", "hpc")
    assert "! a sync began meanwhile: looking again\n" in result.stdout
    assert raised(result).exit_code == 3


def test_the_connection_is_closed_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoTransport, "closed", 0)
    monkeypatch.setattr(ControllerClient, "facts", lambda client, *what: 1 // 0)
    run("status", "--controller", "hpc")
    assert NoTransport.closed == 1


def test_deploy_all_checks_everything_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(deploy, "deploy", lambda images, *rest, **how: sent.append(([i.name for i in images], how)))
    Path("good.sif").write_bytes(Sif().to_bytes())
    Path("also.sif").write_bytes(Sif().to_bytes())
    assert run("deploy", "all", "-s", "-v", "-p", "3", "--controller", "hpc", ".").exit_code == 0
    names = ["ml-frameworks/also.sif", "ml-frameworks/good.sif"]
    how = {"sync_nodes": True, "verify": True, "parallel": 3, "any_architecture": False}
    how |= {"no_scan": False, "test": False}
    assert sent == [(names, {**how, "required": None, "options": SyncOptions()})]
    Path("bad.sif").write_bytes(Sif().to_bytes()[:-1])
    assert raised(run("deploy", "all", "--controller", "hpc", ".")).exit_code == 2
    assert len(sent) == 1


@pytest.mark.parametrize("directory", ["/opt/containers/base-images", "/opt/containers/base-images/", "base-images"])
def test_deploy_single_into_another_directory(monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
    sent: list[str] = []
    monkeypatch.setattr(deploy, "deploy", lambda images, *rest, **how: sent.append(images[0].name))
    Path("x.sif").write_bytes(Sif().to_bytes())
    assert run("deploy", "single", "-r", directory, "--controller", "hpc", "x.sif").exit_code == 0
    assert sent == ["base-images/x.sif"]


def test_several_images_are_deployed_without_the_word_single(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(
        deploy, "deploy", lambda images, *rest, **how: sent.append(([one.name for one in images], how["verify"]))
    )
    for name in ("all", "x.sif", "y.sif"):
        Path(name).write_bytes(Sif().to_bytes())
    assert run("deploy", "-v", "x.sif", "y.sif", "--controller", "hpc").exit_code == 0
    assert run("deploy", "y.sif", "--controller", "hpc").exit_code == 0
    assert sent == [(["ml-frameworks/x.sif", "ml-frameworks/y.sif"], True), (["ml-frameworks/y.sif"], False)]
    assert "single" in run("deploy", "--help").output


def test_everything_that_is_wrong_with_several_images_is_said_at_once() -> None:
    Path("good.sif").write_bytes(Sif().to_bytes())
    Path("other").mkdir()
    Path("other/good.sif").write_bytes(Sif().to_bytes())
    Path("bad.sif").write_bytes(b"no SIF")
    error = raised(run("deploy", "bad.sif", "good.sif", "gone.sif", "--controller", "hpc"))
    assert error.exit_code == 2
    assert re.fullmatch(r"bad\.sif: .*\ngone\.sif: .*", str(error))
    error = raised(run("deploy", "good.sif", "other/good.sif", "--controller", "hpc"))
    assert str(error) == "two files would be ml-frameworks/good.sif"


def test_a_name_that_is_no_file_is_perhaps_another() -> None:
    Path("pytorch.sif").write_bytes(Sif().to_bytes())
    error = raised(run("deploy", "pytroch.sif", "--controller", "hpc"))
    assert (error.exit_code, error.hint) == (2, 'perhaps you meant "pytorch.sif"?')
    assert str(error) == "pytroch.sif: there is no such file"
    assert "deploy --help" in raised(run("deploy", "nothere", "--controller", "hpc")).hint
    Path("sub.sif").mkdir()
    assert raised(run("deploy", "sub.sif", "--controller", "hpc")).hint == "hpc-container-manager deploy all sub.sif"


def test_dry_run_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "deploy", lambda *words, **how: 1 // 0)
    monkeypatch.setattr(ControllerClient, "look", lambda client, digest, size: Looked(False, ["x86_64"]))
    Path("x.sif").write_bytes(Sif().to_bytes())
    result = run("deploy", "all", "-n", "--controller", "hpc", ".")
    assert run("deploy", "-n", "--controller", "hpc", "x.sif").output == result.output
    size = amount(Path("x.sif").stat().st_size)
    assert result.output == f"would deploy x.sif as {NAME}, sending {size}\n"
    monkeypatch.setattr(ControllerClient, "look", lambda client, digest, size: Looked(False, ["aarch64"]))
    assert raised(run("deploy", "all", "-n", "--controller", "hpc", ".")).exit_code == 1
    assert run("deploy", "all", "-n", "--any-architecture", "--controller", "hpc", ".").output == result.output


def test_dry_run_says_that_it_would_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ControllerClient, "look", lambda client, digest, size: Looked(True, ["x86_64"]))
    Path("x.sif").write_bytes(Sif().to_bytes())
    Path("cluster.yaml").write_text("controller: {host: hpc}\nscan: {command: [no-such-scanner, '{sbom}']}\n")
    words = ["deploy", "all", "-n", "--cluster", "cluster.yaml", "."]
    assert run(*words).output == f"would deploy x.sif as {NAME}, after a scan, sending 0 B\n"
    assert run(*words, "--no-scan").output == f"would deploy x.sif as {NAME}, sending 0 B\n"


def test_sync_shows_events_and_its_end_is_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = [
        SyncStarted(what="all images", nodes=["c1", "c2"]),
        TransferStarted(engine="star", why="few nodes", bytes={"c1": 100}),
        Progress(bytes={"c1": 50}),
        NodeFinished(node="c2", state="failed", message="disk full", what="x"),
    ]

    def sync(client: ControllerClient, listener: Any, *options: Any, **more: Any) -> Any:
        for event in events:
            listener(event)
        return {"c2": events[-1]}

    monkeypatch.setattr(ControllerClient, "sync", sync)
    monkeypatch.setattr(show, "TELL_EVERY", 0)
    result = run("sync", "--controller", "hpc")
    assert "  all images: 0 of 2 nodes, 50 % of 100 B\n" in result.stdout
    assert "✗ c2: disk full\n" in result.stdout
    assert raised(result).exit_code == 4
    result = run("sync", "--json", "--controller", "hpc")
    first, *told, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert told == list(map(to_data, events))
    assert (first["event"], first["cluster"]) == ("begun", {"name": "hpc", "controller": "hpc"})
    assert (last["event"], last["exit_code"], "disk full" in last["error"]) == ("ended", 4, True)


def test_an_upload_does_not_fail_because_nobody_reads_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*words: Any, **how: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(click, "echo", gone)
    show.show(UnderWay(what="x.sif", text="40 %"))
    with pytest.raises(BrokenPipeError):  # as any other program: its reader wants no more
        show.show(Noticed(message="x"))


@pytest.mark.parametrize("words", [("--help",), ("schema",), ("no-such-command",)])
def test_a_reader_that_has_gone_is_no_drift(words: tuple[str, ...]) -> None:
    """As after `| head`: the end of a program by SIGPIPE, as any other's, and no word of it."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        argv = [sys.executable, "-c", "from pytest_hpcregistry import cli; cli.main()", *words]
        ended = subprocess.run(argv, stdout=gone, stderr=subprocess.PIPE, check=False)
    wrong = words[0] == "no-such-command"
    assert ended.returncode == (2 if wrong else 128 + signal.SIGPIPE)
    assert bool(ended.stderr) == wrong


def test_inspect_a_sound_sif() -> None:
    Path("x.sif").write_bytes(Sif().to_bytes())
    assert "a sound SIF" in run("inspect", "x.sif").output
    shown = json.loads(run("inspect", "--json", "x.sif").output)
    assert shown["architecture"] == "amd64"
    assert shown["size"] == Path("x.sif").stat().st_size
    assert (shown["signed"], shown["signatures"]) == (False, [])


def test_inspect_shows_signatures_and_no_verdict() -> None:
    Path("x.sif").write_bytes(signed_sif(PGP_START, b"nonsense"))
    said = run("inspect", "x.sif").output
    assert f"  signature (object 2): PGP, by a key that it gives as {ERINS_FINGERPRINT}; not verified here\n" in said
    assert "  signature (object 3): unknown" in said
    shown = json.loads(run("inspect", "--json", "x.sif").output)
    assert shown["signed"]
    assert shown["signatures"][0] == {"id": 2, "format": "PGP", "signer": ERINS_FINGERPRINT}


def test_test_passes_its_options_on_and_shows_the_banner(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def run_phases(*words: Any, **how: Any) -> None:
        called.append((*words, how["workers"]))
        for phase in words[0]:
            how["on_phase"](phase, Counts(passed=3, skipped=1))

    monkeypatch.setattr(test_command, "run_phases", run_phases)
    monkeypatch.setenv("TEST_IMAGE", "x.sif")
    result = run("test", "--all", "-n", "2", "--controller", "hpc", "--allow-changes", "--require", "95%")
    options = ["--hpc-controller=hpc", "--hpc-image=x.sif", "--hpc-require=95%", "--hpc-allow-changes"]
    assert called == [(phases.PHASES, options, Path("reports"), 2)]
    assert "phase e2e: 3 passed, 0 failed, 1 skipped" in result.output
    assert "ALL CONTAINER REGISTRY TESTS PASSED" in result.output
    one = run("test", "--phase", "e2e")
    assert called[1][0] == ("e2e",)
    assert "ALL CONTAINER" not in one.output


def test_test_passes_on_which_nodes_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def run_phases(*words: Any, **how: Any) -> dict[str, Counts]:
        called.append(words[1])
        return {}

    monkeypatch.setattr(test_command, "run_phases", run_phases)
    run("test", "--controller", "hpc", "-w", "@gpu", "--exclude", "c3")
    assert called == [["--hpc-controller=hpc", "--hpc-nodes=@gpu", "--hpc-exclude=c3"]]
    assert run("test", "-w", " ").exit_code == 2
    assert "is for a cluster, not for a SIF" in run("test", "x.sif", "-w", "c1").output
    assert len(called) == 1


def test_what_is_waived_is_not_called_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    waived = {"infrastructure": Counts(passed=3, waived=2)}

    def run_phases(*words: Any, on_phase: Callable[[str, Counts], None], **how: Any) -> dict[str, Counts]:
        on_phase("infrastructure", waived["infrastructure"])
        return waived

    monkeypatch.setattr(test_command, "run_phases", run_phases)
    result = run("test", "--controller", "hpc")
    assert "phase infrastructure: 3 passed, 0 failed, 0 skipped, 2 waived" in result.output
    assert "ALL CONTAINER" not in result.output


def test_convert_dates_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """SOURCE_DATE_EPOCH is what all who build reproducibly agree on; without it, the image's own date."""
    dates: list[object] = []

    def convert(*_: object, **options: object) -> None:
        dates.append(options["date"])
        raise UsageError("seen")

    monkeypatch.setattr(convert_command, "convert", convert)
    run("convert", "single", "demo")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run("convert", "single", "demo")
    run("convert", "to-apptainer", "demo", "demo.sif", "--source-date-epoch", "0")
    for wrong in ("yesterday", "-1", str(2**32)):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        assert run("convert", "single", "demo").exit_code == 2
    assert dates == [None, 1_700_000_000, 0]


# --- versions


def test_catalog_show_tells_each_version(monkeypatch: pytest.MonkeyPatch) -> None:
    older = Version(OTHER, 10, "2025-10-01T12:00:00Z", "them@y", "amd64", "docker://x:1", {"a": "b\x1b[31m"})
    catalog = Catalog().with_version(NAME, older, 2).with_version(NAME, entry(), 2)
    monkeypatch.setattr(ControllerClient, "catalog", lambda client: catalog)
    lines = run("catalog", "show", "--controller", "hpc", "x.sif").output.splitlines()
    assert lines[0] == NAME
    assert lines[1].split() == ["VERSION", "SIZE", "PUBLISHED", "BY"]
    assert lines[2].split()[:3] == [DIGEST[:12], "10", "B"]
    assert lines[3].split()[-2:] == ["2025-10-01T12:00:00Z", "them@y"]
    assert lines[4] == f"current version {DIGEST[:12]}", "labels, which may be many, come last"
    rest = lines[lines.index(f"older version {OTHER[:12]}") :]
    assert {
        f"  digest: {OTHER}", "  source: docker://x:1", "  label a: b\\x1b[31m",
    } <= set(rest)  # fmt: skip
    shown = json.loads(run("catalog", "show", "--json", "--controller", "hpc", "x.sif").output)
    assert (shown["name"], shown["digest"]) == (NAME, DIGEST)
    assert [(one["digest"], one["by"]) for one in shown["versions"]] == [(OTHER, "them@y")]
    assert raised(run("catalog", "show", "--controller", "hpc", "gone.sif")).exit_code == 2


def test_rollback_asks_for_one_image_and_ends_as_a_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    finished = {"c1": NodeFinished("c1", "x", "synced")}

    def roll_back(client: ControllerClient, *words: Any, dry_run: bool, no_wait: bool) -> dict[str, NodeFinished]:
        asked.append((*words[:2], dry_run))
        return finished

    monkeypatch.setattr(ControllerClient, "rollback", roll_back)
    assert run("rollback", "--controller", "hpc", "x.sif", "--to", "abcdef").exit_code == 0
    assert run("rollback", "--controller", "hpc", "x.sif", "-n").output == "  nothing was changed\n"
    assert asked == [(NAME, "abcdef", False), (NAME, None, True)]
    finished["c1"] = NodeFinished("c1", "x", "unreachable", message="no route", hint="is it on?")
    failure = raised(run("rollback", "--controller", "hpc", "x.sif"))
    assert (failure.exit_code, str(failure)) == (3, "c1: no route")
    assert failure.hint.splitlines()[0] == "is it on?"
    finished.clear()
    assert raised(run("rollback", "--controller", "hpc", "x.sif")).exit_code == 4


def test_gc_passes_its_options_on_and_tells_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    finished = {"c1": Freed("freed")}

    def free(client: ControllerClient, listener: Any, **how: Any) -> dict[str, Freed]:
        asked.append(how)
        return finished

    monkeypatch.setattr(ControllerClient, "gc", free)
    assert run("gc", "--controller", "hpc").exit_code == 0
    assert run("gc", "--controller", "hpc", "-n", "--keep", "0", "--grace", "0", "--no-wait").exit_code == 0
    assert run("gc", "--controller", "hpc", "--grace", "12h").exit_code == 0
    assert "few is no length of time, such as 14d" in run("gc", "--controller", "hpc", "--grace", "few").output
    assert asked == [
        {"keep": None, "grace": None, "dry_run": False, "no_wait": False},
        {"keep": 0, "grace": 0, "dry_run": True, "no_wait": True},
        {"keep": None, "grace": 43_200, "dry_run": False, "no_wait": False},
    ]
    finished["c2"] = Freed("failed", "disk")
    failure = raised(run("gc", "--controller", "hpc"))
    assert (failure.exit_code, str(failure)) == (4, "c2: disk")
    assert "hpc-container-manager gc" in failure.hint


@pytest.mark.parametrize("words", [[], ["deploy"], ["catalog"]])
def test_a_group_alone_prints_its_help(words: list[str]) -> None:
    """On lines of its own, as --help does."""
    argv = [str(Path(sys.executable).with_name("hpc-container-manager")), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")
    assert "\\n" not in done.stderr
    assert len(done.stderr.splitlines()) > 5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["deplyo", "x.sif"], "'deplyo'. Perhaps you meant \"deploy\"?"),
        (["catalog", "lst"], "No such command 'lst'. Perhaps you meant \"list\"?"),
        (["docker", "biuld"], "No such command 'biuld'. Perhaps you meant \"build\"?"),
        (["convert", "pytorch:latest"], "'pytorch:latest'. Perhaps you meant \"convert single pytorch:latest\"?"),
        (["schema", "catalg"], "there is no command 'catalg'. Perhaps you meant \"catalog\"?"),
        (["schema", "catalog", "lst"], "there is no command 'catalog lst'. Perhaps you meant \"list\"?"),
        (["schema", "catalog"], "catalog is several commands: "),
        (["status", "--cluster", "tba.yaml"], 'hint: perhaps you meant "tab.yaml"?'),
        (["status", "--cluster", "nope"], "hint: give --cluster FILE (pytest: --hpc-cluster), or set HPC_CLUSTER=FILE"),
        (["status", "--cluster", "image.sif"], "image.sif: an image, where a text file is wanted"),
        (["status", "--cluster", "tab.yaml"], "tab.yaml:2: indented by a tab, where YAML wants spaces"),
    ],
)
def test_a_slip_is_called_what_it_is(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("image.sif").write_bytes(Sif().to_bytes())
    Path("tab.yaml").write_text("controller:\n\thost: x\n")
    result = run(*words)
    assert says in f"{result.output}{result.exception}\nhint: {getattr(result.exception, 'hint', '')}"
