"""Where the loops run: in processes beside the one that serves HTTP, watched and started again."""
