"""Meta-World's tasks, stepped fast and bit-exactly; suites and streams of them."""
