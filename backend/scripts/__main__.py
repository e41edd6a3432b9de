"""python -m backend.scripts is the command `hakem`."""

from backend.scripts.cli import main

if __name__ == "__main__":
    main()
