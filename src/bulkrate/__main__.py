"""`python -m bulkrate` is the `bulkrate` command."""

from bulkrate.cli import main

if __name__ == "__main__":
    main()
