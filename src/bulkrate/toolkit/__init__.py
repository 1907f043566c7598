"""From rows to answers: sources, recipes, the runner that survives crashes, and sinks."""
