"""What `eval.watch` shows, and how."""
