"""Meta-World's own evaluator."""
