"""`python -m meshlib` is the command `meshlib`."""

from meshlib.cli import main

if __name__ == "__main__":
    main()
