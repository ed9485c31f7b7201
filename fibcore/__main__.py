"""`python -m fibcore`: the command line."""

from fibcore.cli import main

if __name__ == "__main__":
    main()
