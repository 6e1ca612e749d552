"""`python -m meshlib` is the command `meshlib`."""

from meshlib.cli import main

main()
