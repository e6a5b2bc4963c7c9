"""The parser of ``fit`` and ``profile``, which says in plain words what is wrong with an argument."""

from __future__ import annotations

import copy
import re
from enum import Enum
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from ser_zoo.registry import did_you_mean

# How jsonargparse names what it does not know: all on the command line at once, in a file the first.
UNKNOWN_ARGUMENTS = "unrecognized arguments: "
UNKNOWN_KEY = re.compile(r"Group '([^']+)' does not accept option '([^']+)'|Option '([^']+)' is not accepted")
# How it refuses a value: by the types of Python that the argument may have.
REFUSED_KEY = re.compile(r'Parser key "([^"]+)":')
REFUSED_VALUE = re.compile(r".*(?:Got|Given) value: (.*)\Z", re.DOTALL)  # the last one is the whole value
EXPECTED = re.compile(r"Expected a (.+?)(?=\. Got value: |$)", re.MULTILINE)
REFUSED_FILE = re.compile(r"Parser key \"([^\"]+)\":\nUnable to load config '(.*?)'\n\s*- (.*)", re.DOTALL)
# How it passes on what the parser of a logger or a callback, which is this one too, has said of an argument of that class.
REFUSED_BY = re.compile(r"Problem with given class_path '(?:\w+\.)*(\w+)':\n\s*(.+)")
LITERAL = re.compile(r"typing\.Literal\[(.*)\]")
REFUSED_SWITCH = re.compile(r"argument (--\w+)\S*: invalid _boolean_type value: '(.*)'")
KINDS = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text",
    "<class 'dict'>": "names with values in braces",
    "<class 'NoneType'>": "null",
}
LISTS = {f"<class '{name}'>" for name in ("list", "tuple", "collections.abc.Sequence", "collections.abc.Iterable")}


class Parser(LightningArgumentParser):
    """Names what comes near an option that it does not have, and what a value that it refuses might have been."""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """As that of jsonargparse, which lets a file pass that cannot be decoded."""
        try:
            return super().parse_args(*args, **kwargs)
        except UnicodeDecodeError as error:
            self.error(f"A file that is named for arguments is no text ({error}). Expected YAML in UTF-8.", error)

    def dump(self, cfg: Namespace, *args: Any, **kwargs: Any) -> str:
        """As that of jsonargparse, which cannot write the members of enumerations that Lightning has as defaults of texts."""
        text: str = super().dump(_plain(cfg), *args, **kwargs)
        return text

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with the message, or raise it where ``exit_on_error`` is False."""
        if REFUSED_BY.search(message):
            unknown = []  # the names of this parser are not those of the class
        elif message.startswith(UNKNOWN_ARGUMENTS):
            unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
        else:
            unknown = [f"--{'.'.join(filter(None, match.groups()))}" for match in UNKNOWN_KEY.finditer(message)]
        hints = (did_you_mean(name, self._option_string_actions, alike=0.85) for name in unknown)
        super().error(". ".join([in_words(message), *filter(None, hints)]), ex)


def _plain(value: Any) -> Any:
    if isinstance(value, Namespace):
        plain = copy.copy(value)
        vars(plain).update({key: _plain(inner) for key, inner in vars(value).items()})
        return plain
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.value if isinstance(value, Enum) and isinstance(value, str) else value


def in_words(message: str) -> str:
    """What jsonargparse says of a value that does not fit, without Python's names of types; other messages as they are."""
    if switch := REFUSED_SWITCH.fullmatch(message):
        return f"{switch[1]} {switch[2]}: expected true or false."
    if file := REFUSED_FILE.fullmatch(message):
        reason = "" if file[3].startswith("Parser key") else f" ({' '.join(file[3].split())})"
        return f"--{file[1]} {file[2]}: expected arguments as {{NAME: VALUE}}, or a YAML file of such{reason}."
    key, given, expected = REFUSED_KEY.search(message), REFUSED_VALUE.search(message), EXPECTED.findall(message)
    if key and (refused := REFUSED_BY.search(message)):
        return f"--{key[1]} {refused[1]}: {refused[2]}"
    if not (key and given and expected):
        return message
    value = given[1]
    kinds: list[str] = []
    names: list[str] = []
    for kind in expected:
        if literal := LITERAL.fullmatch(kind):
            names += [name.strip("'") for name in literal[1].split(", ")]
        elif kind in LISTS:
            kinds.append(f"a list such as [{'' if value == 'None' else value}]")  # null is no list, and [null] none that fits
        elif kind.startswith("tuple with"):
            kinds.append(f"a list of {kind.removeprefix('tuple with ').replace('elements', 'values')}")
        elif kind.startswith("dot import path"):
            kinds.append("the import path of a class")
        elif not kind.startswith("path but"):  # a class is looked for as a file first
            kinds.append(KINDS.get(kind, kind))
    if names:
        kinds.append(f"one of {', '.join(dict.fromkeys(names))}")
    hint = did_you_mean(value, names)
    return f"--{key[1]} {value}: expected {' or '.join(dict.fromkeys(kinds))}." + (f" {hint}" if hint else "")
