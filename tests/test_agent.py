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


def ask(registry: Path, command: str, body: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the agent as sshd would for the sync key."""
    return subprocess.run(
        [sys.executable, agent.__file__, "serve", "--registry", str(registry)],
        input=json.dumps(body),
        env={**os.environ, "SSH_ORIGINAL_COMMAND": command},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_serve_answers_have(registry: Path) -> None:
    publish(registry, OLD)
    (registry / "ml-frameworks" / "by-hand.sif").write_bytes(b"x")
    done = ask(registry, "have", {"nonce": "n1"})
    answer = json.loads(done.stdout.split("hpcregistry n1 ", 1)[1])
    assert answer["objects"] == {digest(OLD): len(OLD)}
    assert answer["names"] == {NAME: digest(OLD), "ml-frameworks/by-hand.sif": None}


def test_serve_reports_a_refusal_as_an_error(registry: Path) -> None:
    done = ask(registry, "publish", {**request(NEW), "nonce": "n2"})
    assert "did not arrive" in json.loads(done.stdout.split("hpcregistry n2 ", 1)[1])["error"]


@pytest.mark.parametrize(
    "command",
    ["", "id", "have; id", "facts", "publish x", "sh -c id", "rsync --server --sender -e.LsfxCIvu . .",
     "rsync --server -e.LsfxCIvu . /etc", "rsync --server -e.LsfxCIvu . ..", "rsync --server --inplace . .",
     "rsync --server -e.LsfxCIvu --log-file=/etc/x . .", "rsync --server --daemon . .",
     "rsync --server --log-format=%i --partial-dir=/etc . .", "rsync --server -e.LsfxCIvu . . ; id", "rsync --server"],
)  # fmt: skip
def test_serve_refuses_everything_else(registry: Path, command: str) -> None:
    done = ask(registry, command, {"nonce": "n"})
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
    with Path(agent.__file__).open() as source:
        done = subprocess.run(
            [sys.executable, "-", "facts", "n3", body], stdin=source, capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout.split("hpcregistry n3 ", 1)[1])["protocol"] == agent.PROTOCOL
