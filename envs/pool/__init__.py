"""Worker processes, the memory they share with the learner, and who acts in them."""
