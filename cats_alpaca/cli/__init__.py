"""The command line: the only place that prints or exits. One module a command."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from .. import __version__
from ..errors import CatsAlpacaError, StoriesError
from .build import build
from .check import check
from .convert import convert
from .feedback import feedback
from .place import prepare, print_path
from .plan import plan
from .push import push
from .reading import show_problems
from .recipe import recipe


class _Group(click.Group):
    """Turns our errors and those of the system into one sentence on stderr; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoriesError as error:
            show_problems(error.report)
        except CatsAlpacaError as error:
            click.echo(f"Error: {error}", err=True)
        except BrokenPipeError:
            # Whoever read our output has enough; the interpreter would complain when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"Error: {where}{error.strerror or error}", err=True)
        sys.exit(1)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: cats-alpaca build --out release",
)
@click.version_option(__version__, prog_name="cats-alpaca")
def main() -> None:
    """Cat stories in Alpaca form: build the dataset and put it where it is needed."""
    # Blocks of some MB come and go. Arrow's own pools give their memory back and fetch it again, for every block; the
    # system's keeps it, which saves a tenth of the time of a conversion. It is read when pyarrow is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


for _command in (convert, build, plan, check, push, feedback, prepare, print_path, recipe):
    main.add_command(_command)
