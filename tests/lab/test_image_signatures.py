"""The signatures that images carry themselves, made by Apptainer: one that does not count brings no name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_hpcregistry.core import documents
from pytest_hpcregistry.core.image_keys import read_file
from pytest_hpcregistry.lab.podman import podman
from pytest_hpcregistry.testing.sif import Sif, label_object, system_partition
from tests.fakes.image_keys import ERIN_EXPIRED, ERINS_SECRET
from tests.fakes.signer import Signer

from .conftest import Cli
from .machines import CATALOG, CONFIG, CONTROLLER, Machines, edit_cluster, refused

pytestmark = pytest.mark.lab
DIRECTORY = "ml-frameworks"
DESK = "/root/desk"  # on the controller: where images are signed, as the workstation of the tests has no Apptainer
PARTITION = 32768  # the first byte of a synthetic image's squashfs
KEYS = f"""
mkdir -p {DESK} && cd {DESK} || exit
for name in carol dave mallory; do
    APPTAINER_KEYSDIR=$PWD/$name apptainer key newpair -N $name -E $name@site -C "" -P "" -b 2048 -U=false || exit
done
APPTAINER_KEYSDIR=$PWD/erin apptainer key import erin.asc || exit
for name in ci other; do
    openssl genpkey -algorithm ed25519 -out $name.key && openssl pkey -in $name.key -pubout -out $name.pem || exit
done
"""
BY = "APPTAINER_KEYSDIR=$PWD/{} apptainer sign --keyidx 0"


@dataclass(frozen=True)
class Desk:
    """Where images are made and signed; `directory` of this machine has the public keys: carol.asc, …, ci.pem."""

    machines: Machines
    directory: Path

    def make(self, name: str, *script: str) -> Path:
        """A new image of two objects, after the lines of a *script* in which it is $sif."""
        path = self.directory / f"{name}.sif"
        parts = system_partition(content=os.urandom(65536)), label_object({"a": "b"})
        path.write_bytes(Sif(parts).to_bytes())
        if script:
            self.machines.put(CONTROLLER, path, f"{DESK}/{path.name}")
            self.machines.tell(CONTROLLER, f"cd {DESK} && sif={path.name} && {' && '.join(script)}")
            podman("cp", f"{self.machines.state.container(CONTROLLER)}:{DESK}/{path.name}", str(path)).check()
        return path

    def key(self, name: str) -> str:
        return str(self.directory / name)


@pytest.fixture(scope="module")
def desk(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    directory = tmp_path_factory.mktemp("desk")
    machines.tell(CONTROLLER, f"mkdir -p {DESK}")
    (directory / "erin.asc").write_text(ERINS_SECRET)
    machines.put(CONTROLLER, directory / "erin.asc", f"{DESK}/erin.asc")
    machines.tell(CONTROLLER, KEYS)
    for name in ("carol", "dave", "mallory"):
        # `apptainer key export` asks a person which key; this is its keyring of one.
        body = machines.tell(CONTROLLER, f"base64 {DESK}/{name}/pgp-public")
        text = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}-----END PGP PUBLIC KEY BLOCK-----\n"
        (directory / f"{name}.asc").write_text(text)
    for name in ("ci", "other"):
        (directory / f"{name}.pem").write_text(machines.tell(CONTROLLER, f"cat {DESK}/{name}.pem"))
    (directory / "erin.asc").write_text(ERIN_EXPIRED)
    yield Desk(machines, directory)
    machines.tell(CONTROLLER, f"rm -rf {DESK}")


@pytest.fixture(scope="module")
def signing(edited: Callable[..., Path], alice: Signer, desk: Desk, cli: Cli) -> Path:
    """The cluster file of a site that takes images by carol, erin and its CI, in force; alice signs for their names."""
    keys = [desk.key(name) for name in ("carol.asc", "erin.asc", "ci.pem")]
    policy = {"signatures": "require", "signers": [alice.line], "signing_key": str(alice.key), "image_keys": keys}
    file = edited(registry=policy)
    cli("registry", "setup", cluster=file).check()
    return file


@pytest.fixture(scope="module")
def deployed_pgp(signing: Path, desk: Desk, cli: Cli) -> list[str]:
    """The digests of an image of carol's that was deployed twice: the older version, and the current one."""
    for _ in range(2):
        cli("deploy", "single", "-s", "-v", desk.make("pgp", f"{BY.format('carol')} $sif"), cluster=signing).check()
    shown = json.loads(cli("catalog", "show", f"{DIRECTORY}/pgp.sif", "--json", cluster=signing).check().stdout)
    return [shown["versions"][0]["digest"], shown["digest"]]


def test_good_images_are_on_every_machine(
    deployed_pgp: list[str], signing: Path, desk: Desk, cli: Cli, machines: Machines
) -> None:
    dsse = desk.make("dsse", "apptainer sign --key ci.key $sif")
    deployed = cli("deploy", "single", "-s", "-v", dsse, cluster=signing).check()
    assert (
        "is not verified here (there is no Apptainer to verify images by): the controller does"
        in deployed.stdout + deployed.stderr
    )
    assert machines.digests(f"{DIRECTORY}/pgp.sif") == {deployed_pgp[1]}
    assert len(machines.digests(f"{DIRECTORY}/dsse.sif")) == 1
    assert cli("verify", cluster=signing).exit_code == 0
    shown = cli("inspect", dsse).check().stdout
    assert "  signature (object 3): DSSE; not verified here" in shown


