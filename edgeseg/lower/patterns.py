"""Applying one rewrite rule to a graph, and tidying up after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..lazy import require


def apply_rule(
    model: Any,
    pattern: Callable[..., Any],
    rewrite: Callable[..., Any],
    fits: Callable[..., bool],
) -> int:
    """Replace every match of a pattern, and tidy up.

    Args:
        model: An `onnx_ir.Model`, changed in place.
        pattern, rewrite, fits: As `onnxscript.rewriter.pattern.RewriteRule` takes them.

    Returns:
        How many matches were replaced.
    """
    rules = require("onnxscript.rewriter.pattern", purpose="Lowering")
    # Shared intermediate values, such as the centred one of a norm, stay while they have readers.
    rule = rules.RewriteRule(pattern, rewrite, fits, remove_nodes=False)
    count: int = rule.apply_to_model(model)
    if count:
        tidy(model)
    return count


def tidy(model: Any) -> None:
    """Compute equal values once, remove what nothing reads, name the rest and infer shapes."""
    passes = require("onnx_ir.passes.common", purpose="Lowering")
    passes.DeduplicateInitializersPass()(model)
    passes.CommonSubexpressionEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.NameFixPass()(model)
    passes.ShapeInferencePass()(model)
