"""``python -m mnistc``: the command line."""

from mnistc.cli import main

if __name__ == "__main__":
    main()
