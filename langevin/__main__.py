"""`python -m langevin`."""

from langevin.cli import main

if __name__ == "__main__":
    main()
