"""Rows become a `datasets.Dataset`: the builder, and the two conveniences over it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import datasets
import pyarrow as pa
from datasets.data_files import DataFilesDict, DataFilesList, get_data_patterns, sanitize_patterns
from datasets.exceptions import DatasetGenerationError

from . import __version__, exact, formats, sources, stories
from .errors import SourceError, StoriesError
from .formats import CONFIGS, DEFAULT_CONFIG
from .stories import PACKAGED, read_stories

_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.bz2", ".jsonl.xz")


class CatsAlpaca(datasets.ArrowBasedBuilder):  # type: ignore[misc]
    """Build a dataset from the packaged cat stories, or from anybody's JSONL of questions and answers.

    >>> import tempfile
    >>> builder = CatsAlpaca(cache_dir=tempfile.mkdtemp())
    >>> builder.config.name, sorted(builder.info.features)
    ('alpaca', ['input', 'instruction', 'output'])

    Args:
        config_name: one of `alpaca` (the default), `chat`, `prompt_completion`, `stories`.
        data_files: paths, patterns or URLs of JSONL files, one, a list, or by split; None is the packaged stories.
        data_dir: a folder of JSONL files, whose names tell the splits (as everywhere in `datasets`).
        dataset_name: the name to cache under. Not `cats_alpaca` unless one means it: that is the name under which
            `load_dataset("cats_alpaca")` finds, from any folder, what was cached last.
        **kwargs: what `datasets.DatasetBuilder` takes.
    """

    VERSION = datasets.Version(__version__)
    BUILDER_CONFIGS = tuple(datasets.BuilderConfig(name, version=datasets.Version(__version__)) for name in CONFIGS)
    DEFAULT_CONFIG_NAME = DEFAULT_CONFIG

    def __init__(
        self,
        *,
        config_name: str | None = None,
        data_files: Any = None,
        data_dir: str | None = None,
        dataset_name: str | None = "cats_alpaca_builder",
        **kwargs: Any,
    ) -> None:
        found = _find_files(data_files, data_dir, kwargs.get("base_path"))
        # Without a hash of its own, `datasets` would serve rows cached before a story or the mapping was edited, and
        # with one hash for all configs it could not tell which of them was prepared last.
        kwargs["hash"] = _cache_key(config_name or DEFAULT_CONFIG, found or PACKAGED)
        super().__init__(config_name=config_name, data_files=found, dataset_name=dataset_name, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        schema, _ = CONFIGS[self.config.name]
        return datasets.DatasetInfo(
            description="Questions and answers on how to live with cats.",
            features=datasets.Features.from_arrow_schema(schema),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        files = dl_manager.download(dict(self.config.data_files)) if self.config.data_files else PACKAGED
        lists = {split: [names] if isinstance(names, str) else list(names) for split, names in files.items()}
        return [
            datasets.SplitGenerator(name=str(split), gen_kwargs={"files": names, "alone": len(names) == 1})
            for split, names in lists.items()
        ]

    def _generate_tables(self, files: Iterable[str], alone: bool) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        _, to_rows = CONFIGS[self.config.name]
        for file_number, file in enumerate(files):
            try:
                for number, batch in enumerate(read_stories(str(file))):
                    yield (file_number, number), pa.Table.from_batches([to_rows(batch)])
            except StoriesError as error:
                if alone or error.report.read:  # an empty file among several costs nothing
                    raise


def load_dataset(
    name: str = DEFAULT_CONFIG,
    *,
    data_files: Any = None,
    split: str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    **kwargs: Any,
) -> Any:
    """Load the packaged stories, or your own JSONL, as rows of one config.

    >>> import tempfile
    >>> rows = load_dataset(split="train", cache_dir=tempfile.mkdtemp())
    >>> list(rows[0])
    ['instruction', 'input', 'output']

    Args:
        name: the config.
        data_files: paths, patterns or URLs of JSONL files, one, a list, or by split; None is the packaged stories.
        split: one split; None is all of them, in a dictionary.
        streaming: read while iterating, without a cache.
        num_proc: how many processes share the files.
        **kwargs: what `CatsAlpaca` takes, such as `data_dir` and `cache_dir`.

    Returns:
        What `datasets.load_dataset` gives: a `Dataset`, `DatasetDict`, `IterableDataset` or `IterableDatasetDict`.

    Raises:
        StoriesError: when lines of the files are no stories.
        SourceError: when a file cannot be read.
    """
    builder = CatsAlpaca(config_name=name, data_files=data_files, **kwargs)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    try:
        builder.download_and_prepare(num_proc=num_proc)
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None
    return builder.as_dataset(split=split)


def prepare(cache_dir: str | None = None) -> str:
    """Put the packaged dataset into the cache of `datasets`, for `load_dataset("cats_alpaca")` in any folder.

    Needs `datasets` 4 or newer at load time, which then takes the most recently changed folder cached under that
    name: so the default config comes last, and is touched even when it was there.

    Args:
        cache_dir: the cache; None is the one of `datasets`.

    Returns:
        The folder in which the default config is cached.
    """
    for name in reversed(CONFIGS):
        builder = CatsAlpaca(config_name=name, dataset_name="cats_alpaca", cache_dir=cache_dir)
        builder.download_and_prepare()
    os.utime(builder.cache_dir)
    return str(builder.cache_dir)


def _find_files(data_files: Any, data_dir: str | None, base_path: str | None) -> DataFilesDict | None:
    if isinstance(data_files, DataFilesDict):
        return data_files
    if data_files is not None:
        return DataFilesDict.from_patterns(sanitize_patterns(data_files), base_path=data_dir or base_path)
    if data_dir is None:
        return None
    folder = os.path.abspath(os.path.expanduser(data_dir))
    found = DataFilesDict.from_patterns(get_data_patterns(folder), base_path=folder)
    kept = DataFilesDict({split: files for split, all_ in found.items() if (files := _stories_only(all_))})
    if not kept:
        raise SourceError(f"{data_dir}: there is no JSONL file in it; name files of another ending in data_files")
    return kept


def _stories_only(files: DataFilesList) -> DataFilesList:
    kept = [pair for pair in zip(files, files.origin_metadata, strict=True) if pair[0].endswith(_SUFFIXES)]
    return DataFilesList([name for name, _ in kept], [metadata for _, metadata in kept])


def _cache_key(config_name: str, files: dict[str, Any]) -> str:
    """Digest the config, the code that makes rows, and the content of the files."""
    digest = hashlib.sha256(config_name.encode())
    for module in (exact, sources, stories, formats):
        digest.update(_content(str(module.__file__)))
    for split, names in sorted(files.items(), key=lambda item: str(item[0])):
        digest.update(str(split).encode())
        for name in [names] if isinstance(names, str) else names:
            # What lies elsewhere is told apart by what `datasets` knows of it (an ETag, a commit), in the config's id.
            digest.update(_content(name) if os.path.exists(name) else name.encode())
    return digest.hexdigest()[:16]


def _content(file: str) -> bytes:
    with open(file, "rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.digest()
