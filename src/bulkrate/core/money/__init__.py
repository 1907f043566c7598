"""What requests cost: which price counts for a model, what a job may cost, and what it did cost."""
