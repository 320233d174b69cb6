"""Which series an expression of PromQL asks for, and which labels its result has."""

import re
from dataclasses import dataclass, field
from typing import Any

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

_SET_OPERATORS = {"and", "or", "unless"}


class Unfit(Exception):
    """An expression that asks for what there is not."""


@dataclass
class Known:
    """The metrics that there are: for each the labels, and for each of these the values.

    ``of_targets`` are the labels that Prometheus gives to everything that it reads from a target.
    """

    metrics: dict[str, dict[str, set[str]]]
    of_targets: set[str]
    used: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, text: str, of_targets: set[str]) -> "Known":
        """Read an answer of ``/metrics``; of a metric without values only the name counts as known."""
        metrics: dict[str, dict[str, set[str]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = metrics.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
        # What Prometheus itself says of each target.
        return cls(metrics | {"up": {}}, of_targets)

    def labels_of(self, text: str) -> set[str] | None:
        """Return the labels of the result, None for a number. Raises Unfit, and ValueError for what is no PromQL."""
        return self._labels(promql.parse(text))

    def _labels(self, expr: Any) -> set[str] | None:
        match expr:
            case promql.NumberLiteral() | promql.StringLiteral():
                return None
            case promql.ParenExpr() | promql.UnaryExpr():
                return self._labels(expr.expr)
            case promql.MatrixSelector() | promql.VectorSelector():
                return self._selected(getattr(expr, "vector_selector", expr))
            case promql.Call():
                found = [labels for one in expr.args if (labels := self._labels(one)) is not None]
                return found[0] if found else None if expr.func.name == "time" else set()
            case promql.AggregateExpr():
                return self._aggregated(expr)
            case promql.BinaryExpr():
                return self._joined(expr)
            case _:
                raise Unfit(f"{expr}: not looked at by this test")

    def _selected(self, selector: Any) -> set[str]:
        known = self.metrics.get(selector.name)
        if known is None:
            raise Unfit(f"no metric is called {selector.name}")
        self.used.add(selector.name)
        for matcher in selector.matchers.matchers:
            if matcher.name in known:
                self._check_value(selector.name, matcher, known[matcher.name])
            elif matcher.name not in self.of_targets:
                raise Unfit(f"{selector.name} has no label {matcher.name}")
        return set(known) | self.of_targets

    def _check_value(self, metric: str, matcher: Any, values: set[str]) -> None:
        """Each alternative that is asked for is one that occurs; of all the states one is in, each is told of."""
        for wanted in str(matcher.value).split("|"):
            if not any(re.fullmatch(wanted, value) for value in values):
                raise Unfit(f"{metric} has no {matcher.name} like {wanted}")

    def _aggregated(self, expr: Any) -> set[str]:
        inner = self._labels(expr.expr)
        if inner is None:
            raise Unfit(f"{expr}: a number cannot be aggregated")
        if expr.modifier is None:
            return set()
        named = set(expr.modifier.labels)
        if missing := named - inner:
            raise Unfit(f"{expr}: there is no label {missing}")
        return named if expr.modifier.type == promql.AggModifierType.By else inner - named

    def _joined(self, expr: Any) -> set[str] | None:
        left, right = self._labels(expr.lhs), self._labels(expr.rhs)
        if left is None or right is None:
            return right if left is None else left
        matching = None if expr.modifier is None else expr.modifier.matching
        on = left & right if matching is None else set(matching.labels)
        if matching is None and left != right:
            raise Unfit(f"{expr}: nothing matches, since one has {left} and the other {right}")
        if missing := on - (left & right):
            raise Unfit(f"{expr}: not both have {missing}")
        return left if str(expr.op) in _SET_OPERATORS or matching is None else on
