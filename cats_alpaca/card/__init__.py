"""A release folder's files and what its owner says of it become its dataset card.

`facts` and `numbers` read the Parquet files, `tokens` measures rows, `fields` holds what only a person can say;
`header` makes the YAML, `text` the rest, `pictures` the pictures; `merging` keeps what people wrote into a card, and
`keys` what they wrote into its YAML.
"""

from . import pictures, tokens
from .facts import SplitFacts, digest, digest_of_all, read_facts, shards
from .fields import Fields, checked, read_fields, told_by
from .keys import foreign_configs, globbed
from .merging import MARK, merge, without
from .text import addressed, render

__all__ = [
    "MARK",
    "Fields",
    "SplitFacts",
    "addressed",
    "checked",
    "digest",
    "digest_of_all",
    "foreign_configs",
    "globbed",
    "merge",
    "pictures",
    "read_facts",
    "read_fields",
    "render",
    "shards",
    "tokens",
    "told_by",
    "without",
]
