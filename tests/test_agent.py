"""The agent: what publish promises, what serve refuses, and the Python that both must run on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pytest_hpcregistry import agent
from pytest_hpcregistry.controller.archive import build_agent

NAME = "ml-frameworks/x.sif"
OLD, NEW = b"old image", b"new and longer image"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    for name in ("ml-frameworks", ".registry/staging", ".registry/objects/sha256"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stage(registry: Path, data: bytes, name: str | None = None) -> None:
    (registry / agent.STAGING / (name or digest(data))).write_bytes(data)


def request(data: bytes, name: str = NAME, **more: Any) -> dict[str, Any]:
    return {"images": [{"name": name, "digest": digest(data), "size": len(data)}], **more}


def publish(registry: Path, data: bytes, **more: Any) -> dict[str, Any]:
    stage(registry, data)
    answer: dict[str, Any] = agent.publish(str(registry), request(data, **more))
    return answer


def test_publish_links_the_name_to_its_object(registry: Path) -> None:
    assert publish(registry, OLD)["changed"] == [NAME]
    path = registry / NAME
    assert path.read_bytes() == OLD
    assert path.stat().st_ino == (registry / agent.OBJECTS / digest(OLD)).stat().st_ino
    assert oct(path.stat().st_mode)[-4:] == "0755"
    assert list((registry / agent.STAGING).iterdir()) == []


def test_publish_twice_changes_nothing(registry: Path) -> None:
    publish(registry, OLD)
    assert agent.publish(str(registry), request(OLD))["changed"] == []


def test_an_open_file_stays_the_old_image(registry: Path) -> None:
    publish(registry, OLD)
    with (registry / NAME).open("rb") as job:
        publish(registry, NEW)
        assert job.read() == OLD
    assert (registry / NAME).read_bytes() == NEW


def test_going_back_needs_no_bytes(registry: Path) -> None:
    publish(registry, OLD)
    publish(registry, NEW)
    assert agent.publish(str(registry), request(OLD))["changed"] == [NAME]
    assert (registry / NAME).read_bytes() == OLD


def test_other_bytes_than_promised_are_refused_and_removed(registry: Path) -> None:
    publish(registry, OLD)
    stage(registry, b"not the new one at all", name=digest(NEW))
    with pytest.raises(agent.Refused, match="arrived as 22 bytes"):
        agent.publish(str(registry), request(NEW))
    assert (registry / NAME).read_bytes() == OLD
    assert list((registry / agent.STAGING).iterdir()) == []


def test_bytes_that_did_not_arrive_are_refused(registry: Path) -> None:
    with pytest.raises(agent.Refused, match="did not arrive"):
        agent.publish(str(registry), request(NEW))


def test_a_link_in_staging_is_not_followed(registry: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(NEW)
    (registry / agent.STAGING / digest(NEW)).symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        agent.publish(str(registry), request(NEW))


@pytest.mark.parametrize(
    "name",
    ["../x.sif", "ml-frameworks/../../x.sif", "ml-frameworks/-x.sif", "ml-frameworks/a b.sif", "ml-frameworks/x.sif\n",
     "ml-frameworks/x;id.sif", "/etc/x.sif", ".registry/x.sif", "ml-frameworks/x", "x.sif", ""],
)  # fmt: skip
def test_hostile_names_are_refused(registry: Path, name: str) -> None:
    stage(registry, NEW)
    with pytest.raises(agent.Refused, match="is not an image of this registry"):
        agent.publish(str(registry), request(NEW, name=name))


@pytest.mark.parametrize("mode", ["4755", "0777", "0775", "2755"])
def test_dangerous_modes_are_refused(registry: Path, mode: str) -> None:
    with pytest.raises(agent.Refused, match="mode"):
        publish(registry, NEW, mode=mode)


def test_the_catalog_never_names_what_is_not_there(registry: Path) -> None:
    catalog = registry / agent.CATALOG
    assert publish(registry, OLD, catalog="both", objects=[digest(OLD), digest(NEW)])["catalog"] == "behind"
    assert not catalog.exists()
    assert publish(registry, NEW, catalog="both", objects=[digest(OLD), digest(NEW)])["catalog"] == "written"
    assert catalog.read_text() == "both"


def test_writers_at_the_same_time_leave_one_whole_image(registry: Path) -> None:
    images = [bytes([number]) * 1000 for number in range(8)]
    for data in images:
        stage(registry, data)
    threads = [threading.Thread(target=agent.publish, args=(str(registry), request(data))) for data in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (registry / NAME).read_bytes() in images
    assert [path.name for path in (registry / "ml-frameworks").iterdir()] == ["x.sif"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent as phase 1 installs it."""
    path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    path.write_bytes(build_agent())
    return path


