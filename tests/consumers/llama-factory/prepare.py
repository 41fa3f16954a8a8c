"""Takes torchaudio's compiled part away where torch is for processors: it is built for CUDA, and would not load.

torchaudio does without when the file is not there; LLaMA-Factory imports it even for text.
"""

from importlib.util import find_spec
from pathlib import Path

import torch

if torch.version.cuda is None and (spec := find_spec("torchaudio")) and spec.origin:
    for file in Path(spec.origin).parent.glob("lib/_torchaudio*.so"):
        file.unlink()
