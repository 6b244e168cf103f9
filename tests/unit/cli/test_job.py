"""`job render`: values from words and from the catalog, to standard output or a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_hpcregistry import cli
from pytest_hpcregistry.cluster.client import ControllerClient
from pytest_hpcregistry.core.catalog import Catalog, Entry
from pytest_hpcregistry.core.errors import UsageError
from pytest_hpcregistry.testing.facts import DIGEST

TEXT = "#!/bin/sh\n\techo {{ word | quote }} {{ container | default('-') }} {{ digest | default('-') }}\n"


@pytest.fixture(autouse=True)
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "job.sh.j2"
    path.write_text(TEXT)
    return path


@pytest.fixture(autouse=True)
def catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry(DIGEST, 1, "2026-01-01T00:00:00Z", "me@here", "amd64")
    monkeypatch.setattr(ControllerClient, "catalog", lambda client: Catalog({"ml-frameworks/x.sif": entry}))


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.commands, ["job", "render", "job.sh.j2", *words])


def test_without_a_file_it_goes_to_standard_output_as_it_is() -> None:
    assert run("--set", "word=a b=c").output == "#!/bin/sh\n\techo 'a b=c' - -\n"


def test_an_image_of_the_catalog() -> None:
    result = run("--set", "word=a", "--image", "x.sif", "--controller", "hpc")
    assert result.output == f"#!/bin/sh\n\techo a /opt/containers/ml-frameworks/x.sif {DIGEST}\n"
    with pytest.raises(UsageError, match=r"ml-frameworks/y\.sif is not in the catalog"):
        cli.commands.main(
            ["job", "render", "job.sh.j2", "--image", "y.sif", "--controller", "hpc"], standalone_mode=False
        )


def test_a_file(tmp_path: Path) -> None:
    assert run("--set", "word=a", "-o", "job.sh").output == "✓ job.sh\n"
    assert (tmp_path / "job.sh").read_text() == "#!/bin/sh\n\techo a - -\n"
    assert isinstance(run("--set", "word=a", "-o", "job.sh").exception, UsageError)
    assert run("--set", "word=b", "-o", "job.sh", "--force").exit_code == 0
    assert " b " in (tmp_path / "job.sh").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "word"], "'word' is not KEY=VALUE"),
        (["--set", "word=a", "--set", "word=b"], "word is given twice"),
        (["--set", "container=/x.sif", "--image", "x.sif", "--controller", "hpc"], "--image sets container"),
    ],
)
def test_wrong_use(words: list[str], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.output


def test_no_file_is_made_of_a_template_that_lacks_a_value(tmp_path: Path) -> None:
    assert isinstance(run("-o", "job.sh").exception, UsageError)
    assert [path.name for path in tmp_path.iterdir()] == ["job.sh.j2"]