CAROL, MALLORY, ERIN = (BY.format(name) for name in ("carol", "mallory", "erin"))
MORE = "echo x > more && apptainer sif add --datatype 7 --groupid {} $sif more"
AT = "at=$(apptainer sif list $sif | sed -n 's/^3 .*|\\([0-9]*\\)-.*/\\1/p')"  # the first byte of the signature
NONSENSE = "head -c 500 /dev/urandom | dd of=$sif bs=1 conv=notrunc seek=$((at + {}))"
CHANGED = "printf X | dd of=$sif bs=1 conv=notrunc seek={}"
WRONG = {
    "unsigned": ([], "carries no signature of its own"),
    "one object of two": ([f"{CAROL} --sif-id 1 $sif"], "object 2: object not signed"),
    "one group of two": (
        [MORE.format(2), f"{CAROL} --group-id 1 $sif"],
        "signature not found for object group 2",
    ),
    "an object in no group": ([f"{CAROL} $sif", MORE.format(0)], "not associated with object group"),
    "an object more after it was signed": ([f"{CAROL} $sif", MORE.format(1)], "object 4: object not signed"),
    "by a stranger": ([f"{MALLORY} $sif"], "signature made by unknown entity"),
    "by a stranger in a DSSE envelope": (["apptainer sign --key other.key $sif"], "accepted signatures do not match"),
    "by carol and by a stranger": ([f"{CAROL} $sif", f"{MALLORY} $sif"], "signature made by unknown entity"),
    "in both forms": ([f"{CAROL} $sif", "apptainer sign --key ci.key $sif"], "forms: DSSE, PGP"),
    "by an expired key": ([f"{ERIN} $sif"], "openpgp: key expired"),
    "a byte of the file system changed": (
        [f"{CAROL} $sif", CHANGED.format(PARTITION + 4000)],
        "data object integrity compromised: 1",
    ),
    "a byte of the header changed": ([f"{CAROL} $sif", CHANGED.format(50)], "header integrity compromised"),
    "a signature of nonsense": ([f"{CAROL} $sif", AT, NONSENSE.format(0)], "of these forms: unknown"),
    "a signature of nonsense below its first line": (
        [f"{CAROL} $sif", AT, NONSENSE.format(60)],
        "its own signature does not count (apptainer verify: ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_count_gets_no_name(
    case: str, deployed_pgp: list[str], signing: Path, desk: Desk, cli: Cli, machines: Machines
) -> None:
    script, reason = WRONG[case]
    before = machines.trees()
    result = cli("deploy", "single", "-s", desk.make("wrong", *script), cluster=signing)
    refused(result, 1, reason)
    assert machines.trees() == before


def test_keyrings_of_the_machine_and_of_its_user_do_not_count(
    deployed_pgp: list[str], signing: Path, desk: Desk, cli: Cli, machines: Machines
) -> None:
    mallorys = desk.make("mallorys", f"{BY.format('mallory')} $sif")
    machines.put(CONTROLLER, Path(desk.key("mallory.asc")), f"{DESK}/mallory.asc")
    ring = "/etc/apptainer/global-pgp-public"
    machines.tell(CONTROLLER, f"cp -p {ring} /root/ring; cd {DESK} && apptainer key import mallory.asc")
    try:
        refused(cli("deploy", "single", mallorys, cluster=signing), 1, "signature made by unknown entity")
        machines.tell(CONTROLLER, f"cd {DESK} && apptainer key import --global mallory.asc")
        assert machines.run(CONTROLLER, f"cd {DESK} && apptainer verify --local mallorys.sif").exit_code == 0
        refused(cli("deploy", "single", mallorys, cluster=signing), 1, "whose key is none of registry.image_keys")
    finally:
        machines.tell(CONTROLLER, f"rm -rf ~/.apptainer/keys; cp -p /root/ring {ring} || rm {ring}")


def test_an_old_signed_version_is_not_played_back(
    deployed_pgp: list[str], signing: Path, cli: Cli, machines: Machines
) -> None:
    """Apptainer takes the old file, by a signature that is good: that it is old only the name's signature says."""
    name = f"{DIRECTORY}/pgp.sif"
    text = machines.tell(CONTROLLER, f"cat {CATALOG}")
    data = documents.load(text, "catalog.yaml")
    assert isinstance(data, dict)
    entry = data["images"][name]
    old = entry["versions"][0]
    data["images"][name] = {**entry, **old, "versions": [{key: entry[key] for key in old}]}
    machines.tell(CONTROLLER, f"cp -p {CATALOG} /root/catalog; cat > {CATALOG} <<'END'\n{documents.dump(data)}END")
    try:
        synced = cli("sync", cluster=signing)
        refused(synced, 4, "the signature of an older version does not bring it back")
        nodes = set(machines.state.machines) - {CONTROLLER}
        assert {machines.digest(node, name) for node in nodes} == {deployed_pgp[1]}
        assert cli("verify", cluster=signing).exit_code == 1
    finally:
        machines.tell(CONTROLLER, f"cp -p /root/catalog {CATALOG}")


def test_the_workstation_refuses_before_a_byte_moves(
    deployed_pgp: list[str],
    signing: Path,
    desk: Desk,
    cli: Cli,
    machines: Machines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the lab's own Apptainer, with the libraries that it needs, on this machine."""
    lay_apptainer(machines, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # What the controller would take, and this cluster file does not.
    daves = edit_cluster(signing, tmp_path / "daves.yaml", registry={"image_keys": [desk.key("dave.asc")]})
    image = desk.make("here", f"{BY.format('carol')} $sif")
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(image, images)
    before = machines.trees()
    refused(cli("deploy", "all", "--dry-run", images, cluster=daves), 1, "signature made by unknown entity")
    refused(cli("deploy", "single", image, cluster=daves), 1, "signature made by unknown entity")
    assert machines.trees() == before
    said = cli("deploy", "single", "-s", image, cluster=signing).check()
    assert "not verified here" not in said.stdout + said.stderr


def lay_apptainer(machines: Machines, directory: Path) -> None:
    """The lab's Apptainer as a program of this machine."""
    needed = "ldd /usr/bin/apptainer | grep -o '/[^ ]*'; echo /usr/bin/apptainer; echo /etc/apptainer/apptainer.conf"
    for file in machines.tell(CONTROLLER, needed).split():
        real = machines.tell(CONTROLLER, f"readlink -f {file}").strip()
        target = directory / f"{Path(file).name}.real"
        podman("cp", f"{machines.state.container(CONTROLLER)}:{real}", str(target)).check()
        (directory / Path(file).name.removesuffix(".real")).symlink_to(target)
    program = directory / "apptainer"
    program.unlink()
    loader = next(directory.glob("ld-linux*.real"))
    program.write_text(
        f"#!/bin/sh\nexec {loader} --library-path {directory} {directory}/apptainer.real "
        f'--config {directory}/apptainer.conf "$@"\n'
    )
    program.chmod(0o755)


def test_a_controller_without_apptainer_says_so(
    deployed_pgp: list[str], signing: Path, desk: Desk, cli: Cli, machines: Machines
) -> None:
    image = desk.make("none", f"{BY.format('carol')} $sif")
    machines.tell(CONTROLLER, "mv /usr/bin/apptainer /usr/bin/apptainer.away")
    try:
        before = machines.trees()
        refused(cli("deploy", "single", image, cluster=signing), 3, "there is no Apptainer", "install apptainer")
        refused(cli("verify", cluster=signing), 3, "there is no Apptainer")
        refused(cli("registry", "setup", cluster=signing), 4, "missing: apptainer")
        assert machines.trees() == before
    finally:
        machines.tell(CONTROLLER, "mv /usr/bin/apptainer.away /usr/bin/apptainer")


def test_a_key_is_changed_without_a_stop(
    deployed_pgp: list[str], signing: Path, desk: Desk, cli: Cli, machines: Machines, tmp_path: Path
) -> None:
    """The last test here: carol's key is not in force any more."""
    name = f"{DIRECTORY}/pgp.sif"
    both, daves = (
        edit_cluster(signing, tmp_path / f"{keys[0]}.yaml", registry={"image_keys": [desk.key(key) for key in keys]})
        for keys in (("carol.asc", "dave.asc", "ci.pem"), ("dave.asc", "ci.pem"))
    )
    new = desk.make("pgp", f"{BY.format('dave')} $sif")
    refused(cli("deploy", "single", new, cluster=both), 1, "signature made by unknown entity")
    told = cli("sync", cluster=both)
    assert "registry.image_keys is" in told.stdout + told.stderr
    cli("registry", "setup", cluster=both).check()
    assert cli("verify", cluster=both).exit_code == 0
    cli("deploy", "single", "-s", "-v", new, cluster=both).check()

    cli("rollback", name, cluster=both).check()
    refused(cli("verify", name, cluster=daves), 1, f"{name}: its own signature does not count")
    warned = cli("verify", name, cluster=edit_cluster(daves, tmp_path / "w.yaml", registry={"signatures": "warn"}))
    assert warned.exit_code == 0
    assert f"{name}: its own signature does not count" in warned.stdout + warned.stderr

    cli("registry", "setup", cluster=daves).check()
    fingerprints = [read_file(desk.key(key), Path()).split()[1] for key in ("carol.asc", "dave.asc")]
    config = machines.everywhere(f"cat {CONFIG}")
    assert {tuple(one in text for one in fingerprints) for text in config.values()} == {(False, True)}
    cli("sync", cluster=daves).check()
    before = machines.digests(name)
    cli("rollback", name, cluster=daves).check()  # forward again, to dave's
    assert machines.digests(name) != before
    refused(cli("rollback", name, cluster=daves), 1, "its own signature does not count")
    assert cli("verify", name, cluster=daves).exit_code == 0
