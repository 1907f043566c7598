"""What is asked of a row: prompts over its columns, and the schema that its answer is held to."""
