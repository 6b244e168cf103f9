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


@pytest.mark.parametrize(
    ("release", "suites"), [("trixie", ["trixie", "sid"]), ("bookworm", ["bookworm", "trixie", "sid"])]
)
def test_newer_suites_give_nothing_that_the_release_has(release: str, suites: list[str]) -> None:
    argv = image.mmdebstrap(release, Path("/root.tar"), [Path("/hook.sh")], "http://mirror.example/debian")
    assert f'--aptopt=APT::Default-Release "{release}"' in argv
    sources = [f"deb http://mirror.example/debian {suite} main" for suite in suites]
    assert argv[-3 - len(suites) :] == ["--customize-hook=/hook.sh", release, "/root.tar", *sources]


def test_the_lists_of_packages_are_removed_last() -> None:
    assert [*image.hooks("bookworm")] == ["setup-bookworm.sh", "setup-image.sh"]
    assert "rm -rf /var/cache/apt/* /var/lib/apt/lists/*" in image.hooks("bookworm")["setup-image.sh"]


def test_another_recipe_is_another_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.name("trixie")
    assert image.name("trixie") == before
    monkeypatch.setattr(image, "PACKAGES", [*image.PACKAGES, "vim"])
    with_another_package = image.name("trixie")
    monkeypatch.setattr(image, "hooks", lambda release: {"setup-image.sh": "#!/bin/sh\n"})
    assert len({before, with_another_package, image.name("trixie"), image.name("bookworm")}) == 4


@pytest.mark.parametrize("release", image.SOURCES)
def test_the_image_holds_nothing_of_the_registry(release: str) -> None:
    assert not [word for word in ("/opt/containers", "oci.conf", "hpcregistry") if word in image.recipe(release)]
