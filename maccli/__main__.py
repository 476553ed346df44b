"""Run the command line with `python -m maccli`."""

from maccli.cli import main

main()
