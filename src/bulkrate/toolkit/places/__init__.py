"""Where a job runs: at a server with the Batch API, or in an engine of its own."""
