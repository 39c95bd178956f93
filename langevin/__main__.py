"""`python -m langevin`."""

from langevin.commands.cli import main

if __name__ == "__main__":
    main()
