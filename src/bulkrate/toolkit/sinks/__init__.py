"""Where rows go to: one file per kind."""
