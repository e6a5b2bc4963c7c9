"""Stored JSON of a published schema, which it is held against whenever it is written or read."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from ser_zoo.errors import RunError


class Schema:
    """The schema of one kind of document.

    Args:
        name: of its file beside this one, without ``.schema.json``.
        title: what one document is called.
    """

    def __init__(self, name: str, title: str) -> None:
        self.title = title
        self._file = Path(__file__).parent / f"{name}.schema.json"

    def check(self, content: object, where: str) -> None:
        """Refuse a document that does not fit.

        Args:
            content: of the document.
            where: it was found, for the error.

        Raises:
            RunError: it does not fit; the text names the place in it.
        """
        if fault := best_match(self._validator.iter_errors(content)):
            raise RunError(f"{where} does not fit the schema of {self.title}s at {fault.json_path}: {fault.message}")

    def fault_of_part(self, key: str, content: object) -> ValidationError | None:
        """What keeps ``content`` from being the value of a document's ``key``; None where nothing does."""
        fault: ValidationError | None = best_match(Draft202012Validator(self._schema["properties"][key]).iter_errors(content))
        return fault

    def read(self, path: Path) -> dict[str, Any]:
        """A stored document.

        Raises:
            RunError: it is missing, is not JSON, or does not fit.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # ValueError: neither text nor JSON
            raise RunError(f"Cannot read the {self.title} {path}: {error}.") from error
        self.check(content, str(path))
        return content

    @cached_property
    def _schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        return schema

    @cached_property
    def _validator(self) -> Draft202012Validator:
        # Made once: jsonschema.validate would check the schema itself anew for every document.
        return Draft202012Validator(self._schema)
