"""What outlives a trial: levels of memory, arms, reference learners."""
