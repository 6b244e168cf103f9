"""The lab's node image: where its packages come from, and when it must be made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.lab import image

# What `apt-get indextargets` tells: URI, origin, component, release. Both forms of apt's sources come out like this.
SECURITY = "http://sec.example/debian-security/ Debian main trixie-security"
UPDATES = "http://mirror.example/debian/ Debian main trixie-updates"
DEBIAN = "http://mirror.example/debian/ Debian main trixie"
OTHERS = ["http://tools.example/apt/ Tools main stable", "http://mirror.example/debian/ Debian non-free trixie"]


@pytest.mark.parametrize(
    "lines",
    [
        [DEBIAN],
        [SECURITY, UPDATES, DEBIAN],  # in whatever order
        [*OTHERS, DEBIAN, SECURITY],
        [DEBIAN.replace("trixie", "bookworm")],  # an older host
        ["incomplete", "", DEBIAN],
    ],
)
def test_the_mirror_is_the_one_that_serves_debian_itself(lines: list[str]) -> None:
    assert image.choose_mirror("\n".join(lines)) == "http://mirror.example/debian/"


@pytest.mark.parametrize("lines", [[], OTHERS, [SECURITY, UPDATES]])
def test_a_machine_without_a_mirror_is_told_what_to_do(lines: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        image.choose_mirror("\n".join(lines))
    assert "apt-get update" in caught.value.hint
    assert "HPCREGISTRY_MIRROR" in caught.value.hint


def test_the_environment_goes_before_this_machines_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCREGISTRY_MIRROR", "http://chosen.example/debian")
    assert image.mirror() == "http://chosen.example/debian"


def test_sid_gives_nothing_that_trixie_has() -> None:
    argv = image.mmdebstrap(Path("/root.tar"), Path("/hook.sh"), "http://mirror.example/debian")
    assert '--aptopt=APT::Default-Release "trixie"' in argv
    assert argv[-4:] == [
        "trixie",
        "/root.tar",
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian sid main",
    ]


def test_another_recipe_is_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.name()
    assert image.name() == before
    monkeypatch.setattr(image, "PACKAGES", [*image.PACKAGES, "vim"])
    with_another_package = image.name()
    monkeypatch.setattr(image, "setup_script", lambda: "#!/bin/sh\n")
    assert len({before, with_another_package, image.name()}) == 3


def test_the_image_holds_nothing_of_the_registry() -> None:
    assert not [word for word in ("/opt/containers", "oci.conf", "hpcregistry") if word in image.recipe()]
