"""``ser-zoo models``: the architectures, and the arguments of one."""

from __future__ import annotations

import argparse
import ast
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ser_zoo.cli.tables import add_format, show
from ser_zoo.models import MODELS
from ser_zoo.registry import lookup


def run(argv: Sequence[str]) -> int:
    """List the architectures, or describe one."""
    parser = argparse.ArgumentParser(prog="ser-zoo models", description="List the architectures, or describe one.")
    parser.add_argument("name", nargs="?", help="an architecture; shows its arguments and their defaults")
    add_format(parser)
    options = parser.parse_args(argv)
    if options.name is None:
        rows = [
            {
                "name": name,
                "parameters": entry.parameters,
                "summary": entry.summary,
                "source": entry.source,
            }
            for name, entry in sorted(MODELS.items())
        ]
        show(
            rows,
            options.format,
            "parameters: trained, without the encoder, at default arguments with four classes",
        )
        return 0
    entry = lookup(MODELS, options.name, "model")
    arguments = arguments_of(entry.target)
    if options.format == "table":
        print(card_of(entry.target))
    show(arguments, options.format, f"--model {options.name} --model.ARGUMENT VALUE")
    return 0


def arguments_of(target: str) -> list[dict[str, str]]:
    """Name, type, default and meaning of the arguments that a user can set, read from a class's source: nothing is imported."""
    module, _, name = target.partition(":")
    tree = _parsed(module)
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    init = next(node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    meanings = _meanings(ast.get_docstring(cls) or "")
    given = [argument for argument in init.args.args if argument.arg not in ("self", "labels")]  # the data decides the labels
    return [
        {
            "argument": argument.arg,
            "type": ast.unparse(_Spelled(tree).visit(argument.annotation)) if argument.annotation else "",
            "default": ast.unparse(default),
            "meaning": meanings.get(argument.arg, ""),
        }
        for argument, default in zip(given, init.args.defaults, strict=True)
    ]


def card_of(target: str) -> str:
    """The model card: the docstring of the architecture's file."""
    return ast.get_docstring(_parsed(target.partition(":")[0])) or ""


class _Spelled(ast.NodeTransformer):
    """Writes choices out that have a name, which a module gives itself or takes from another of ours."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The ``Literal`` that is meant, or the name where it means something else."""
        for statement in self.tree.body:
            match statement:
                case ast.Assign([ast.Name(node.id)], ast.Subscript(ast.Name("Literal")) as choices):
                    return choices
                case ast.ImportFrom(str(module), names) if module.startswith("ser_zoo") and node.id in (
                    of.name for of in names
                ):
                    found: ast.expr = _Spelled(_parsed(module)).visit_Name(node)
                    return found
        return node


def _parsed(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _meanings(docstring: str) -> dict[str, str]:
    """``Args:`` of a Google-style docstring."""
    meanings: dict[str, str] = {}
    section = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    for line in section.splitlines():
        name, colon, meaning = line.strip().partition(": ")
        if colon and name.isidentifier():
            meanings[name] = meaning
        elif meanings and line.strip():
            meanings[list(meanings)[-1]] += f" {line.strip()}"
    return meanings
