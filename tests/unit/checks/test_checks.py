"""Every check is content with a sound cluster, and sees what it is there for when that, and nothing else, is broken."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import suites
from pytest_hpcregistry import checks
from pytest_hpcregistry.checks.finding import Finding, fold_findings
from pytest_hpcregistry.core import documents, layout, settings
from pytest_hpcregistry.core.facts import Facts
from pytest_hpcregistry.core.machine import (
    Accounts,
    AuthorizedKey,
    Ended,
    File,
    Host,
    Inspection,
    MachineFacts,
    SlurmFacts,
)
from pytest_hpcregistry.core.model import Cluster, Controller, Registry, Runtime, Slurm, Sync
from pytest_hpcregistry.core.routes import NodeRoute
from pytest_hpcregistry.core.sif import HOLE
from pytest_hpcregistry.testing.facts import CATALOG as CATALOG_PATH
from pytest_hpcregistry.testing.facts import DIGEST, NAME, OTHER, REGISTRY, entry, file, gathered, host, image, machine
from pytest_hpcregistry.testing.sif import Sif, system_partition

CLUSTER = Cluster(
    Controller("hpc", "hpc"), registry=Registry(), sync=Sync(), slurm=Slurm(run_as="alice"),
    runtime=Runtime(binds=("/scratch:/data:ro",)),
)  # fmt: skip
HEADER = Sif(parts=(system_partition(content=bytes(2 * HOLE)),)).to_bytes()
SIZE = len(HEADER)
PUBLIC = "ssh-ed25519 AAAA sync"
KEY = AuthorizedKey(
    hashlib.sha256(b"AAAA").hexdigest(),
    f'restrict,from="10.0.0.1",command="/usr/bin/python3 -I {layout.AGENT} serve --registry {REGISTRY}"',
)
CONFIG, PEERS, OCI = f"{REGISTRY}/.registry/config.yaml", f"{REGISTRY}/.registry/peers", "/etc/slurm/oci.conf"
HISTORY = f"{REGISTRY}/.registry/history.jsonl"
SIGNERS = f"{REGISTRY}/.registry/allowed_signers"
Broken = Callable[["Sound"], None]


def config_text() -> str:
    """config.yaml as phase 1 writes it for CLUSTER."""
    return documents.dump({"version": settings.VERSION, **settings.written(CLUSTER)})


def sound_paths() -> dict[str, File | None]:
    directory, private = {"type": "directory", "mode": "0755"}, {"type": "directory", "mode": "0700", "group": "root"}
    plain, roots = {"mode": "0644"}, {"mode": "0644", "group": "root"}
    found: dict[str, dict[str, Any]] = {
        **{f"{REGISTRY}/{name}".rstrip("/"): directory for name in ("", *CLUSTER.registry.directories)},
        **{f"{REGISTRY}/{name}": directory for name in (layout.METADATA, layout.OBJECTS)},
        **{f"{REGISTRY}/{name}": private for name in (layout.STAGING, layout.BASES)},
        **{f"{REGISTRY}/{name}": plain for name in ("README.md", layout.CONFIG, layout.CATALOG)},
        PEERS: roots,
        SIGNERS: roots,
        HISTORY: {"mode": "0640"},
        f"{REGISTRY}/.registry/lock": {**roots, "mode": "0600"},
        layout.LIBRARY: {**roots, "type": "directory", "mode": "0755"},
        layout.AGENT: roots,
        layout.CONTAINER_RUN: {**roots, "mode": "0755"},
        layout.RUNTIME: roots,
        OCI: roots,
        "/scratch": {**roots, "type": "directory", "mode": "1777"},
        layout.PROGRAM_FILE: roots,
        layout.LAUNCHER: {**roots, "mode": "0755"},
        layout.KNOWN_HOSTS: {**roots, "mode": "0600"},
        CLUSTER.sync.key: {**roots, "mode": "0600"},
        CLUSTER.sync.log: {**roots, "mode": "0640", "group": "adm"},
    }
    return {path: file(**what) for path, what in found.items()}


def sound_host() -> Host:
    return host(
        paths=sound_paths(),
        texts={
            CONFIG: config_text(),
            PEERS: "c1 10.0.0.2\nc2 10.0.0.3\n",
            SIGNERS: "",
            OCI: "IgnoreFileConfigJson=true\n",
            layout.RUNTIME: "{}\n",
            f"{CLUSTER.sync.key}.pub": PUBLIC,
        },
        accounts=Accounts({"root": 0, "slurm": 1}, {"slurm": 1}),
        denied={"slurm": [], "alice": []},
        programs={"python3": "3.11", "rsync": "3.2.7", "apptainer": "1.3", "slurmd": "23.02.1", "srun": "23.02.1"},
        authorized_keys=[KEY],
        runtime=Inspection(0, "/usr/bin/apptainer with user namespaces"),
    )


def sound_machine() -> MachineFacts:
    whole = image(
        size=SIZE,
        header=HEADER[:128].hex(),
        sha256=DIGEST,
        inspect=Inspection(0, "x"),
    )
    return machine(whole, host=sound_host(), catalog_digest=DIGEST)


class Sound:
    """The facts of a sound cluster of two nodes, to be broken."""

    def __init__(self) -> None:
        self.controller: MachineFacts = sound_machine()
        self.nodes: dict[str, MachineFacts | str] = {"c1": sound_machine(), "c2": sound_machine()}
        self.slurm = SlurmFacts(nodes={"c1": "idle", "c2": "allocated-"})
        self.more: dict[str, Any] = {}

    def facts(self) -> Facts:
        images = {NAME: entry(size=SIZE)}
        return gathered(
            self.nodes, **{"images": images, "controller": self.controller, "slurm": self.slurm, **self.more}
        )

    def change(self, where: str, **more: Any) -> None:
        """Other facts of one machine, beside how it is set up."""
        if where == "controller":
            self.controller = replace(self.controller, **more)
        else:
            node = self.nodes[where]
            assert isinstance(node, MachineFacts)
            self.nodes[where] = replace(node, **more)

    def host(self, where: str) -> Host:
        found = self.controller if where == "controller" else self.nodes[where]
        assert isinstance(found, MachineFacts)
        assert found.host
        return found.host


def path(where: str, name: str, **what: Any) -> Broken:
    """Another stat of one path; none if nothing is said of it."""

    def break_it(sound: Sound) -> None:
        paths = sound.host(where).paths
        found = paths[name]
        assert found
        paths[name] = replace(found, **what) if what else None

    return break_it


def text(where: str, name: str, said: str | None) -> Broken:
    return lambda sound: sound.host(where).texts.update({name: said})


def runtime(where: str, said: Inspection | None) -> Broken:
    def break_it(sound: Sound) -> None:
        sound.change(where, host=replace(sound.host(where), runtime=said))

    return break_it


def program(where: str, name: str, version: str | None) -> Broken:
    return lambda sound: sound.host(where).programs.update({name: version})


def keys(where: str, *lines: AuthorizedKey) -> Broken:
    return lambda sound: sound.change(where, host=replace(sound.host(where), authorized_keys=list(lines)))


def denied(where: str, said: dict[str, list[str] | None]) -> Broken:
    return lambda sound: sound.change(where, host=replace(sound.host(where), denied=said))


def started(where: str, ended: Ended) -> Broken:
    return lambda sound: sound.change(where, host=replace(sound.host(where), starts={NAME: ended}))


def picture(where: str, **what: Any) -> Broken:
    """Other facts of the image."""

    def break_it(sound: Sound) -> None:
        found = sound.controller if where == "controller" else sound.nodes[where]
        assert isinstance(found, MachineFacts)
        sound.change(where, images=[replace(found.images[0], **what)])

    return break_it


def more(**what: Any) -> Broken:
    return lambda sound: sound.more.update(what)


def slurm(**what: Any) -> Broken:
    def break_it(sound: Sound) -> None:
        sound.slurm = replace(sound.slurm, **what)

    return break_it


def unreachable(sound: Sound) -> None:
    sound.nodes["c2"] = "no route"


def no_group(sound: Sound) -> None:
    sound.host("c2").accounts.groups["slurm"] = None


def never_set_up(sound: Sound) -> None:
    """Nothing of phase 1 is there, on any machine."""
    for where in ("controller", "c1", "c2"):
        host = sound.host(where)
        host.paths.update(dict.fromkeys(host.paths))
        host.texts.update(dict.fromkeys(host.texts))


UNRESTRICTED = replace(KEY, options="")
BROKEN: list[tuple[str, str, Broken]] = [
    ("reachable.reached", "c2", unreachable),
    ("structure.directories", "c2", path("c2", f"{REGISTRY}/.registry", type="file")),
    ("structure.directories", "controller", path("controller", f"{REGISTRY}/.registry/objects/sha256")),
    ("structure.modes", "c2", path("c2", REGISTRY, mode="0777")),
    ("structure.modes", "controller", path("controller", f"{REGISTRY}/base-images", group="root")),
    ("structure.private_directories", "c1", path("c1", f"{REGISTRY}/.registry/staging", mode="0755")),
    ("structure.private_directories", "c1", path("c1", f"{REGISTRY}/.registry/bases", owner="alice")),
    ("structure.files", "c1", path("c1", f"{REGISTRY}/README.md")),
    ("structure.files", "c1", path("c1", f"{REGISTRY}/README.md", size=0)),
    ("structure.files", "controller", path("controller", CATALOG_PATH, mode="0666")),
    ("structure.root_files", "c2", path("c2", f"{REGISTRY}/.registry/lock", mode="0644")),
    ("structure.history", "controller", path("controller", HISTORY, mode="0660")),
    ("structure.history", "controller", path("controller", HISTORY, owner="alice")),
    ("access.group", "c2", no_group),
    ("access.readers", "c2", denied("c2", {"slurm": [], "alice": [REGISTRY]})),
    ("access.readers", "c2", denied("c2", {"slurm": [], "alice": [f"{REGISTRY}/x"]})),
    ("access.sync_key", "controller", path("controller", CLUSTER.sync.key, mode="0644")),
    ("access.known_hosts", "controller", path("controller", layout.KNOWN_HOSTS, size=0)),
    ("access.known_hosts", "controller", path("controller", layout.KNOWN_HOSTS)),
    ("access.authorized_key", "c1", keys("c1")),
    ("access.authorized_key", "c1", keys("c1", KEY, UNRESTRICTED)),
    ("access.authorized_key", "c1", keys("c1", replace(KEY, options=KEY.options.replace('from="10.0.0.1",', "")))),
    ("access.authorized_key", "c1", keys("c1", replace(KEY, options=KEY.options.replace("-I ", "")))),
    ("configuration.peers", "c2", text("c2", PEERS, "c1 10.0.0.2\nc2 10.0.0.4\n")),
    ("configuration.peers", "c2", text("c2", PEERS, None)),
    ("configuration.signers", "c2", text("c2", SIGNERS, "eve ssh-ed25519 AAAA\n")),
    ("configuration.signers", "controller", text("controller", SIGNERS, None)),
    ("structure.root_files", "c1", path("c1", SIGNERS, owner="alice")),
    ("configuration.same", "c1", text("c1", CONFIG, "x: y\n")),
    ("programs.controller_program", "controller", path("controller", layout.LAUNCHER, mode="0777")),
    ("programs.controller_program", "controller", path("controller", layout.PROGRAM_FILE)),
    ("programs.agent", "c2", path("c2", layout.AGENT)),
    ("programs.agent", "c2", path("c2", layout.AGENT, mode="0664")),
    ("programs.agent", "c2", path("c2", layout.AGENT, owner="alice")),
    ("programs.agent", "c2", path("c2", layout.AGENT, size=11)),
    ("programs.guarded", "c2", path("c2", layout.LIBRARY, mode="0777")),
    ("programs.guarded", "c2", path("c2", layout.CONTAINER_RUN)),
    ("programs.guarded", "c2", path("c2", layout.CONTAINER_RUN, owner="alice")),
    ("programs.guarded", "c2", path("c2", layout.CONTAINER_RUN, mode="0644")),
    ("programs.guarded", "controller", path("controller", layout.RUNTIME, mode="0666")),
    ("programs.guarded", "c1", path("c1", OCI, mode="0664")),
    ("slurm.binds", "c1", path("c1", "/scratch")),
    ("slurm.runtime", "c2", runtime("c2", Inspection(1, "container-run: no image can be started on c2"))),
    ("slurm.runtime", "c2", runtime("c2", None)),
    ("programs.installed", "c2", program("c2", "apptainer", None)),
    ("programs.installed", "c2", program("c2", "apptainer", "")),
    ("programs.log", "controller", path("controller", CLUSTER.sync.log, mode="0644")),
    ("slurm.answers", "controller", slurm(error="no slurmctld")),
    ("slurm.usable", "c1", slurm(nodes={"c1": "inval", "c2": "idle"})),
    ("slurm.usable", "c1", slurm(nodes={"c2": "idle"})),
    ("slurm.version", "c2", program("c2", "srun", "22.05.9")),
    ("slurm.version", "c2", program("c2", "srun", None)),
    ("slurm.version", "c2", program("c2", "srun", "")),
    ("slurm.containers", "c2", text("c2", OCI, None)),
    ("slurm.containers", "c2", text("c2", OCI, "IgnoreFileConfigJson=true\nmine\n")),
    ("slurm.containers", "c2", text("c2", layout.RUNTIME, None)),
    ("slurm.containers", "c2", text("c2", layout.RUNTIME, '{"gpus": "nv"}\n')),
    ("catalog.same", "c2", lambda sound: sound.change("c2", catalog_digest=OTHER)),
    ("catalog.objects", "c2", lambda sound: sound.change("c2", objects={})),
    ("images.state", "c2", lambda sound: sound.change("c2", images=[])),
    ("images.sound", "c2", picture("c2", header="00" * 128)),
    ("images.inspected", "c2", picture("c2", inspect=Inspection(255, "not a SIF"))),
    ("images.inspected", "c2", picture("c2", inspect=None)),
    ("images.modes", "c2", picture("c2", mode="0644")),
    *(
        ("images.starts", "c2", started("c2", ended))
        for ended in (
            Ended(255, "FATAL: no\n"),
            Ended(124, ""),
            Ended(137, ""),
            Ended(1, ""),
            Ended(0, "on the host\n"),
        )
    ),
    ("images.modes", "c2", picture("c2", owner="alice")),
]
ALSO: list[tuple[set[str], Broken]] = [  # what several checks see, each from its side
    ({"configuration.in_force", "configuration.same"}, text("controller", CONFIG, None)),
    ({"images.whole", "images.modes"}, picture("c2", type="link")),
    ({"images.whole"}, picture("c2", size=SIZE + 1)),
    ({"images.whole", "images.sound"}, picture("c2", size=1000)),
    ({"images.state", "images.intact"}, picture("c1", sha256=OTHER)),
    ({"images.readable", "access.readers"}, denied("c1", {"slurm": [f"{REGISTRY}/{NAME}"]})),
    ({"images.readable", "access.readers"}, denied("c1", {"slurm": None})),
    ({"images.readable", "access.readers"}, denied("c1", {})),
    ({"catalog.has_images", "images.state"}, more(images={})),
    ({"catalog.readable"}, more(catalog="version: 9\n")),
    ({"slurm.answers", "slurm.usable"}, slurm(nodes={})),
    ({"slurm.answers"}, slurm(error="no slurmctld", nodes={})),
    ({"access.authorized_key"}, text("controller", f"{CLUSTER.sync.key}.pub", None)),
    ({"configuration.in_force", "configuration.same"}, text("controller", CONFIG, config_text().replace("64", "65"))),
    ({"configuration.in_force", "configuration.same"}, text("controller", CONFIG, "x: [")),
    ({"configuration.peers", "slurm.usable"}, lambda sound: sound.nodes.update(c3=sound_machine())),
    ({"slurm.containers"}, text("controller", OCI, "nothing")),
    ({"programs.set_up"}, never_set_up),
]


def found_of(sound: Sound) -> list[Finding]:
    return list(checks.run(sound.facts(), CLUSTER))


def test_a_missing_apptainer_is_one_finding() -> None:
    sound = Sound()
    program("c2", "apptainer", None)(sound)
    runtime("c2", Inspection(1, "container-run: neither apptainer nor singularity is installed on c2"))(sound)
    assert [one.id for one in found_of(sound)] == ["programs.installed"]


def test_a_sound_cluster_has_no_findings() -> None:
    sound = Sound()
    assert found_of(sound) == []
    started("c1", Ended(0, f"locale: no such one\nin {REGISTRY}/{NAME}\n"))(sound)
    assert found_of(sound) == []


@pytest.mark.parametrize(("check", "where", "break_it"), BROKEN)
def test_what_is_broken_is_found_there_and_nowhere_else(check: str, where: str, break_it: Broken) -> None:
    sound = Sound()
    break_it(sound)
    findings = found_of(sound)
    assert {(one.id, one.where) for one in findings} == {(check, where)}
    assert all(one.hint or one.id == "reachable.reached" for one in findings)
    assert all(where in str(one) and one.found in str(one) for one in findings)


@pytest.mark.parametrize(("which", "break_it"), ALSO)
def test_what_several_checks_see(which: set[str], break_it: Broken) -> None:
    sound = Sound()
    break_it(sound)
    assert {one.id for one in found_of(sound)} == which


def every_check() -> list[Callable[..., Any]]:
    of_machines = [*checks.OF_CONTROLLER, *checks.OF_NODES, *checks.OF_MACHINES]
    return [checks.reachable.reached, checks.programs.set_up, *of_machines, *checks.OF_IMAGES]


def id_of(check: Callable[..., Any]) -> str:
    return f"{check.__module__.rpartition('.')[2]}.{check.__name__}"


def test_every_check_is_seen_to_fail() -> None:
    broken = {check for check, _, _ in BROKEN} | {check for several, _ in ALSO for check in several}
    assert {id_of(check) for check in every_check()} == broken


def test_every_check_is_in_a_suite() -> None:
    """And every suite asserts on checks that are in the list."""
    used = set()
    for source in Path(suites.__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used.add(f"{node.value.id}.{node.attr}")
    assert {id_of(check) for check in every_check()} <= used


@pytest.mark.parametrize("state", ["drained", "IDLE+DRAIN", "down*", "idle~", "mixed*", "reboot", "maint", "draining@"])
def test_a_node_out_of_service_is_no_finding_unless_it_has_one_of_its_own(state: str) -> None:
    sound = Sound()
    sound.slurm = SlurmFacts(nodes={"c1": state, "c2": "idle"})
    assert found_of(sound) == []
    path("c1", "/scratch")(sound)
    assert [(one.id, one.where) for one in found_of(sound)] == [("slurm.binds", "c1")]
    sound.nodes["c1"] = "no route"
    for where in ("c2", "controller"):  # as phase 1 writes it, to which it did not answer either
        text(where, PEERS, "c2 10.0.0.3\n")(sound)
    assert found_of(sound) == []
    sound.slurm = SlurmFacts(error="no slurmctld", nodes={})
    assert ("reachable.reached", "c1") in {(one.id, one.where) for one in found_of(sound)}


def test_containers_that_slurm_shall_not_run_need_no_oci_conf() -> None:
    sound = Sound()
    sound.host("c2").texts[OCI] = None
    runtime("c2", None)(sound)
    without = replace(CLUSTER, slurm=replace(CLUSTER.slurm, container=False))
    findings = {one.id for one in checks.run(sound.facts(), without)}
    assert findings == {"configuration.in_force"}, "which says so, and nothing else"


def test_the_line_of_who_is_not_root_leads_to_sudo_and_nowhere_else() -> None:
    by_sudo = replace(KEY, options=KEY.options.replace('command="', 'command="/usr/bin/sudo -n '))
    ops = replace(CLUSTER, routes=(NodeRoute(nodes="slurm", user="ops"),))
    for cluster, right, wrong in ((ops, by_sudo, KEY), (CLUSTER, KEY, by_sudo)):
        sound = Sound()
        for node in ("c1", "c2"):
            keys(node, right)(sound)
        assert "access.authorized_key" not in {one.id for one in checks.run(sound.facts(), cluster)}
        keys("c2", right, wrong)(sound)
        assert "access.authorized_key" in {one.id for one in checks.run(sound.facts(), cluster)}


def test_a_key_that_may_come_from_anywhere() -> None:
    sound = Sound()
    anywhere = replace(CLUSTER, sync=replace(CLUSTER.sync, key_from=("any",)))
    assert {one.id for one in checks.run(sound.facts(), anywhere)} >= {"access.authorized_key"}
    for node in ("c1", "c2"):
        keys(node, replace(KEY, options=KEY.options.replace('from="10.0.0.1",', "")))(sound)
    assert "access.authorized_key" not in {one.id for one in checks.run(sound.facts(), anywhere)}


@pytest.mark.parametrize("check", [checks.catalog.has_images, checks.catalog.objects, checks.catalog.readable])
def test_a_catalog_that_cannot_be_read_passes_no_check(check: Callable[..., Any]) -> None:
    sound = Sound()
    more(catalog="version: 9\n")(sound)
    facts = sound.facts()
    assert [one.id for one in check(facts.controller, facts, CLUSTER)] == ["catalog.readable"]


NO_FILE = {"type": "directory", "object": None, "sha256": None, "header": None}


@pytest.mark.parametrize(
    ("where", "what", "hint"),
    [
        ("c1", {"object": DIGEST, "sha256": OTHER, "header": ""}, f"sync --repair {NAME}"),
        ("controller", {"object": DIGEST, "sha256": OTHER, "header": ""}, f"sync --repair {NAME}"),
        ("c1", {"header": ""}, "build the image again"),
        ("c1", NO_FILE, f"place of {NAME}, which no sync removes: move it away, then: "),
        (
            "controller",
            NO_FILE,
            f"move it away, then: {checks.images.SYNC} --repair {NAME}",
        ),
        ("c1", {"mode": "0000"}, f"{checks.images.SYNC}; after"),
        ("controller", {"mode": "0000"}, f"{checks.images.SYNC} --repair {NAME}; after"),
    ],
)
def test_a_hint_says_what_mends_it(where: str, what: dict[str, Any], hint: str) -> None:
    sound = Sound()
    picture(where, **what)(sound)
    findings = [one for one in found_of(sound) if one.id in ("images.state", "images.intact", "images.sound")]
    findings += [one for one in found_of(sound) if one.id == "images.modes"]
    assert findings
    assert all(hint in one.hint for one in findings), findings


def test_the_same_on_many_machines_is_one_line() -> None:
    one = Finding("a.b", "c1", "/x", "does not exist", "file 0644 root")
    same = [one, replace(one, where="c2"), replace(one, where="c3", found="empty")]
    assert [str(each) for each in fold_findings(same)] == [
        "c[1-2]: /x: does not exist, should be file 0644 root",
        "c3: /x: empty, should be file 0644 root",
    ]
    assert str(Finding("a.b", "c1", "", "unreachable")) == "c1: unreachable"
    (folded,) = fold_findings([one, replace(one, where="controller")])
    assert folded.where == "controller,c1", "as elsewhere"