def serve(program: Path, registry: Path, command: str, *requests: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the agent as sshd would for the sync key."""
    return subprocess.run(
        [sys.executable, program, "serve", "--registry", str(registry)],
        input="".join(json.dumps(request) + "\n" for request in requests),
        env={**os.environ, "SSH_ORIGINAL_COMMAND": command},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def converse(program: Path, registry: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    done = serve(program, registry, "session", {"nonce": "n1", "seconds": 20}, *requests)
    assert done.returncode == 0, done.stderr
    return [json.loads(line[len("hpcregistry n1 ") :]) for line in done.stdout.split("\n") if line]


def test_a_session_answers_each_request(program: Path, registry: Path) -> None:
    publish(registry, OLD)
    stage(registry, NEW)
    (registry / "ml-frameworks" / "by-hand.sif").write_bytes(b"x")
    first, second, third = converse(
        program, registry, {"do": "have", "id": 1}, {"do": "publish", "id": 2, **request(NEW)}, {"do": "have", "id": 3}
    )
    assert first["objects"] == {digest(OLD): len(OLD)}
    assert first["names"] == {NAME: digest(OLD), "ml-frameworks/by-hand.sif": None}
    assert (second["id"], second["changed"]) == (2, [NAME])
    assert third["names"][NAME] == digest(NEW)


def test_a_session_reports_a_refusal_as_an_error_and_goes_on(program: Path, registry: Path) -> None:
    answers = converse(
        program,
        registry,
        {"do": "publish", "id": 1, **request(NEW)},
        {"do": "gossip", "id": 2},
        {"do": "have", "id": 3},
    )
    assert "did not arrive" in answers[0]["error"]
    assert "does not understand: KeyError('gossip')" in answers[1]["error"]
    assert answers[2]["objects"] == {}


def test_a_session_that_nobody_speaks_to_ends(program: Path, registry: Path) -> None:
    argv = [sys.executable, str(program), "serve", "--registry", str(registry)]
    environment = {**os.environ, "SSH_ORIGINAL_COMMAND": "session"}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(b'{"nonce": "n", "seconds": 1}\n')
        process.stdin.flush()
        assert process.wait(20) == 1
        assert b"says nothing any more" in process.stderr.read()


def test_the_version_before_is_put_where_rsync_looks(program: Path, registry: Path) -> None:
    publish(registry, OLD)
    bases = {"do": "prepare", "id": 1, "bases": {digest(NEW): digest(OLD)}}
    answers = converse(program, registry, bases, {"do": "publish", "id": 2, **request(NEW)})
    assert f"arrived as {len(OLD)} bytes" in answers[1]["error"], "rsync never came"
    converse(program, registry, bases)
    assert list((registry / agent.STAGING).iterdir()) == [], "the session's end takes away what rsync did not replace"
    assert (registry / NAME).read_bytes() == OLD
    (answer,) = converse(program, registry, {"do": "prepare", "id": 1, "bases": {digest(NEW): "../../x"}})
    assert "is not a digest" in answer["error"]


@pytest.mark.parametrize("probe", [".probe-1", None])
def test_a_registry_that_is_the_controllers_own_shows_its_probe(
    program: Path, registry: Path, probe: str | None
) -> None:
    (registry / agent.STAGING / ".probe-1").touch()
    (answer,) = converse(program, registry, {"do": "have", "id": 1, "probe": probe})
    assert answer["shared"] == (probe is not None)


@pytest.mark.parametrize(
    "command",
    ["", "id", "session; id", "facts", "have", "session x", "sh -c id", "rsync --server --sender -e.LsfxCIvu . .",
     "rsync --server -e.LsfxCIvu . /etc", "rsync --server -e.LsfxCIvu . ..", "rsync --server --inplace . .",
     "rsync --server -e.LsfxCIvu --log-file=/etc/x . .", "rsync --server --daemon . .",
     "rsync --server --log-format=%i --partial-dir=/etc . .", "rsync --server -e.LsfxCIvu . . ; id", "rsync --server"],
)  # fmt: skip
def test_serve_refuses_everything_else(program: Path, registry: Path, command: str) -> None:
    done = serve(program, registry, command, {"nonce": "n", "seconds": 5}, {"do": "have"})
    assert done.returncode != 0
    assert "this key can only" in done.stderr
    assert done.stdout == ""


def test_gather_tells_what_is_there(registry: Path) -> None:
    publish(registry, OLD)
    (registry / "ml-frameworks" / "gone.sif").symlink_to("/nowhere")
    facts = agent.gather({"registry": str(registry), "directories": ["ml-frameworks"], "content": True})
    images = {image["name"]: image for image in facts["images"]}
    assert images[NAME]["sha256"] == images[NAME]["object"] == digest(OLD)
    assert images["ml-frameworks/gone.sif"]["type"] == "link"
    assert facts["paths"][str(registry)]["type"] == "directory"
    assert facts["paths"][f"{registry}/README.md"] is None


def test_gather_reads_the_bytes_not_the_name(registry: Path) -> None:
    """A flipped bit with the same size and time is found by content, and only by content."""
    publish(registry, OLD)
    path = registry / NAME
    before = path.stat()
    path.write_bytes(OLD.replace(b"o", b"0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    asked = {"registry": str(registry), "directories": ["ml-frameworks"]}
    assert agent.gather({**asked, "content": True})["images"][0]["sha256"] != digest(OLD)


def test_the_agent_runs_when_piped(registry: Path) -> None:
    body = json.dumps({"registry": str(registry), "directories": []})
    with (Path(agent.__file__).parent / "facts.py").open() as source:
        done = subprocess.run(
            [sys.executable, "-", "facts", "n3", body], stdin=source, capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout.split("hpcregistry n3 ", 1)[1])["protocol"] == agent.PROTOCOL
