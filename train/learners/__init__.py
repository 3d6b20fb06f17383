"""Several learners that share one run: who they are, what they exchange, what ends them."""
