"""`python -m derain` is the command `derain`."""

from derain.cli.main import app

if __name__ == "__main__":
    app(prog_name="derain")
