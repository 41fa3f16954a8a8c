"""`python -m cats_alpaca` is the command line."""

from .cli import main

main()
