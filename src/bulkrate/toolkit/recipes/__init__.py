"""What can be asked of rows: one file per recipe. Each is thin: a prompt, a schema, a reading."""
