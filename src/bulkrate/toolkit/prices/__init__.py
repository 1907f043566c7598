"""What a job may cost and has cost: the price list where it is kept, and counters of tokens."""
