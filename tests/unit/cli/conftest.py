"""Whatever any test here makes the command line print as JSON has the form that its schema says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_hpcregistry.cli import output
from pytest_hpcregistry.report.schema import Head, document_schema

ERRORS = document_schema("", Head)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What commands leave for completion is not the developer's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def validated(monkeypatch: pytest.MonkeyPatch) -> None:
    print_json = output.print_json

    def validate_and_print(data: dict[str, Any], indent: int | None = None) -> None:
        shape = output.current.shape
        schema = document_schema(output.current.head.command, shape) if shape else ERRORS
        jsonschema.Draft7Validator(schema).validate(data)
        print_json(data, indent)

    monkeypatch.setattr(output, "print_json", validate_and_print)
