"""Rows as they travel: what a cell can be, which type a column has, and files of ours that keep both."""
