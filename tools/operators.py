"""The small faults that `make mutants` puts into a module: most are mutmut's, and those that it lacks are here.

Of mutmut only the operators are used, and its walk over a module. Its way of running them, all mutants in one file and
chosen at run time by a package that the file imports, does not reach an agent that runs alone, out of an archive.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper
from mutmut.mutation import mutators
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.pragma_handling import IgnoredCode


def find_mutants(code: str) -> Iterator[str]:
    """The code of each mutant, no two the same, none that does not compile or that differs in comments only."""
    wrapper = MetadataWrapper(cst.parse_module(code))
    visitor = MutationVisitor(OPERATORS, IgnoredCode(set(), set(), set()))
    module = wrapper.visit(visitor)
    seen = {ast.dump(ast.parse(code))}
    for mutation in visitor.mutations:
        mutated = module.deep_replace(mutation.original_node, mutation.mutated_node)
        assert isinstance(mutated, cst.Module)
        try:
            meaning = ast.dump(ast.parse(mutated.code))
        except SyntaxError:
            continue
        if meaning not in seen:
            seen.add(meaning)
            yield mutated.code


def leave_out(node: cst.SimpleStatementLine) -> Iterator[cst.BaseStatement]:
    """A call whose answer nobody takes, or a raise: `os.fsync(file)` is the kind that no test misses."""
    for index, statement in enumerate(node.body):
        if isinstance(statement, cst.Raise) or (
            isinstance(statement, cst.Expr) and isinstance(statement.value, (cst.Call, cst.Yield, cst.Await))
        ):
            yield node.with_changes(body=[*node.body[:index], cst.Pass(), *node.body[index + 1 :]])


def take_one_side(node: cst.BooleanOperation) -> Iterator[cst.BaseExpression]:
    """`a or b` -> `a`, `b`: a condition that could be missing."""
    brackets = {"lpar": [cst.LeftParen()], "rpar": [cst.RightParen()]}
    for side in (node.left, node.right):
        yield side if side.lpar else side.with_changes(**brackets)


def turn_round(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    test = node.test if node.test.lpar else node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(operator=cst.Not(), expression=test))


def return_nothing(node: cst.Return) -> Iterator[cst.Return]:
    if node.value is not None and not (isinstance(node.value, cst.Name) and node.value.value == "None"):
        yield node.with_changes(value=cst.Name("None"))


def leave_out_argument(node: cst.Call) -> Iterator[cst.Call]:
    """`f(a, b)` -> `f(a)`, `f(b)`. mutmut also puts None in its place, which mostly shows that None has no methods."""
    for index, _ in enumerate(node.args):
        if len(node.args) > 1:
            yield node.with_changes(args=[*node.args[:index], *node.args[index + 1 :]])


def change_text(node: cst.BaseString) -> Iterator[cst.BaseString]:
    """One other text, where mutmut has three; none for words to people, which are told by their spaces."""
    if isinstance(node, cst.SimpleString) and " " not in node.value:
        yield from list(mutators.operator_string(node))[:1]


REPLACED: dict[Any, Any] = {
    mutators.operator_arg_removal: leave_out_argument,
    mutators.operator_string: change_text,
}
OPERATORS: list[tuple[type, Any]] = [
    *((kind, REPLACED.get(operator, operator)) for kind, operator in mutators.mutation_operators),
    (cst.SimpleStatementLine, leave_out),
    (cst.BooleanOperation, take_one_side),
    (cst.If, turn_round),
    (cst.While, turn_round),
    (cst.Return, return_nothing),
]
