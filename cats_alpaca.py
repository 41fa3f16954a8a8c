"""The builder script for `datasets` before version 4, and the command line: `python cats_alpaca.py --help`.

Importing `cats_alpaca` gives the package of that name, which lies beside this file. The script is never published:
`datasets` 4 and newer refuse a repository that holds one.
"""

if __name__ == "__main__":
    from cats_alpaca.cli import main

    main()
else:
    from cats_alpaca.builder import CatsAlpaca as CatsAlpaca
